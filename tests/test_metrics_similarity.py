"""SSIM, MS-SSIM and the multi-exposure index against scikit-image, plain loops and hand-worked values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import correlate as scipy_correlate
from skimage.metrics import structural_similarity

from fusionkit.errors import FusionkitError
from fusionkit.metrics.filters import correlate, gaussian
from fusionkit.metrics.similarity import SCALE_WEIGHTS, ms_ssim, multi_scale_ssim, ssim

TAPS = np.array(gaussian(11, 1.5))
WINDOW = np.outer(TAPS, TAPS)
DYNAMIC_RANGE = {"tang": 1, "vifb": 255, "cddfuse": 2, "cddfuse-uint8": 255, "reference": 255}
ADDED = ("vifb", "cddfuse", "cddfuse-uint8")


def noise(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 1, height, width), generator=generator).to(torch.uint8)


def scene(seed, height, width):
    """A smooth image with some noise, so that similarities are neither 0 nor 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, height // 8, width // 8, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    fine = torch.rand(1, 1, height, width, generator=generator, dtype=torch.float64)
    return (200 * smooth + 55 * fine).round().to(torch.uint8)


def triple(size=(40, 53), seed=0):
    """Two sources and a fused image that resembles both, so that every scale is positive."""
    a, b, other = (scene(seed + k, *size) for k in range(3))
    fused = (0.4 * a.double() + 0.4 * b.double() + 0.2 * other.double()).round().to(torch.uint8)
    return [fused, a, b]


def flat(level, size=(48, 51)):
    return torch.full((1, 1, *size), level, dtype=torch.uint8)


@st.composite
def triples(draw):
    shape = draw(st.tuples(st.integers(1, 2), st.just(1), st.integers(11, 13), st.integers(11, 13)))
    return [torch.from_numpy(draw(hnp.arrays(np.uint8, shape))) for _ in range(3)]


def ssim_by_scikit_image(convention, x, y):
    x, y = (image[0, 0].numpy() for image in (x, y))
    if convention == "cddfuse-uint8":
        return structural_similarity(x, y)
    x, y = x.astype(float), y.astype(float)
    if convention == "cddfuse":
        return structural_similarity(x, y, data_range=2)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    if convention == "tang":  # replicated border, whole map
        x, y = (np.pad(image, 10, mode="edge") for image in (x, y))
        return structural_similarity(x, y, data_range=1, **options)[1][10:-10, 10:-10].mean()
    return structural_similarity(x, y, data_range=255, **options)[1][5:-5, 5:-5].mean()


@pytest.mark.parametrize("convention", DYNAMIC_RANGE)
def test_ssim_agrees_with_scikit_image(convention):
    fused, a, b = triple()
    parts = [ssim_by_scikit_image(convention, fused, source) for source in (a, b)]
    expected = sum(parts) if convention in ADDED else sum(parts) / 2
    assert ssim(fused, a, b, convention=convention).item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("convention", DYNAMIC_RANGE)
def test_ssim_of_constant_images_compares_their_means(convention):
    c1 = (0.01 * DYNAMIC_RANGE[convention]) ** 2
    of_a, of_b = ((2 * 40 * level + c1) / (40**2 + level**2 + c1) for level in (10, 200))
    expected = of_a + of_b if convention in ADDED else (of_a + of_b) / 2
    # Rounding leaves the variances about 1e-12 beside a C2 of at least 9e-4.
    assert ssim(flat(40), flat(10), flat(200), convention=convention).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("convention", ssim.variants)
def test_ssim_of_equal_images(convention):
    a, *_ = triple()
    expected = 2 if convention in ADDED else 1
    assert ssim(a, a, a, convention=convention).item() == pytest.approx(expected, rel=1e-9)


def test_ssim_conventions_that_differ_by_a_factor():
    images = triple()
    assert ssim(*images, convention="vifb").item() == pytest.approx(2 * ssim(*images, convention="reference").item())


def patches(image):
    return np.lib.stride_tricks.sliding_window_view(image, (11, 11)).reshape(-1, 11, 11)


def exposure_by_loop(fused, a, b):
    """The definition patch by patch, with explicit patches instead of moments."""
    values, eps = [], np.finfo(float).eps
    for f, x, y in zip(*(patches(image) for image in (fused, a, b)), strict=True):
        x, y = x - x.mean(), y - y.mean()
        ex, ey = np.linalg.norm(x) + 0.001, np.linalg.norm(y) + 0.001
        agreement = (np.linalg.norm(x + y) + eps) / (np.linalg.norm(x) + np.linalg.norm(y) + eps)
        power = min(np.tan(np.pi / 2 * np.clip(agreement, eps, 1 - eps)), 10)
        wx, wy = (ex / 11) ** power + eps, (ey / 11) ** power + eps
        desired = (wx * x / ex + wy * y / ey) / (wx + wy)
        if np.linalg.norm(desired) > 0:
            desired *= max(ex, ey) / np.linalg.norm(desired)
        desired = desired - (WINDOW * desired).sum()
        f = f - (WINDOW * f).sum()
        covariance, variances = (WINDOW * desired * f).sum(), (WINDOW * (desired**2 + f**2)).sum()
        c = (0.03 * 255) ** 2
        values.append((2 * covariance + c) / (variances + c))
    return np.mean(values)


def halve(image):
    """2x2 averages of the symmetrically extended image at every second pixel."""
    wide = np.pad(image, ((0, 1), (0, 1)), mode="symmetric")
    return ((wide[:-1, :-1] + wide[1:, :-1] + wide[:-1, 1:] + wide[1:, 1:]) / 4)[::2, ::2]


@pytest.mark.parametrize("images", [triple((19, 24)), [noise(seed, 19, 24) for seed in range(3)]])
def test_multi_exposure_index_agrees_with_a_loop(images):
    expected = exposure_by_loop(*(image[0, 0].numpy().astype(float) for image in images))
    assert ssim(*images, convention="tang2022").item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("convention", ["tang", "tang2022", "rfn"])
def test_multi_exposure_index_of_three_scales_agrees_with_a_loop(convention):
    images = triple(size=(44, 47))
    levels, expected = [image[0, 0].numpy().astype(float) for image in images], 1
    for weight in SCALE_WEIGHTS[:3]:
        expected *= exposure_by_loop(*levels) ** (weight / sum(SCALE_WEIGHTS[:3]))
        levels = [halve(level) for level in levels]
    assert ms_ssim(*images, convention=convention).item() == pytest.approx(expected, rel=1e-9)


def test_multi_exposure_index_wants_the_source_that_has_detail():
    a = scene(1, 48, 51)
    for b in (flat(0), flat(200)):
        assert ms_ssim(a, a, b, convention="tang").item() == pytest.approx(1, abs=1e-4)
        assert ms_ssim(b, a, b, convention="tang").item() < 0.2


def test_multi_exposure_index_of_opposite_sources_has_nothing_to_want():
    """The desired patch cancels exactly: a flat fused image is right, and rounding must not blow up."""
    a = noise(1, 20, 20)
    assert ssim(flat(7, (20, 20)), a, 255 - a, convention="tang2022").item() == pytest.approx(1, abs=1e-9)


def test_multi_exposure_index_of_constant_images_is_one():
    images = flat(128), flat(0), flat(255)
    assert ms_ssim(*images, convention="tang").item() == pytest.approx(1, abs=1e-9)


def test_negative_scales_give_nan_but_one_scale_stays_negative():
    a = scene(1, 48, 51)
    assert ssim(255 - a, a, flat(9), convention="tang2022").item() < 0
    assert math.isnan(ms_ssim(255 - a, a, flat(9), convention="tang").item())
    a = scene(1, 176, 176)
    assert math.isnan(ms_ssim(255 - a, a, a, convention="reference").item())


def local(image):
    return scipy_correlate(image, WINDOW, mode="nearest")[5:-5, 5:-5]


def five_scales_by_scipy(x, y):
    total, c1, c2 = 1, 2.55**2, 7.65**2
    for level, weight in enumerate(SCALE_WEIGHTS):
        mx, my = local(x), local(y)
        value = (2 * (local(x * y) - mx * my) + c2) / (local(x * x) - mx**2 + local(y * y) - my**2 + c2)
        if level == 4:
            value *= (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        total *= value.mean() ** weight
        x, y = halve(x), halve(y)
    return total


def test_ms_ssim_agrees_with_scipy():
    images = triple(size=(177, 182))
    fused, a, b = (image[0, 0].numpy().astype(float) for image in images)
    expected = (five_scales_by_scipy(fused, a) + five_scales_by_scipy(fused, b)) / 2
    assert ms_ssim(*images, convention="reference").item() == pytest.approx(expected, rel=1e-10)


def test_multi_scale_ssim_follows_the_data_range():
    images = [image.double() for image in triple(size=(176, 176))]
    scaled = [image / 255 for image in images]
    torch.testing.assert_close(multi_scale_ssim(*scaled, 1.0), multi_scale_ssim(*images, 255.0))


@pytest.mark.parametrize(
    ("metric", "convention", "side"),
    [(ssim, "tang", 1), (ssim, "cddfuse", 7), (ssim, "vifb", 11), (ms_ssim, "tang", 44), (ms_ssim, "reference", 176)],
)
def test_smallest_images(metric, convention, side):
    a = scene(1, 176, 176)[..., :side, :side]
    assert math.isfinite(metric(a, a, a, convention=convention).item())
    if side > 1:
        small = a[..., 1:]
        with pytest.raises(FusionkitError, match=f"{side}x{side} pixels under '{convention}'"):
            metric(small, small, small, convention=convention)


@settings(max_examples=15, deadline=None)
@given(images=triples(), convention=st.sampled_from(sorted(ssim.variants)))
def test_properties_of_ssim(images, convention):
    fused, a, b = images
    values = ssim(*images, convention=convention)
    assert values.dtype == torch.float64
    assert (values.abs() <= (2 if convention in ADDED else 1) + 1e-9).all()
    torch.testing.assert_close(values, ssim(fused, b, a, convention=convention), rtol=1e-9, atol=1e-9)
    single = torch.cat([ssim(*(image[i : i + 1] for image in images), convention=convention) for i in range(len(a))])
    torch.testing.assert_close(values, single, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("convention", "side"), [("tang", 44), ("reference", 176)])
def test_ms_ssim_of_a_batch_equals_that_of_each_image(convention, side):
    batches = [torch.cat(pair) for pair in zip(*(triple((side, side + 3), seed) for seed in (0, 3)), strict=True)]
    values = ms_ssim(*batches, convention=convention)
    single = [ms_ssim(*(batch[i : i + 1] for batch in batches), convention=convention) for i in range(2)]
    torch.testing.assert_close(values, torch.cat(single), rtol=1e-12, atol=0)
    torch.testing.assert_close(values, ms_ssim(batches[0], batches[2], batches[1], convention=convention))


@pytest.mark.parametrize("border", ["valid", "zero", "replicate", "reflect", "symmetric"])
def test_gradients_of_the_filter_are_right(border):
    images = torch.rand(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for row, column in (((1.0, 0.0, -2.0), (3.0, 1.0)), (None, (1.0, 2.0, 4.0, 5.0))):
        assert torch.autograd.gradcheck(lambda x: correlate(x, row, column, border), images)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda x: correlate(x, row, column, border), images)  # noqa: B023
