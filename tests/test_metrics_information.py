import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import entropy

from fusionkit.metrics import information
from fusionkit.metrics.histograms import histogram, joint_histogram

# Levels 254 and 255, few levels (equal pixels, empty bins) and flat images all occur.
LEVELS = st.sampled_from([(0, 255), (0, 2), (252, 255)])
CASES = [(metric, convention) for metric in information.METRICS for convention in metric.variants]


@st.composite
def triples(draw, batch=1):
    low, high = draw(LEVELS)
    shape = (batch, 1, draw(st.integers(1, 6)), draw(st.integers(2, 6)))
    return [torch.from_numpy(draw(hnp.arrays(np.uint8, shape, elements=st.integers(low, high)))) for _ in range(3)]


def joint(x, y):
    counts = np.zeros((256, 256))
    for i, j in zip(x.flatten(), y.flatten(), strict=True):
        counts[i, j] += 1
    return counts / counts.sum()


def shared(x, y, base=2):
    p = joint(x, y)
    return entropy(p.sum(1), base=base) + entropy(p.sum(0), base=base) - entropy(p.flatten(), base=base)


def levels_entropy(x):
    return entropy(np.bincount(x.flatten(), minlength=256), base=2)


def stretched(x):
    low, high = int(x.min()), int(x.max())
    return x if high == low else np.floor((x.astype(float) - low) / (high - low) * 255 + 0.5).astype(np.uint8)


def tsallis(x, y, q, swap):
    p = joint(x, y)
    first, second = (p.sum(0), p.sum(1)) if swap else (p.sum(1), p.sum(0))
    total = 0.0
    for i in np.flatnonzero(first):
        for j in np.flatnonzero(second):
            total += p[i, j] ** q / (first[i] * second[j]) ** (q - 1)
    return (1 - total) / (1 - q)


def expected_nmi(f, a, b):
    own = levels_entropy(f)
    return sum(2 * shared(s, f) / (levels_entropy(s) + own) for s in (a, b))


def expected_ncie(f, a, b):
    ab, af, bf = (shared(x, y, 256) for x, y in ((a, b), (a, f), (b, f)))
    values = np.linalg.eigvalsh([[1, ab, af], [ab, 1, bf], [af, bf, 1]]) / 3
    return 1 + sum(v * math.log(v, 256) for v in values if v > 1e-15)


def expected_te_nava(f, a, b, swap=False):
    q = 0.43137
    own = levels_entropy(a) ** q + levels_entropy(b) ** q
    return (tsallis(a, f, q, swap) + tsallis(b, f, q, swap)) / (own + tsallis(a, b, q, swap))


def expected_ce(f, a, b):
    pf, total = np.bincount(f.flatten(), minlength=256) / f.size, 0.0
    for s in (a, b):
        ps = np.bincount(s.flatten(), minlength=256) / s.size
        total += sum(ps[k] * math.log2(ps[k] / pf[k]) for k in range(256) if ps[k] and pf[k])
    return total / 2


def measured(metric, convention, images):
    return metric(*images, convention=convention).item()


@settings(max_examples=40, deadline=None)
@given(images=triples())
def test_against_plain_loops(images):
    plain = [image[0, 0].numpy() for image in images]
    full = [stretched(image) for image in plain]
    defined = all(image.max() > image.min() or image.max() == 0 for image in plain)
    swapped_cvejic = tsallis(full[1], full[0], 1.85, True) + tsallis(full[2], full[0], 1.85, True)
    with np.errstate(invalid="ignore"):
        expected = {
            ("mi", "reference"): shared(plain[1], plain[0]) + shared(plain[2], plain[0]),
            ("mi", "vifb"): shared(plain[1], plain[0], math.e) + shared(plain[2], plain[0], math.e),
            ("nmi", "reference"): expected_nmi(*plain),
            ("nmi", "liu"): expected_nmi(*plain) if defined else math.nan,
            ("ncie", "reference"): expected_ncie(*plain),
            ("ncie", "liu"): expected_ncie(*plain) if defined else math.nan,
            ("te_cvejic", "reference"): sum(tsallis(s, plain[0], 1.85, False) for s in plain[1:]),
            ("te_cvejic", "liu"): swapped_cvejic if defined else math.nan,
            ("ce", "reference"): expected_ce(*plain),
            ("ce", "vifb"): expected_ce(*plain),
        }
    if levels_entropy(plain[1]) + levels_entropy(plain[2]) > 0:
        expected["te_nava", "reference"] = expected_te_nava(*plain)
        expected["te_nava", "liu"] = expected_te_nava(*full, swap=True) if defined else math.nan
    metrics = {metric.name: metric for metric in information.METRICS}
    for (name, convention), value in expected.items():
        found = measured(metrics[name], convention, images)
        assert found == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (name, convention)


@settings(max_examples=15, deadline=None)
@given(images=triples())
def test_joint_histogram_of_saturated_levels(images):
    """Under tang levels 254 and 255 share a bin of the joint histogram, but not of the single ones."""
    f, *sources = (image[0, 0].numpy() for image in images)
    expected = 0.0
    for s in sources:
        p = joint(np.minimum(s, 254), np.minimum(f, 254))
        expected += levels_entropy(s) + levels_entropy(f) - entropy(p.flatten(), base=2)
    assert measured(information.mi, "tang", images) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("metric", "convention"), CASES, ids=lambda case: getattr(case, "name", case))
def test_batch_equals_loop_and_sources_are_interchangeable(metric, convention):
    generator = torch.Generator().manual_seed(4)
    images = [torch.randint(0, 6, (3, 1, 5, 7), generator=generator).to(torch.uint8) * 50 for _ in range(3)]
    images[0][1] = 7
    together = metric(*images, convention=convention)
    apart = torch.cat([metric(*(x[k : k + 1] for x in images), convention=convention) for k in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12, equal_nan=True)
    other = metric(images[0], images[2], images[1], convention=convention)
    torch.testing.assert_close(together, other, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert torch.isfinite(together[[0, 2]]).all()


def test_known_values_of_equal_halves():
    """Three equal images of two equally frequent levels share one bit with each other."""
    halves = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)[None, None]
    images = (halves, halves, halves)
    assert measured(information.mi, "reference", images) == pytest.approx(2)
    assert measured(information.nmi, "reference", images) == pytest.approx(2)
    assert measured(information.ce, "reference", images) == 0
    one = (0.5**-0.85 * 2 * 0.5**1 - 1) / 0.85
    assert measured(information.te_cvejic, "reference", images) == pytest.approx(2 * one)
    assert measured(information.te_cvejic, "liu", images) == pytest.approx(2 * one)
    # One bit is 1/8 of a logarithm to base 256: the matrix has the eigenvalues 5/4, 7/8 and 7/8.
    expected = 1 + sum(v / 3 * math.log(v / 3, 256) for v in (1.25, 0.875, 0.875))
    assert measured(information.ncie, "reference", images) == pytest.approx(expected)


def test_swapped_marginals_only_matter_for_different_images():
    generator = torch.Generator().manual_seed(2)
    image, other = (torch.randint(0, 256, (1, 1, 30, 30), generator=generator).to(torch.uint8) for _ in range(2))
    for metric in (information.te_cvejic, information.te_nava):
        same, different = (image, image, image), (image, other, other)
        assert measured(metric, "liu", same) == pytest.approx(measured(metric, "reference", same))
        assert measured(metric, "liu", different) != pytest.approx(measured(metric, "reference", different), rel=1e-3)


def test_constant_images():
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randint(0, 256, (1, 1, 9, 9), generator=generator).to(torch.uint8) for _ in range(2))
    grey, black = torch.full_like(a, 128), torch.zeros_like(a)
    stretching = (information.nmi, information.ncie, information.te_cvejic, information.te_nava)
    for metric in stretching:
        assert math.isnan(measured(metric, "liu", (grey, a, b)))
        assert math.isnan(measured(metric, "liu", (a, b, grey)))
        assert math.isfinite(measured(metric, "liu", (black, a, b)))
    for metric in (information.mi, information.nmi, information.te_cvejic, information.te_nava):
        assert measured(metric, "reference", (grey, a, b)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(measured(information.nmi, "reference", (grey, grey, b)))
    assert math.isnan(measured(information.te_nava, "reference", (a, grey, black)))
    flat = measured(information.ncie, "reference", (grey, black, grey))
    assert flat == pytest.approx(1 - math.log(3, 256))
    assert measured(information.ce, "reference", (grey, black, black)) == 0


def test_ncie_of_full_range_equal_images_is_one():
    """Eight bits in all three images make every coefficient 1 and two eigenvalues 0."""
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert measured(information.ncie, "reference", (ramp, ramp, ramp)) == pytest.approx(1)


def test_histograms_count_every_pixel():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randint(0, 256, (2, 3, 8, 8), generator=generator).double() for _ in range(2))
    counts = joint_histogram(x, y)
    assert counts.shape == (2, 3, 256, 256)
    assert (counts.sum(dim=(-2, -1)) == 64).all()
    assert torch.equal(counts.sum(dim=-1), histogram(x))
    assert torch.equal(counts.sum(dim=-2), histogram(y))
    assert counts[1, 2, int(x[1, 2, 3, 4]), int(y[1, 2, 3, 4])] >= 1
