import math

import numpy as np
import pytest
import torch
from drawn import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from fusionkit.errors import FusionkitError
from fusionkit.metrics import phase
from fusionkit.metrics.phase import q_p


def shapes(size, corner):
    """Grey rectangles on a dim background."""
    image = torch.full((1, 1, *size), 20, dtype=torch.uint8)
    image[..., corner : size[0] // 2 + corner, 2 * corner : size[1] // 2 + corner] = 180
    image[..., size[0] // 4 : size[0] // 3, :] += 40
    return image


def grid(n):
    """Frequencies, zero first, as the toolbox spaces them."""
    x = np.arange(-(n - 1) // 2, (n - 1) // 2 + 1) / (n - 1) if n % 2 else np.arange(-n // 2, n // 2) / n
    return np.fft.ifftshift(x)


def features_by_definition(image):
    """Kovesi's phase congruency and moments, in full complex transforms, filter by filter."""
    x = image[0, 0].numpy().astype(float)
    rows, columns = x.shape
    fx, fy = np.meshgrid(grid(columns), grid(rows))
    radius, theta = np.hypot(fx, fy), np.arctan2(-fy, fx)
    radius[0, 0] = 1
    u, v = ((np.arange(n) - n // 2) / n for n in (columns, rows))
    low = np.fft.fftshift(1 / (1 + (np.sqrt(u**2 + v[:, None] ** 2) / 0.45) ** 30))
    total_energy, total_amplitude, cov = 0.0, 0.0, np.zeros((3, rows, columns))
    for o in range(6):
        angle = o * np.pi / 6
        difference = np.sin(theta) * np.cos(angle) - np.cos(theta) * np.sin(angle)
        along = np.cos(theta) * np.cos(angle) + np.sin(theta) * np.sin(angle)
        spread = np.exp(-(np.arctan2(difference, along) ** 2) / (2 * (np.pi / 6 / 1.2) ** 2))
        filters = []
        for s in range(4):
            gabor = np.exp(-(np.log(radius * 3 * 2.1**s) ** 2) / (2 * np.log(0.55) ** 2)) * low
            gabor[0, 0] = 0
            filters.append(gabor * spread)
        responses = [np.fft.ifft2(np.fft.fft2(x) * f) for f in filters]
        amplitude = sum(abs(r) for r in responses)
        even, odd = sum(r.real for r in responses), sum(r.imag for r in responses)
        norm = np.sqrt(even**2 + odd**2) + 1e-4
        even, odd = even / norm, odd / norm
        energy = sum(r.real * even + r.imag * odd - abs(r.real * odd - r.imag * even) for r in responses)
        kernels = [np.fft.ifft2(f).real * math.sqrt(rows * columns) for f in filters]
        power = np.median(abs(responses[0]) ** 2) / math.log(2) / (filters[0] ** 2).sum()
        pairs = sum((kernels[i] * kernels[j]).sum() for i in range(4) for j in range(i + 1, 4))
        tau = math.sqrt(power * (sum((k**2).sum() for k in kernels) + 2 * pairs))
        threshold = (tau * math.sqrt(math.pi / 2) + 2 * math.sqrt((2 - math.pi / 2) * tau**2)) / 1.7
        width = amplitude / (np.max([abs(r) for r in responses], axis=0) + 1e-4) / 4
        energy = np.maximum(energy - threshold, 0) / (1 + np.exp((0.5 - width) * 10))
        total_energy, total_amplitude = total_energy + energy, total_amplitude + amplitude
        px, py = energy / amplitude * np.cos(angle), energy / amplitude * np.sin(angle)
        cov += px**2 / 3, py**2 / 3, px * py / 6
    root = np.sqrt(cov[2] ** 2 + (cov[0] - cov[1]) ** 2) + 1e-4
    sums = cov[0] + cov[1]
    return total_energy / (total_amplitude + 1e-4), (sums + root) / 2, (sums - root) / 2


def quality_by_definition(fused, a, b):
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2

    def mean(x):
        return correlate2d(x, kernel, "same")

    f, x, y = (features_by_definition(image) for image in (fused, a, b))
    larger = x[0] > y[0]
    best = [np.where(larger, p, q) for p, q in zip(x, y, strict=True)]
    product = 1.0
    for k in range(3):
        maps = []
        for source in (x, y, best):
            mask = source[0] > 0.1
            s = source[k] * mask
            covariance = mean(s * f[k]) - mean(s) * mean(f[k])
            spread = (mean(s * s) - mean(s) ** 2) * (mean(f[k] ** 2) - mean(f[k]) ** 2)
            maps.append(mask * (covariance + 1e-4) / (np.sqrt(abs(spread)) + 1e-4))
        product *= np.max(maps, axis=0).sum() / (best[0] > 0.1).sum()
    return product


@pytest.mark.parametrize("size", [(32, 32), (31, 33), (24, 37), (45, 20)])
def test_against_the_definition(size):
    a, b = shapes(size, 3), noise(2, 1, 1, *size) // 2 + shapes(size, 5) // 4
    fused = torch.maximum(a, b)
    expected = quality_by_definition(fused, a, b)
    assert 0.01 < expected < 1
    for convention in q_p.variants:
        assert q_p(fused, a, b, convention=convention).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(32, 30), (29, 33)])
def test_features_against_the_definition(size):
    image = noise(7, 1, 1, *size)
    for found, expected in zip(phase._phase_features(image.double()), features_by_definition(image), strict=True):
        np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(2, 14), st.integers(2, 14)))
def test_batch_equals_loop_and_sources_are_interchangeable(seed, size):
    fused, a, b = (noise(seed + k, 2, 1, *size) for k in range(3))
    whole = q_p(fused, a, b, convention="liu")
    singles = [q_p(*(x[i : i + 1] for x in (fused, a, b)), convention="liu") for i in range(2)]
    torch.testing.assert_close(whole, torch.cat(singles), rtol=1e-8, atol=1e-8, equal_nan=True)
    torch.testing.assert_close(whole, q_p(fused, b, a, convention="liu"), rtol=1e-8, atol=1e-8, equal_nan=True)
    assert not (whole > 1 + 1e-9).any()


@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
def test_constant_images(size):
    a, b = shapes(size, 4), shapes(size, 6)
    flat = torch.full_like(a, 100)
    assert 0.95 < q_p(flat, a, b, convention="liu").item() <= 1
    assert math.isnan(q_p(a, flat, flat, convention="liu").item())
    assert 0.8 < q_p(a, a, flat, convention="liu").item() <= 1


def test_identical_images_score_higher_than_noise():
    a, b = shapes((48, 48), 4), shapes((48, 48), 7)
    same, other = q_p(a, a, a, convention="liu").item(), q_p(noise(1, 1, 1, 48, 48), a, b, convention="liu").item()
    assert 0.8 < same <= 1
    assert other < 0.5


def test_congruency_marks_the_edge_whatever_its_contrast():
    step = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    step[..., 20:44, 20:44] = 40
    weak, strong = (phase._phase_features(step * contrast) for contrast in (1, 5))
    assert weak.congruency[0, 0, 32, 19:21].min() > 0.3
    assert weak.congruency[0, 0, 32, 5] < 0.1
    assert weak.edges[0, 0, 32, 19:21].min() > 2 * weak.corners[0, 0, 32, 19:21].max()
    torch.testing.assert_close(weak.congruency, strong.congruency, rtol=0, atol=1e-2)


@pytest.mark.parametrize("size", [(5, 6), (5, 7)])
def test_median_counts_both_middle_values(size):
    maps = noise(3, 2, 2, *size).double()
    expected = np.median(maps.flatten(2).numpy(), axis=-1)
    np.testing.assert_array_equal(phase._median(maps)[..., 0, 0].numpy(), expected)


def test_filters_are_kept_for_few_sizes():
    for n in range(2, 8):
        phase._bank(n, n, torch.device("cpu"))
    assert phase._bank.cache_info().currsize <= 2


def test_refuses_small_images():
    line = noise(1, 1, 1, 1, 9)
    with pytest.raises(FusionkitError, match="at least 2x2"):
        q_p(line, line, line, convention="liu")
