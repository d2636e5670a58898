import math

import numpy as np
import pytest
import torch
from drawn import noise, small_triples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from fusionkit.metrics.perception import METRICS, qcb, qcv

CASES = [(metric, convention) for metric in METRICS for convention in metric.variants]
SIZES = [(16, 32), (17, 33), (20, 19), (5, 40)]


def triple(size, batch=1):
    return [noise(k, batch, 1, *size) for k in range(3)]


@settings(max_examples=15, deadline=None)
@given(images=small_triples(2, 8), case=st.sampled_from(CASES))
def test_batch_equals_loop_and_sources_are_interchangeable(images, case):
    metric, convention = case
    fused, a, b = images
    whole = metric(fused, a, b, convention=convention)
    singles = [metric(*(x[i : i + 1] for x in images), convention=convention) for i in range(len(fused))]
    torch.testing.assert_close(whole, torch.cat(singles), rtol=1e-9, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(whole, metric(fused, b, a, convention=convention), rtol=1e-9, atol=1e-9, equal_nan=True)


def stretched(image):
    x = image[0, 0].numpy().astype(float)
    return np.floor((x - x.min()) / (x.max() - x.min()) * 255 + 0.5)


def weighted(x, gain, divisor):
    """Filter with frequencies in [-1, 1) at steps 2/n, scaled by the size over the divisor."""
    fy, fx = ((np.arange(n) - n // 2) * 2 / n * n / divisor for n in x.shape)
    radius = np.sqrt(fy[:, None] ** 2 + fx**2)
    return np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(x)) * gain(radius))).real


def masked_contrast(image):
    seen = weighted(
        stretched(image), lambda r: np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2)), 30
    )
    y, x = np.mgrid[-15:16, -15:16]
    narrow, wide = (np.exp(-(x**2 + y**2) / (2 * s**2)) / (2 * np.pi * s**2) for s in (2, 4))
    contrast = np.abs(correlate2d(seen, narrow, "same") / correlate2d(seen, wide, "same") - 1)
    return contrast**3 / (contrast**2 + 1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_contrast_preservation_by_full_transforms(size):
    fused, a, b = triple(size)
    f, x, y = (masked_contrast(image) for image in (fused, a, b))
    share = x**2 / (x**2 + y**2)
    quality = share * np.minimum(x, f) / np.maximum(x, f) + (1 - share) * np.minimum(y, f) / np.maximum(y, f)
    assert qcb(fused, a, b, convention="liu").item() == pytest.approx(quality.mean(), rel=1e-8)


@pytest.mark.parametrize("size", SIZES)
def test_regional_error_by_blocks(size):
    fused, a, b = triple(size)
    found = total = 0.0
    for source in (a, b):
        x = stretched(source)
        step = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        strength = np.hypot(correlate2d(x, step, "same"), correlate2d(x, step.T, "same")) ** 5
        seen = weighted(x - stretched(fused), lambda r: 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1)), 8)
        for top in range(0, size[0], 16):
            for left in range(0, size[1], 16):
                block = np.s_[top : top + 16, left : left + 16]
                found += strength[block].sum() * (seen[block] ** 2).sum() / 256
                total += strength[block].sum()
    assert qcv(fused, a, b, convention="liu").item() == pytest.approx(found / total, rel=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_only_the_stretched_image_counts(metric):
    """Adding a constant and doubling the contrast changes nothing, image by image."""
    fused, a, b = (image // 4 for image in triple((18, 20)))
    moved = fused + 9, a * 3, b * 2 + 60
    for convention in metric.variants:
        before, after = (metric(*images, convention=convention) for images in ((fused, a, b), moved))
        torch.testing.assert_close(after, before, rtol=1e-9, atol=0)


def test_halves_are_rounded_up():
    """Level 1 of 0..2 lies at 127.5."""
    fused, a, b = (image // 86 for image in triple((9, 11)))
    rounded = [torch.tensor([0, 128, 255], dtype=torch.uint8)[image.long()] for image in (fused, a, b)]
    for metric in METRICS:
        found, expected = (metric(*images, convention="liu") for images in ((fused, a, b), rounded))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@settings(max_examples=15, deadline=None)
@given(images=small_triples(2, 8))
def test_ranges(images):
    for metric, top in ((qcb, 1 + 1e-9), (qcv, math.inf)):
        found = metric(*images, convention="reference")
        assert not ((found < 0) | (found > top)).any()


def test_identical_images():
    image = noise(1, 1, 1, 20, 24)
    assert qcb(image, image, image, convention="reference").item() == pytest.approx(1, rel=1e-12)
    assert qcv(image, image, image, convention="reference").item() == 0


@pytest.mark.parametrize("convention", ["liu", "vifb", "reference"])
def test_constant_images(convention):
    images = triple((16, 17))
    for place in range(3):
        flat = [torch.full_like(x, 77) if k == place else x for k, x in enumerate(images)]
        black = [torch.zeros_like(x) if k == place else x for k, x in enumerate(images)]
        for metric in METRICS:
            assert math.isnan(metric(*flat, convention=convention).item())
        assert math.isnan(qcb(*black, convention=convention).item())
        assert math.isfinite(qcv(*black, convention=convention).item())
    batch = [torch.cat([torch.full_like(images[0], 5), images[0]]), *(torch.cat([x, x]) for x in images[1:])]
    assert torch.isnan(qcb(*batch, convention=convention)).tolist() == [True, False]


@pytest.mark.parametrize("metric", METRICS)
def test_channel_by_channel(metric):
    fused, b, a = noise(1, 2, 3, 18, 20), noise(2, 2, 3, 18, 20), noise(3, 2, 1, 18, 20)
    parts = [metric(fused[:, k : k + 1], a, b[:, k : k + 1], convention="vifb") for k in range(3)]
    found = metric(fused, a, b, convention="vifb")
    torch.testing.assert_close(found, torch.stack(parts).mean(dim=0), rtol=1e-9, atol=0)


def test_noise_is_worse_than_a_blend():
    """The regional error prefers the average of the sources to noise; lower is better."""
    ramp = torch.linspace(0, 255, 48).to(torch.uint8).expand(1, 1, 48, 48)
    a, b = ramp.clone(), ramp.transpose(-1, -2).clone()
    blend = ((a.int() + b.int()) // 2).to(torch.uint8)
    good, bad = (qcv(fused, a, b, convention="reference").item() for fused in (blend, noise(5, 1, 1, 48, 48)))
    assert qcv.better == "lower"
    assert good < bad
