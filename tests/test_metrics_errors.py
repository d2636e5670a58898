import math
import warnings

import numpy as np
import pytest
import torch
from drawn import noise, small_triples
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from fusionkit.metrics.pixel_errors import METRICS, mse, psnr, rmse

CASES = [(metric, convention) for metric in METRICS for convention in metric.variants]


def flat(*levels):
    return [torch.full((1, 1, 4, 4), level, dtype=torch.uint8) for level in levels]


@settings(max_examples=20, deadline=None)
@given(images=small_triples(1, 6), case=st.sampled_from(CASES))
def test_batch_equals_loop_and_sources_are_interchangeable(images, case):
    metric, convention = case
    fused, a, b = images
    whole = metric(fused, a, b, convention=convention)
    singles = [metric(*(x[i : i + 1] for x in images), convention=convention) for i in range(len(fused))]
    torch.testing.assert_close(whole, torch.cat(singles), rtol=1e-12, atol=0, equal_nan=True)
    torch.testing.assert_close(whole, metric(fused, b, a, convention=convention), rtol=1e-12, atol=0, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(images=small_triples(1, 6))
def test_uint8_convention_is_numpy_uint8_arithmetic(images):
    fused, a, b = (image[:1] for image in images)
    f, x, y = (image[0, 0].numpy() for image in (fused, a, b))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = (np.mean((x - f) ** 2) + np.mean((y - f) ** 2)) / 2
        ratio = 10 * np.log10(np.max(f) ** 2 / error)
    assert mse(fused, a, b, convention="cddfuse-uint8").item() == error
    assert psnr(fused, a, b, convention="cddfuse-uint8").item() == pytest.approx(ratio, rel=1e-12, nan_ok=True)


def test_against_scikit_image():
    fused, a, b = (noise(k, 1, 1, 7, 9) for k in range(3))
    f, x, y = (image[0, 0].numpy() for image in (fused, a, b))
    errors = [mean_squared_error(f, source) for source in (x, y)]
    assert mse(fused, a, b, convention="reference").item() == pytest.approx(np.mean(errors), rel=1e-12)
    assert rmse(fused, a, b, convention="reference").item() == pytest.approx(np.mean(np.sqrt(errors)), rel=1e-12)
    ratio = peak_signal_noise_ratio(x, f, data_range=255)
    assert psnr(fused, a, a, convention="reference").item() == pytest.approx(ratio, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "convention", "expected"),
    [
        (mse, "reference", (100 + 900) / 2),
        (mse, "cddfuse", (100 + 900) / 2),
        (mse, "tang", 500 / 255**2),
        (mse, "tang2022", 500 / 255**2),
        (mse, "cddfuse-uint8", (100 + 900 % 256) / 2),
        (rmse, "reference", 20),
        (rmse, "vifb", 20 / 4),
        (psnr, "reference", 10 * math.log10(255**2 / 500)),
        (psnr, "tang", 20 * math.log10(255 / math.sqrt(500 / 255**2))),
        (psnr, "tang2022", 20 * math.log10(255 / math.sqrt(500 / 255**2))),
        (psnr, "vifb", 20 * math.log10(255 / math.sqrt(5))),
        (psnr, "cddfuse", 10 * math.log10(50**2 / 500)),
        (psnr, "cddfuse-uint8", 10 * math.log10(50**2 % 256 / ((100 + 900 % 256) / 2))),
    ],
)
def test_known_values(metric, convention, expected):
    """Flat images of 4x4 pixels: levels 50, 60, 20."""
    assert metric(*flat(50, 60, 20), convention=convention).item() == pytest.approx(expected, rel=1e-12)


def test_conventions_of_one_name_are_related():
    images = [noise(k, 2, 1, 6, 8) for k in range(3)]
    for convention in ("tang", "tang2022"):
        torch.testing.assert_close(mse(*images, convention=convention) * 255**2, mse(*images, convention="reference"))
        shift = psnr(*images, convention=convention) - psnr(*images, convention="reference")
        torch.testing.assert_close(shift, torch.full_like(shift, 20 * math.log10(255)))
    size = math.sqrt(6 * 8)
    torch.testing.assert_close(rmse(*images, convention="vifb") * size, rmse(*images, convention="reference"))
    assert (rmse(*images, convention="reference") <= mse(*images, convention="reference").sqrt()).all()


@pytest.mark.parametrize("convention", psnr.variants)
def test_identical_images(convention):
    image = flat(255)[0]
    assert psnr(image, image, image, convention=convention).item() == math.inf
    for metric in (mse, rmse):
        if convention in metric.variants:
            assert metric(image, image, image, convention=convention).item() == 0


def test_peaks_that_vanish():
    """A black image, and level 32, whose square is 0 modulo 256."""
    assert psnr(*flat(0, 5, 5), convention="cddfuse").item() == -math.inf
    assert psnr(*flat(32, 5, 5), convention="cddfuse-uint8").item() == -math.inf
    assert math.isnan(psnr(*flat(0, 0, 0), convention="cddfuse").item())
    assert math.isfinite(psnr(*flat(32, 5, 5), convention="cddfuse").item())


def test_channel_by_channel():
    fused, b, a = noise(1, 2, 3, 5, 6), noise(2, 2, 3, 5, 6), noise(3, 2, 1, 5, 6)
    for metric in (rmse, psnr):
        parts = [metric(fused[:, k : k + 1], a, b[:, k : k + 1], convention="vifb") for k in range(3)]
        torch.testing.assert_close(metric(fused, a, b, convention="vifb"), torch.stack(parts).mean(dim=0))
