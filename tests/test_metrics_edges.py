import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.signal import convolve2d

from fusionkit.errors import FusionkitError
from fusionkit.metrics.edges import METRICS, _strength, nabf, nabf_asdriven, q_g, qabf

EVERY = [(metric, convention) for metric in METRICS for convention in metric.variants]
SHAPES = st.tuples(st.integers(1, 3), st.just(1), st.integers(2, 7), st.integers(2, 7))


@st.composite
def triples(draw):
    """Few different levels, so that zeros and ties are common."""
    shape = draw(SHAPES)
    levels = st.sampled_from((0, 1, 3, 7, 100, 254, 255))
    return [torch.from_numpy(draw(hnp.arrays(np.uint8, shape, elements=levels))) for _ in range(3)]


def triple(seed=0, batch=1, size=(12, 15), top=256):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, top, (batch, 1, *size), generator=generator).to(torch.uint8) for _ in range(3)]


def arrays(images):
    return [image[0, 0].double().numpy() for image in images]


def sigmoid(x, slope, middle):
    return 1 / (1 + np.exp(-slope * (x - middle)))


SMOOTH, STEP = np.array([1, 2, 1]), np.array([-1, 0, 1])


def slow_qabf(fused, a, b, tie=1.0, stored=None):
    """Images as convolve2d and array assignment treat them; `stored` is the type that ratios and angles go into."""

    def into(x):
        return x if stored is None else np.trunc(x).astype(np.int64).astype(stored)

    def edges(image):
        image = image.astype(np.float32) if stored else image
        x = convolve2d(image, np.outer(SMOOTH, STEP).astype(image.dtype), mode="same")
        y = convolve2d(image, np.outer(-STEP, SMOOTH).astype(image.dtype), mode="same")
        angle = np.full(image.shape, math.pi / 2)
        angle[x != 0] = np.arctan(y[x != 0] / x[x != 0])
        return np.sqrt(x * x + y * y), into(angle)

    (g_a, angle_a), (g_b, angle_b), (g_f, angle_f) = map(edges, (a, b, fused))
    kept = 0.0
    for g, angle in ((g_a, angle_a), (g_b, angle_b)):
        ratio = np.full(g.shape, 1.0) if tie is None else g_f * tie
        ratio[g > g_f] = g_f[g > g_f] / g[g > g_f]
        ratio[g < g_f] = g[g < g_f] / g_f[g < g_f]
        agreement = 1 - np.abs(angle - angle_f) / (math.pi / 2)
        with np.errstate(over="ignore"):
            quality = 0.9994 * sigmoid(into(ratio), 15, 0.5) * 0.9879 * sigmoid(agreement, 22, 0.8)
        kept += (quality * g).sum()
    return kept / (g_a + g_b).sum()


@pytest.mark.parametrize(
    ("convention", "options"),
    [
        ("tang", {}),
        ("cddfuse", {}),
        ("vifb", {"tie": 255.0}),
        ("reference", {"tie": None}),
        ("cddfuse-uint8", {"stored": np.uint8}),
    ],
)
@pytest.mark.parametrize("top", [4, 256])
def test_qabf_equals_slow_code(convention, options, top):
    images = triple(top=top)
    assert qabf(*images, convention=convention).item() == pytest.approx(
        slow_qabf(*arrays(images), **options), rel=1e-12
    )


def qabf_pixel_by_pixel(fused, a, b):
    """On [0, 1], in the order of MATLAB's conv2: neighbours from the right column to the left, each from below."""
    height, width = fused.shape
    unit = [np.pad(image / 255, 1) for image in (a, b, fused)]
    kept = weights = 0.0
    for row in range(1, height + 1):
        for column in range(1, width + 1):
            strengths, angles = [], []
            for image in unit:
                x = y = 0.0
                for j in (1, 0, -1):
                    for i in (1, 0, -1):
                        x -= j * (2 - abs(i)) * image[row + i, column + j]
                        y += i * (2 - abs(j)) * image[row + i, column + j]
                strengths.append(math.sqrt(x * x + y * y))
                angles.append(math.atan(y / x) if x else math.pi / 2)
            *sources, g_f = strengths
            for g, angle in zip(sources, angles, strict=False):
                ratio = g_f if g == g_f else min(g, g_f) / max(g, g_f)
                agreement = 1 - abs(angle - angles[2]) / (math.pi / 2)
                kept += 0.9994 * sigmoid(ratio, 15, 0.5) * 0.9879 * sigmoid(agreement, 22, 0.8) * g
                weights += g
    return kept / weights


@pytest.mark.parametrize("top", [3, 12, 256])
def test_qabf_on_unit_scale_follows_the_order_of_addition(top):
    images = triple(seed=top, size=(20, 26), top=top)
    expected = qabf_pixel_by_pixel(*arrays(images))
    assert qabf(*images, convention="tang2022").item() == pytest.approx(expected, rel=1e-12)


def test_strength_is_correctly_rounded():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 1, 100, 1001, dtype=torch.float64, generator=generator) * 10.0**k for k in (0, -3))
    x[..., 0], y[..., 0] = 0, 0
    expected = np.sqrt(x.numpy() ** 2 + y.numpy() ** 2)
    assert np.array_equal(_strength(x, y).numpy(), expected)


def slow_q_g(fused, a, b):
    def edges(image):
        x = convolve2d(image, np.outer(SMOOTH, -STEP), mode="same")
        y = convolve2d(image, np.outer(-STEP, SMOOTH), mode="same")
        return np.hypot(x, y), np.arctan(y / np.where(x == 0, 1e-5, x))

    (g_a, angle_a), (g_b, angle_b), (g_f, angle_f) = map(edges, (a, b, fused))
    kept = weights = 0.0
    for g, angle in ((g_a, angle_a), (g_b, angle_b)):
        stronger, g = g > g_f, np.maximum(g, 1e-5)
        ratio = np.where(stronger, g_f / g, g / np.maximum(g_f, 1e-5))
        g_f = np.maximum(g_f, 1e-5)
        parallel = np.abs(np.abs(angle - angle_f) - math.pi / 2) * 2 / math.pi
        kept, weights = kept + sigmoid(ratio, 10, 0.5) * sigmoid(parallel, 20, 0.75) * g, weights + g
    return (kept / weights).mean()


@pytest.mark.parametrize("top", [2, 4, 256])
def test_q_g_equals_slow_code(top):
    images = triple(top=top)
    assert q_g(*images, convention="liu").item() == pytest.approx(slow_q_g(*arrays(images)), rel=1e-10)


def nabf_pixel_by_pixel(fused, a, b, unit=False):
    images = [np.pad(image / 255 if unit else image, 1, mode="reflect") for image in (a, b, fused)]
    made_up = weights = 0.0
    for row in range(fused.shape[0]):
        for column in range(fused.shape[1]):
            patches = [image[row : row + 3, column : column + 3] for image in images]
            x, y = (
                [float((p * k).sum(0).sum()) / 8 for p in patches]
                for k in (np.outer(SMOOTH, STEP), np.outer(STEP, SMOOTH))
            )
            g = [math.sqrt(s * s + t * t) for s, t in zip(x, y, strict=True)]
            angle = [
                math.copysign(math.pi / 2, s) * bool(s) if t == 0 else math.atan(s / t)
                for s, t in zip(x, y, strict=True)
            ]
            for k in (0, 1):
                weight = g[k] ** 1.5 if g[k] >= 2 else 0.001
                weights += weight
                if g[2] > max(g[:2]):
                    parallel = abs(abs(angle[k] - angle[2]) - math.pi / 2) * 2 / math.pi
                    quality = 0.9999 * sigmoid(g[k] / g[2], 19, 0.5) * 0.9995 * sigmoid(parallel, 22, 0.5)
                    made_up += (1 - math.sqrt(quality)) * weight
    return made_up / weights


@pytest.mark.parametrize("convention", list(nabf.variants))
@pytest.mark.parametrize("top", [3, 30, 256])
def test_nabf_equals_slow_code(convention, top):
    images = triple(seed=top, size=(20, 26), top=top)
    expected = nabf_pixel_by_pixel(*arrays(images), unit=convention in ("tang2022", "rfn"))
    assert nabf(*images, convention=convention).item() == pytest.approx(expected, rel=1e-12)


def test_nabf_as_driven_takes_the_first_source_for_the_fused_image():
    fused, a, b = triple()
    assert torch.equal(nabf_asdriven(fused, a, b), nabf(a, b, fused))


@settings(max_examples=15, deadline=None)
@given(images=triples(), case=st.sampled_from(EVERY))
def test_batch_equals_loop(images, case):
    metric, convention = case
    whole = metric(*images, convention=convention)
    single = [metric(*(x[i : i + 1] for x in images), convention=convention) for i in range(len(whole))]
    torch.testing.assert_close(whole, torch.cat(single), rtol=1e-12, atol=1e-14, equal_nan=True)


@settings(max_examples=15, deadline=None)
@given(images=triples(), case=st.sampled_from([case for case in EVERY if case[0] in (qabf, nabf)]))
def test_sources_are_interchangeable(images, case):
    metric, convention = case
    fused, a, b = images
    one, other = metric(fused, a, b, convention=convention), metric(fused, b, a, convention=convention)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14, equal_nan=True)


@settings(max_examples=15, deadline=None)
@given(images=triples(), case=st.sampled_from(EVERY))
def test_range(images, case):
    metric, convention = case
    values = metric(*images, convention=convention)
    finite = values[~values.isnan()]
    assert ((finite >= 0) & (finite <= 1)).all()
    assert not values.isnan().any() or metric is qabf


@settings(max_examples=10, deadline=None)
@given(images=triples())
def test_nabf_sees_edges_only(images):
    """Edges stay where they are if levels are inverted, and move along if the image is mirrored."""
    value = nabf(*images, convention="reference")
    for change in (lambda x: 255 - x, lambda x: x.flip(-1), lambda x: x.flip(-2)):
        changed = nabf(*(change(x) for x in images), convention="reference")
        torch.testing.assert_close(changed, value, rtol=1e-9, atol=1e-12)


def test_conventions_differ_only_in_ties():
    """Rough images tie nowhere; copies tie everywhere, with strengths above 1 on 0..255 and mostly below on [0, 1]."""
    rough = triple(seed=1)
    same = [qabf(*rough, convention=convention) for convention in ("tang", "vifb", "cddfuse", "reference")]
    for value in same[1:]:
        torch.testing.assert_close(value, same[0], rtol=1e-12, atol=0)
    copies = [rough[0] // 8] * 3
    unit, one, strength = (qabf(*copies, convention=name).item() for name in ("tang2022", "reference", "tang"))
    assert unit < one < strength


def test_equal_images():
    image = triple()[0]
    top = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
    assert qabf(image, image, image, convention="reference").item() == pytest.approx(top)
    assert q_g(image, image, image, convention="liu").item() == pytest.approx(
        1 / (1 + math.exp(-5)) / (1 + math.exp(-5))
    )
    for metric, convention in EVERY:
        if metric in (nabf, nabf_asdriven):
            assert metric(image, image, image, convention=convention).item() == 0


def test_edge_cases():
    fused, a, b = triple()
    flat = torch.full_like(fused, 100)
    assert math.isnan(qabf(fused, flat * 0, flat * 0).item())
    # Only the frame counts: outside it 0 is assumed.
    framed = qabf(flat, flat, flat, convention="reference").item()
    assert framed == pytest.approx(0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4)))
    assert 0 < qabf(flat, a, b).item() < 0.2
    assert nabf(flat, a, b).item() == 0
    assert nabf(a, a, b).item() == 0
    assert nabf_asdriven(fused, flat, b).item() == 0


def test_artefacts_are_counted():
    """One spot that neither source has; all pixels of the sources have the smallest weight."""
    flat = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    spot = flat.clone()
    spot[0, 0, 4, 4] = 80
    lost = 1 - math.sqrt(0.9999 / (1 + math.exp(9.5)) * 0.9995 / (1 + math.exp(-11)))
    # 8 neighbours; gradients along the axes are parallel to the source's angle 0 or perpendicular to it.
    assert 0.9 * 8 / 81 < nabf(spot, flat, flat).item() <= 8 / 81
    along = nabf(spot, flat, flat, convention="rfn").item()
    assert along == pytest.approx(nabf(spot, flat, flat).item())
    assert 81 * along / 8 > lost


def test_nabf_needs_two_pixels():
    images = triple(size=(2, 2))
    assert torch.isfinite(nabf(*images)).all()
    with pytest.raises(FusionkitError, match="2x2"):
        nabf(*(x[..., :1] for x in images))
    assert qabf(*(x[..., :1, :1] for x in images)).shape == (1,)
