import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from fusionkit.errors import FusionkitError
from fusionkit.metrics.fidelity import vif, viff

SIZE = (44, 53)
VIF_CONVENTIONS = tuple(vif.variants)


def noise(seed, batch=1, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randint(0, 256, (batch, 1, *size), generator=generator).double()
    smooth = torch.nn.functional.avg_pool2d(rough, 5, stride=1, padding=2)
    return (0.3 * rough + 0.7 * smooth).round().to(torch.uint8)


def triple(seed=0, batch=1, size=SIZE):
    a, b = noise(seed, batch, size), noise(seed + 1, batch, size)
    fused = (0.5 * a.double() + 0.3 * b.double() + 0.2 * noise(seed + 2, batch, size).double()).round()
    return fused.to(torch.uint8), a, b


def kernel(size):
    """Gaussian window, normalised by a running sum."""
    half, sigma = size // 2, size / 5
    weights = [
        [math.exp(-(i * i + j * j) / (2 * sigma**2)) for j in range(-half, half + 1)] for i in range(-half, half + 1)
    ]
    total = 0.0
    for row in weights:
        for weight in row:
            total += weight
    return np.array(weights) / total


def by_scipy(image, size):
    return convolve2d(image, kernel(size), mode="valid")


def term_by_term(image, size):
    """Plain sum over the window: columns from the last to the first, in each the rows from the last to the first."""
    weights, (height, width) = kernel(size), np.subtract(image.shape, size - 1)
    total = np.zeros((height, width))
    for j in reversed(range(size)):
        for i in reversed(range(size)):
            total += weights[i, j] * image[i : i + height, j : j + width]
    return total


def wrapped(x, y):
    return (x.astype(np.uint8) * y.astype(np.uint8)).astype(float)


def saturated(x, y):
    return np.minimum(x * y, 255)


def slow_scales(fused, source, eye_noise, product=np.multiply, average=by_scipy):
    """Gain, kept and present information per scale, step by step as the publications' code has it."""
    for size in (17, 9, 5, 3):
        if size < 17:
            fused, source = (average(x, size)[::2, ::2] for x in (fused, source))
            product = np.multiply
        m1, m2 = average(source, size), average(fused, size)
        v1 = np.maximum(average(product(source, source), size) - m1 * m1, 0)
        v2 = np.maximum(average(product(fused, fused), size) - m2 * m2, 0)
        covariance = average(product(source, fused), size) - m1 * m2
        gain = covariance / (v1 + 1e-10)
        rest = v2 - gain * covariance
        flat = v1 < 1e-10
        gain[flat], rest[flat], v1[flat] = 0, v2[flat], 0
        flat = v2 < 1e-10
        gain[flat], rest[flat] = 0, 0
        against = gain < 0
        rest[against], gain[against] = v2[against], 0
        rest = np.maximum(rest, 1e-10)
        yield gain, np.log10(1 + gain**2 * v1 / (rest + eye_noise)), np.log10(1 + v1 / eye_noise)


def slow_vif(fused, a, b, product=np.multiply):
    total = 0.0
    for source in (a, b):
        scales = list(slow_scales(fused, source, 2.0, product))
        total += sum(kept.sum() for _, kept, _ in scales) / sum(present.sum() for *_, present in scales)
    return total


def slow_viff(fused, a, b, average=by_scipy):
    total = 0.0
    scales = zip(*(slow_scales(fused, source, 0.005 * 255**2, average=average) for source in (a, b)), strict=True)
    for weight, ((gain_a, *maps_a), (gain_b, *maps_b)) in zip((1, 0, 0.15, 1), scales, strict=True):
        kept, present = (np.where(gain_a < gain_b, x, y) + 1e-7 for x, y in zip(maps_a, maps_b, strict=True))
        total += weight / 2.15 * kept.sum() / present.sum()
    return total


def arrays(images):
    return [image[0, 0].double().numpy() for image in images]


@pytest.mark.parametrize(
    ("convention", "product"),
    [
        ("tang", np.multiply),
        ("reference", np.multiply),
        ("tang2022", saturated),
        ("cddfuse", np.multiply),
        ("cddfuse-uint8", wrapped),
    ],
)
@pytest.mark.parametrize("darkness", [1, 12])
def test_vif_equals_slow_code(convention, product, darkness):
    images = [image // darkness for image in triple()]
    expected = slow_vif(*arrays(images), product)
    assert vif(*images, convention=convention).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("convention", ["han", "reference"])
def test_viff_equals_slow_code(convention):
    images = triple()
    assert viff(*images, convention=convention).item() == pytest.approx(slow_viff(*arrays(images)), rel=1e-10)


def ramps(height, width):
    across = torch.linspace(0, 255, width, dtype=torch.float64).expand(height, width)
    down = torch.linspace(0, 255, height, dtype=torch.float64)[:, None].expand(height, width)
    return [(x + 0.5).floor()[None, None] for x in (across, down)]


def test_viff_resolves_ties_in_the_order_of_the_reference_code():
    """Crossed ramps: both gains are 1/2 up to rounding, so that the order of addition chooses the source."""
    a, b = ramps(80, 101)
    images = [x.to(torch.uint8) for x in (((a + b) / 2).floor(), a, b)]
    in_order = slow_viff(*arrays(images), average=term_by_term)
    assert in_order != pytest.approx(slow_viff(*arrays(images)), rel=1e-7)
    assert viff(*images, convention="han").item() == pytest.approx(in_order, rel=1e-10)


def test_viff_on_bright_flat_areas():
    """At level 254 the variance of a flat window rounds to more than the threshold for flat windows."""
    a, b = noise(0, size=(60, 70)), torch.full((1, 1, 60, 70), 254, dtype=torch.uint8)
    b[..., :10] = 100
    images = (torch.maximum(a // 2, b), a, b)
    in_order = slow_viff(*arrays(images), average=term_by_term)
    assert viff(*images, convention="han").item() == pytest.approx(in_order, rel=1e-10)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), convention=st.sampled_from(VIF_CONVENTIONS))
def test_vif_is_the_sum_of_its_parts(seed, convention):
    fused, a, b = triple(seed)
    whole, twice_a, twice_b = (vif(fused, *pair, convention=convention) for pair in ((a, b), (a, a), (b, b)))
    torch.testing.assert_close(whole, (twice_a + twice_b) / 2)
    torch.testing.assert_close(whole, vif(fused, b, a, convention=convention))


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_viff_ignores_the_order_of_the_sources_without_ties(seed):
    fused, a, b = triple(seed)
    torch.testing.assert_close(viff(fused, a, b, convention="han"), viff(fused, b, a, convention="han"))


@pytest.mark.parametrize("metric", [vif, viff])
def test_batch_equals_loop(metric):
    images = triple(3, batch=3)
    for convention in metric.variants:
        whole = metric(*images, convention=convention)
        single = [metric(*(x[i : i + 1] for x in images), convention=convention) for i in range(3)]
        torch.testing.assert_close(whole, torch.cat(single), rtol=1e-13, atol=0)


def test_viff_ties_in_a_batch():
    a, b = ramps(80, 101)
    tied = [x.to(torch.uint8) for x in (((a + b) / 2).floor(), a, b)]
    batch = [torch.cat(pair) for pair in zip(triple(size=(80, 101)), tied, strict=True)]
    alone = viff(*tied, convention="han")
    torch.testing.assert_close(viff(*batch, convention="han")[1:], alone, rtol=1e-13, atol=0)


def test_equal_images():
    image = noise(0)
    for convention in VIF_CONVENTIONS:
        assert vif(image, image, image, convention=convention).item() == pytest.approx(2, rel=1e-9)
    assert viff(image, image, image, convention="han").item() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("convention", VIF_CONVENTIONS)
def test_constant_images_of_every_level(convention):
    """A constant source has no information at any level, however its window sums round."""
    flat = torch.arange(256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 41, 41)
    image = noise(0, size=(41, 41)).expand_as(flat)
    of_source = vif(image, flat, image, convention=convention)
    if convention.startswith("cddfuse"):
        torch.testing.assert_close(of_source, torch.full_like(of_source, 2.0), rtol=1e-9, atol=0)
    else:
        assert torch.isnan(of_source).all()
    assert (vif(flat, image, image, convention=convention).abs() < 1e-9).all()


def test_viff_of_constant_images():
    image, flat = noise(0), torch.full((1, 1, *SIZE), 77, dtype=torch.uint8)
    assert 0 < viff(flat, image, image, convention="han").item() < 1e-4
    assert viff(flat, flat // 2, flat // 3, convention="han").item() == pytest.approx(1)


def test_noise_lowers_vif():
    image = noise(0)
    values = [vif(image // 2 + noise(9) // strength, image, image).item() for strength in (64, 16, 4)]
    assert values == sorted(values, reverse=True)


def test_contrast_counts():
    image = noise(0) // 4
    for metric, equal in ((vif, 2), (viff, 1)):
        assert metric(image // 2, image, image, convention="reference").item() < equal
        assert metric(image * 4, image, image, convention="reference").item() > equal


@pytest.mark.parametrize("metric", [vif, viff])
def test_smallest_image(metric):
    images = [x[..., :41] for x in triple(size=(41, 60))]
    assert torch.isfinite(metric(*images, convention="reference")).all()
    with pytest.raises(FusionkitError, match="41x41"):
        metric(*(x[..., :40] for x in images), convention="reference")
