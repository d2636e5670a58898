"""Q_S, Q_W, Q_E, Q_Y and Q_C against plain loops over windows, hand-worked values and their edge cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import correlate

from fusionkit.errors import FusionkitError
from fusionkit.metrics.filters import gaussian
from fusionkit.metrics.weighted_similarity import METRICS, q_c, q_e, q_s, q_w, q_y

LIU_SSIM = (2.55**2, 7.65**2)
PREWITT = np.array([[-1, 0, 1]] * 3)


def noise(seed, size=(24, 27), low=0, high=256):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (1, 1, *size), generator=generator).to(torch.uint8)


def triple():
    """Two sources with a black and a flat corner, and a fused image that resembles both."""
    a, b = noise(1), noise(2)
    a[..., :12, :12] = b[..., :12, :12] = 0
    a[..., -12:, -12:], b[..., -12:, -12:] = 90, 200
    fused = (a.int() + 2 * b.int() + noise(3).int()).div(4, rounding_mode="floor").to(torch.uint8)
    fused[..., :12, :12] = 0
    return fused, a, b


def detailed():
    """The same without flat parts."""
    a, b = noise(1), noise(2)
    return (a.int() + 2 * b.int() + noise(3).int()).div(4, rounding_mode="floor").to(torch.uint8), a, b


def flat(level, size=(24, 27)):
    return torch.full((1, 1, *size), level, dtype=torch.uint8)


def arrays(images):
    return [image[0, 0].numpy().astype(float) for image in images]


def windows(images, weights, step=1):
    """Triples of windows as rows of pixels."""
    side = len(weights)
    views = [np.lib.stride_tricks.sliding_window_view(image, (side, side))[::step, ::step] for image in images]
    return zip(*(view.reshape(-1, side * side) for view in views), strict=True)


class Window:
    """Weighted statistics of one window, from centred pixels: exactly 0 for flat ones."""

    def __init__(self, weights):
        self.weights = np.asarray(weights).ravel() / np.sum(weights)

    def mean(self, x):
        return self.weights @ x

    def cov(self, x, y):
        # A pixel as the origin keeps flat windows exact.
        x, y = x - x[0], y - y[0]
        return self.weights @ ((x - self.weights @ x) * (y - self.weights @ y))

    def similarity(self, x, y, c1=0.0, c2=0.0):
        powers, variances = self.mean(x) ** 2 + self.mean(y) ** 2 + c1, self.cov(x, x) + self.cov(y, y) + c2
        luminance = (2 * self.mean(x) * self.mean(y) + c1) / powers if powers else 1
        return luminance * ((2 * self.cov(x, y) + c2) / variances if variances else 1)


def outer(taps):
    return np.outer(taps, taps)


def piella(images, weights, constants, flat_saliency):
    """Q_S and Q_W."""
    w, qualities, saliencies = Window(weights), [], []
    for f, a, b in windows(images, weights):
        va, vb = w.cov(a, a), w.cov(b, b)
        share = va / (va + vb) if va + vb else 0.5
        qualities.append(share * w.similarity(f, a, *constants) + (1 - share) * w.similarity(f, b, *constants))
        saliencies.append(max(va, vb) if va + vb else flat_saliency)
    return np.mean(qualities), np.average(qualities, weights=saliencies)


def prewitt(image, inside):
    parts = [correlate(image, kernel, mode="constant") for kernel in (PREWITT, PREWITT.T)]
    edges = np.hypot(*parts)
    return edges[1:-1, 1:-1] if inside else edges


@pytest.mark.parametrize(
    ("convention", "definition", "inside"),
    [
        ("liu", (outer(gaussian(11, 1.5)), LIU_SSIM, 0.5), False),
        ("reference", (np.ones((8, 8)), (), 0), True),
    ],
)
def test_piella_indices_agree_with_loops(convention, definition, inside):
    images = triple()
    plain, weighted = piella(arrays(images), *definition)
    _, of_edges = piella([prewitt(image, inside) for image in arrays(images)], *definition)
    assert q_s(*images, convention=convention).item() == pytest.approx(plain, rel=1e-9)
    assert q_w(*images, convention=convention).item() == pytest.approx(weighted, rel=1e-9)
    assert q_e(*images, convention=convention).item() == pytest.approx(weighted * of_edges, rel=1e-9)


def yang(images, black):
    weights = outer(gaussian(7, 1.5))
    w, values = Window(weights), []
    for f, a, b in windows(images, weights):
        va, vb = w.cov(a, a), w.cov(b, b)
        share = va / (va + vb) if va + vb else (0.5 if a.any() or b.any() else black)
        to_a, to_b = w.similarity(a, f), w.similarity(b, f)
        values.append(share * to_a + (1 - share) * to_b if w.similarity(a, b) >= 0.75 else max(to_a, to_b))
    return np.mean(values)


def test_q_y_agrees_with_a_loop():
    images = triple()
    assert q_y(*images, convention="reference").item() == pytest.approx(yang(arrays(images), 0.5), rel=1e-9)
    assert math.isnan(q_y(*images, convention="liu").item())
    images = detailed()
    assert q_y(*images, convention="liu").item() == pytest.approx(yang(arrays(images), math.nan), rel=1e-9)


def cvejic(images, weights, step, clip_quality):
    w, values = Window(weights), []
    for f, a, b in windows(images, weights, step):
        with_a, with_b = w.cov(a, f), w.cov(b, f)
        share = with_a / (with_a + with_b) if with_a + with_b else 0.5
        bounded = min(max(share, 0), 1)
        quality = bounded * w.similarity(a, f) + (1 - bounded) * w.similarity(b, f)
        values.append(bounded if clip_quality and bounded != share else quality)
    return np.mean(values)


def test_q_c_agrees_with_loops():
    images = triple()
    expected = cvejic(arrays(images), np.ones((4, 4)), 4, clip_quality=False)
    assert q_c(*images, convention="reference").item() == pytest.approx(expected, rel=1e-9)
    images = detailed()
    expected = cvejic(arrays(images), outer(gaussian(7, 1.5)), 1, clip_quality=True)
    assert q_c(*images, convention="liu").item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("convention", ["liu", "reference"])
def test_equal_images_score_one(metric, convention):
    a = noise(1)
    assert metric(a, a, a, convention=convention).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_copy_of_the_only_source_with_detail_is_perfect(metric):
    a = noise(1)
    assert metric(a, a, flat(77), convention="reference").item() == pytest.approx(1, abs=1e-9)


def test_hand_worked_values():
    """Stripes of 0 and 4, mean 2, variance 4; fused are the same stripes raised by 2, mean 4."""
    a = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    a[..., ::2] = 4
    luminance = 2 * 2 * 4 / (2**2 + 4**2)
    assert q_s(a + 2, a, a, convention="reference").item() == pytest.approx(luminance)
    # The inverted stripes have the same mean and variance and the opposite covariance.
    assert q_s(a + 2, a, 4 - a, convention="reference").item() == pytest.approx(0)
    # A flat source has neither variance nor covariance, so the other one counts alone.
    for metric in (q_s, q_w, q_c):
        assert metric(a + 2, a, flat(3, (8, 8)), convention="reference").item() == pytest.approx(luminance)


def test_constant_sources():
    fused, a, b = noise(3), flat(60), flat(0)
    for metric in (q_w, q_e):
        assert math.isnan(metric(fused, a, b, convention="reference").item())
    assert q_w(fused, a, b, convention="liu").item() == pytest.approx(q_s(fused, a, b, convention="liu").item())
    assert q_s(flat(60), a, b, convention="reference").item() == pytest.approx(0.5)
    assert q_y(flat(60), a, b, convention="liu").item() == pytest.approx(1)
    assert math.isnan(q_y(flat(60), b, b, convention="liu").item())


def test_constant_fused_image():
    a, b = noise(1), noise(2)
    for metric in METRICS:
        assert metric(flat(99), a, b, convention="reference").item() == pytest.approx(0, abs=1e-12)
    assert math.isnan(q_c(flat(99), a, b, convention="liu").item())
    assert q_c(flat(99), flat(99), flat(0), convention="reference").item() == pytest.approx(0.5)


def test_only_q_c_of_liu_depends_on_the_order_of_the_sources():
    fused, a, b = detailed()
    for metric in METRICS:
        for convention in metric.variants:
            one, other = (metric(fused, *sources, convention=convention).item() for sources in ((a, b), (b, a)))
            assert (one == pytest.approx(other, rel=1e-9)) != (metric is q_c and convention == "liu")


@st.composite
def triples(draw):
    shape = draw(st.tuples(st.integers(1, 2), st.just(1), st.integers(11, 13), st.integers(11, 13)))
    levels = st.integers(0, 127)
    return [torch.from_numpy(draw(hnp.arrays(np.uint8, shape, elements=levels))) for _ in range(3)]


@settings(max_examples=10, deadline=None)
@given(images=triples(), convention=st.sampled_from(["liu", "reference"]))
def test_batch_equals_loop_and_stays_in_range(images, convention):
    for metric in METRICS:
        values = metric(*images, convention=convention)
        single = [metric(*(image[i : i + 1] for image in images), convention=convention) for i in range(len(values))]
        torch.testing.assert_close(values, torch.cat(single), rtol=1e-12, atol=1e-12, equal_nan=True)
        assert (values.isnan() | (values.abs() <= 1 + 1e-9)).all()


@settings(max_examples=10, deadline=None)
@given(images=triples())
def test_reference_does_not_depend_on_the_unit(images):
    """The universal index has no constants."""
    for metric in METRICS:
        values, doubled = (metric(*(k * image for image in images), convention="reference") for k in (1, 2))
        torch.testing.assert_close(values, doubled, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize(
    ("metric", "convention", "side"),
    [(q_s, "liu", 11), (q_w, "reference", 8), (q_e, "reference", 10), (q_y, "reference", 7), (q_c, "reference", 4)],
)
def test_smallest_images(metric, convention, side):
    a = noise(1, (side, side))
    assert metric(a, a, a, convention=convention).item() == pytest.approx(1)
    small = a[..., 1:]
    with pytest.raises(FusionkitError, match=f"{side}x{side} pixels under '{convention}'"):
        metric(small, small, small, convention=convention)
