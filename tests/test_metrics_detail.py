import math

import numpy as np
import pytest
import torch
from drawn import noise, small_triples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from fusionkit.errors import FusionkitError
from fusionkit.metrics.detail import METRICS, q_m, q_sf
from fusionkit.metrics.statistics import ei

CASES = [(metric, convention) for metric in METRICS for convention in metric.variants]


def plane(image):
    return image[0, 0].numpy().astype(float)


@settings(max_examples=20, deadline=None)
@given(images=small_triples(4, 9), case=st.sampled_from(CASES))
def test_batch_equals_loop_and_sources_are_interchangeable(images, case):
    metric, convention = case
    fused, a, b = images
    whole = metric(fused, a, b, convention=convention)
    singles = [metric(*(x[i : i + 1] for x in images), convention=convention) for i in range(len(fused))]
    torch.testing.assert_close(whole, torch.cat(singles), rtol=1e-12, atol=1e-12, equal_nan=True)
    swapped = metric(fused, b, a, convention=convention)
    torch.testing.assert_close(whole, swapped, rtol=1e-12, atol=1e-12, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(images=small_triples(4, 9))
def test_ranges(images):
    found = q_m(*images, convention="reference")
    assert not ((found < 0) | (found > 1 + 1e-12)).any()
    assert not (q_sf(*images, convention="reference") < -1).any()


def frequency_by_loop(stacks, height, width):
    """Extended spatial frequency; at every difference the stack's largest magnitude counts."""
    total = 0.0
    for di, dj, weight in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, math.sqrt(2) / 2), (1, -1, math.sqrt(2) / 2)):
        for i in range(height - di):
            for j in range(max(0, -dj), width - max(0, dj)):
                total += weight * max(abs(x[i + di, j + dj] - x[i, j]) for x in stacks) ** 2
    return math.sqrt(total / (height * width))


def test_spatial_frequency_error_by_loop():
    fused, a, b = (noise(k, 1, 1, 6, 9) for k in range(3))
    found = frequency_by_loop([plane(fused)], 6, 9)
    reference = frequency_by_loop([plane(a), plane(b)], 6, 9)
    assert q_sf(fused, a, b, convention="liu").item() == pytest.approx((found - reference) / reference, rel=1e-12)


def haar_by_loop(x):
    height, width = x.shape[0] // 2, x.shape[1] // 2
    bands = np.zeros((4, height, width))
    for i in range(height):
        for j in range(width):
            p, q, r, s = x[2 * i, 2 * j], x[2 * i, 2 * j + 1], x[2 * i + 1, 2 * j], x[2 * i + 1, 2 * j + 1]
            bands[:, i, j] = (p + q + r + s) / 2, (p - q + r - s) / 2, (p + q - r - s) / 2, (p - q - r + s) / 2
    return bands


@pytest.mark.parametrize("size", [(8, 12), (7, 11), (4, 5)])
def test_multiscale_by_loop(size):
    a, b = noise(1, 1, 1, *size), noise(2, 1, 1, *size)
    fused = a.int().add(noise(3, 1, 1, *size) % 3 - 1).clamp(0, 255).to(torch.uint8)
    x, y, f = plane(a), plane(b), plane(fused)
    expected = 1.0
    for exponent in (2 / 3, 1 / 3):
        (x, *from_a), (y, *from_b), (f, *kept) = (haar_by_loop(z) for z in (x, y, f))
        found = total = 0.0
        for details in (from_a, from_b):
            weight = sum(d**2 for d in details)
            found += (weight * sum(np.exp(-np.abs(d - k)) for d, k in zip(details, kept, strict=True))).sum()
            total += weight.sum()
        expected *= (found / total) ** exponent
    assert q_m(fused, a, b, convention="liu").item() == pytest.approx(expected, rel=1e-12)


def test_known_values():
    """Steps of 4 where the source has steps of 8; a fused image that misses a Haar coefficient by 1."""
    stripes = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    stripes[..., 1::2] = 8
    assert q_sf(stripes // 2, stripes, stripes, convention="reference").item() == pytest.approx(-0.5)
    blocks = torch.kron(torch.eye(2, dtype=torch.uint8), torch.full((4, 4), 8, dtype=torch.uint8))[None, None]
    sources = blocks + stripes // 8
    # Level 1: horizontal coefficients -1 against 0, the other two agree; level 2 has none at all.
    assert math.isnan(q_m(blocks, sources, sources, convention="liu").item())
    rows = torch.arange(8, dtype=torch.uint8).view(1, 1, 8, 1) * 2
    level_1, level_2 = (2 + math.exp(-1)) / 3, 1.0
    found = q_m((rows + 0 * stripes), rows + stripes // 8, rows + stripes // 8, convention="reference").item()
    assert found == pytest.approx(level_1 ** (2 / 3) * level_2 ** (1 / 3), rel=1e-12)


def test_conventions_of_one_name_are_related():
    images = [noise(k, 2, 1, 8, 10) // 32 for k in range(3)]
    torch.testing.assert_close(q_m(*images, convention="liu"), 3 * q_m(*images, convention="reference"))
    assert torch.equal(q_sf(*images, convention="liu"), q_sf(*images, convention="reference"))


def test_edge_cases():
    fused, a, b = (noise(k, 1, 1, 8, 9) for k in range(3))
    flat = torch.full_like(a, 9)
    assert q_sf(a, a, a, convention="liu").item() == 0
    assert q_m(a, a, a, convention="liu").item() == pytest.approx(3, rel=1e-15)
    assert q_sf(flat, a, b, convention="liu").item() == -1
    assert q_sf(fused, flat, flat, convention="liu").item() == math.inf
    assert math.isnan(q_sf(flat, flat, flat, convention="liu").item())
    assert math.isnan(q_m(fused, flat, flat, convention="liu").item())
    assert 0 <= q_m(flat, a, b, convention="liu").item() < 3


def test_detail_above_the_sources_is_positive():
    a, b = noise(1, 1, 1, 8, 8) // 2, noise(2, 1, 1, 8, 8) // 2
    binary = (noise(3, 1, 1, 8, 8) > 127).to(torch.uint8) * 255
    assert q_sf(binary, a, b, convention="reference").item() > 0


def test_refuses_small_images():
    small = noise(1, 1, 1, 3, 8)
    with pytest.raises(FusionkitError, match="at least 4x4"):
        q_m(small, small, small, convention="liu")
    with pytest.raises(FusionkitError, match="at least 2x2"):
        q_sf(*(small[..., :1, :] for _ in range(3)), convention="liu")


@settings(max_examples=10, deadline=None)
@given(image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_edge_intensity_against_scipy(image):
    gx, gy = (ndimage.sobel(image.astype(float), axis=axis, mode="nearest") for axis in (0, 1))
    found = ei(torch.from_numpy(image)[None, None], convention="vifb").item()
    assert found == pytest.approx(np.hypot(gx, gy).mean(), rel=1e-12, abs=1e-12)
    assert 0 <= found <= 1140.4


def test_edge_intensity_of_a_ramp():
    ramp = (torch.arange(6, dtype=torch.uint8) * 3).expand(1, 1, 4, 6)
    # 8 steps of 3 inside, 4 at both ends.
    assert ei(ramp, convention="reference").item() == pytest.approx((4 * 24 + 2 * 12) / 6, rel=1e-12)
    assert ei(torch.full_like(ramp, 200), convention="reference").item() == 0
    colour = noise(4, 1, 3, 5, 6)
    parts = [ei(colour[:, k : k + 1], convention="vifb") for k in range(3)]
    torch.testing.assert_close(ei(colour, convention="vifb"), torch.stack(parts).mean(dim=0))
