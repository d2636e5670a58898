import math

import numpy as np
import pytest
import torch
from drawn import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.fft import dctn
from scipy.ndimage import sobel

from fusionkit.errors import FusionkitError
from fusionkit.metrics import feature_information, features

POSITIONS = np.arange(1, 10)
SMOOTH = ("fmi_dct", "fmi_w", "fmi_gradient", "fmi_none")
METRICS = {metric.name: metric for metric in feature_information.METRICS}


@st.composite
def triples(draw, batch=1):
    highest = draw(st.sampled_from([1, 3, 255]))
    shape = (batch, 1, draw(st.integers(3, 6)), draw(st.integers(3, 7)))
    return [torch.from_numpy(draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, highest)))) for _ in range(3)]


def distribution(window):
    cells = window.T.flatten().astype(float)
    span = cells.max() - cells.min()
    scaled = (cells - cells.min()) / span if span else np.ones(9)
    return scaled / scaled.sum()


def bits(p):
    p = p[p != 0]
    return -(p * np.log2(np.abs(p))).sum()


def similarity(x, y):
    """The definition, cell by cell, for two 3x3 windows."""
    if (x == y).all():
        return 1.0
    p, q = distribution(x), distribution(y)
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return 1.0
    c = 0.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else np.corrcoef(p, q)[0, 1]
    deviations = [math.sqrt(max((POSITIONS**2 * d).sum() - (POSITIONS * d).sum() ** 2, 0)) for d in (p, q)]
    sums = np.cumsum(p)[:, None], np.cumsum(q)[None]
    bound = np.minimum(*sums) if c >= 0 else np.maximum(sums[0] + sums[1] - 1, 0)
    phi = 0.0
    if c and all(deviations):
        phi = c / ((bound - sums[0] * sums[1]).sum() / math.prod(deviations))
    extreme = np.diff(np.diff(np.pad(bound, ((1, 0), (1, 0))), axis=0), axis=1)
    joint = phi * extreme + (1 - phi) * np.outer(p, q)
    shared = bits(p) + bits(q) - bits(joint.flatten())
    return 2 * shared / (bits(p) + bits(q)) if shared else 0.0


def mean_similarity(f, a, b):
    corners = [(slice(i, i + 3), slice(j, j + 3)) for i in range(f.shape[0] - 2) for j in range(f.shape[1] - 2)]
    return np.mean([(similarity(f[k], a[k]) + similarity(f[k], b[k])) / 2 for k in corners])


def plain_edges(x):
    x = x.astype(float)
    gx, gy = sobel(x, axis=1, mode="nearest") / 8, sobel(x, axis=0, mode="nearest") / 8
    power, (height, width) = gx**2 + gy**2, x.shape
    found = np.zeros(x.shape)
    for i in range(height):
        for j in range(width):
            here = power[i, j]
            left = j == 0 or power[i, j - 1] <= here
            right = j == width - 1 or here > power[i, j + 1]
            up = i == 0 or power[i - 1, j] <= here
            down = i == height - 1 or here > power[i + 1, j]
            along_x = abs(gx[i, j]) >= abs(gy[i, j]) and left and right
            along_y = abs(gy[i, j]) >= abs(gx[i, j]) and up and down
            found[i, j] = here > 4 * power.mean() and (along_x or along_y)
    return found


def plain_wavelet(x):
    low = np.array([*features.MEYER[:0:-1], *features.MEYER, 0.0])[::-1]
    high = (-1.0) ** np.arange(1, 103) * low[::-1]

    def halves(rows):
        extended = np.pad(rows, ((0, 0), (101, 101)), mode="symmetric")
        kept = slice(1, rows.shape[1] + 101, 2)
        return [np.array([np.convolve(row, taps, "valid")[kept] for row in extended]) for taps in (low, high)]

    across = halves(x.astype(float))
    (approximation, horizontal), (vertical, diagonal) = ([half.T for half in halves(part.T)] for part in across)
    tiles = np.block([[approximation, horizontal], [vertical, diagonal]])
    return (tiles - tiles.min()) / np.ptp(tiles)


PLAIN = {
    "fmi_edge": plain_edges,
    "fmi_dct": lambda x: dctn(x.astype(float), norm="ortho"),
    "fmi_w": plain_wavelet,
    "fmi_gradient": lambda x: np.gradient(x.astype(float), axis=1),
    "fmi_none": lambda x: x.astype(float),
}


# A wavelet transform is at least 102 pixels wide, so one size is enough.
@pytest.mark.parametrize(
    ("name", "size"),
    [("fmi_w", (5, 8)), *((name, size) for name in METRICS if name != "fmi_w" for size in [(3, 3), (9, 14), (13, 8)])],
)
def test_against_plain_loops(name, size):
    images = [noise(seed, 1, 1, *size) for seed in range(3)]
    if name == "fmi_edge":
        images = [(image // 128) * 100 for image in images]
    expected = mean_similarity(*(PLAIN[name](image[0, 0].numpy()) for image in images))
    assert METRICS[name](*images).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(images=triples())
def test_windows_of_few_levels_against_plain_loops(images):
    """Ties, constant windows, single cells above the rest and equal windows all occur."""
    for name in ("fmi_none", "fmi_gradient", "fmi_edge"):
        expected = mean_similarity(*(PLAIN[name](image[0, 0].numpy()) for image in images))
        assert METRICS[name](*images).item() == pytest.approx(expected, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("seed", range(3))
def test_feature_maps(seed):
    image = noise(seed, 11, 16)
    plain = image.numpy()
    for name, feature in (("fmi_dct", features.cosines), ("fmi_w", features.wavelet), ("fmi_edge", features.edges)):
        found = feature(image.double()).double().numpy()
        np.testing.assert_allclose(found, PLAIN[name](plain), rtol=0, atol=1e-11)


def test_edges_of_a_step_are_thin():
    step = torch.zeros(8, 20)
    step[:, 10:] = 50
    expected = torch.zeros(8, 20, dtype=torch.bool)
    expected[:, 10] = True
    assert torch.equal(features.edges(step.double()), expected)
    assert torch.equal(features.edges(step.T.double()), expected.T)
    assert not features.edges(torch.full((5, 5), 9.0, dtype=torch.float64)).any()


def test_meyer_taps_follow_the_definition():
    """Samples of the Meyer scaling function: the inverse transform of its low-pass filter."""
    frequency = (np.arange(2**14) + 0.5) / 2**14 * math.pi
    x = np.clip(3 * frequency / math.pi - 1, 0, 1)
    filter_ = np.cos(math.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))
    taps = np.array([(filter_ * np.cos(k * frequency)).mean() for k in range(51)])
    taps *= math.sqrt(2) / (2 * taps.sum() - taps[0])
    np.testing.assert_allclose(features.MEYER, taps, rtol=0, atol=1e-10)


def test_wavelet_of_flat_areas_is_flat():
    image = torch.full((40, 260), 255.0, dtype=torch.float64)
    image[:, :20] = 7
    bands = features.wavelet(image)
    for band in (bands[:, 70:175], bands[:, 260:350]):
        assert (band.diff(dim=1) == 0).all()
    assert (features.wavelet(torch.zeros(5, 6, dtype=torch.float64)) == 0).all()


@settings(max_examples=15, deadline=None)
@given(images=triples(batch=3), name=st.sampled_from(sorted(METRICS)))
def test_batch_equals_loop_and_sources_are_interchangeable(images, name):
    # Noise keeps the transforms away from the rounding errors of nearly constant images.
    images = [image + noise(k, *image.shape) // 2 for k, image in enumerate(images)]
    together = METRICS[name](*images)
    apart = torch.cat([METRICS[name](*(x[k : k + 1] for x in images)) for k in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(METRICS[name](images[0], images[2], images[1]), together, rtol=1e-9, atol=1e-9)


def test_distinct_edge_windows_stand_for_all():
    images = [noise(seed, 2, 3, 24, 33).double() for seed in range(3)]
    every = feature_information._feature_information(*images, feature=lambda x: features.edges(x).double())
    torch.testing.assert_close(feature_information._edge_information(*images), every, rtol=1e-12, atol=1e-12)


def test_any_band_height_gives_the_same(monkeypatch):
    images = [noise(seed, 2, 1, 17, 21) for seed in range(3)]
    before = {name: metric(*images) for name, metric in METRICS.items()}
    monkeypatch.setattr(feature_information, "CPU_WINDOWS", 1)
    for name, metric in METRICS.items():
        torch.testing.assert_close(metric(*images), before[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_equal_images_share_everything(name):
    image = noise(1, 2, 1, 12, 15)
    assert METRICS[name](image, image, image).tolist() == [1.0, 1.0]
    assert METRICS[name](image, image, noise(2, 2, 1, 12, 15)).max() < 1


def test_scale_does_not_matter():
    small = [noise(seed, 1, 1, 12, 15) // 4 for seed in range(3)]
    for name, metric in METRICS.items():
        offset = 20 if name in ("fmi_edge", "fmi_gradient", "fmi_none") else 0
        scaled = metric(*(image * 3 + offset for image in small))
        torch.testing.assert_close(scaled, metric(*small), rtol=1e-9, atol=1e-9)


def test_constant_images():
    a, b = noise(1, 1, 1, 12, 15), noise(2, 1, 1, 12, 15)
    levels = [torch.full_like(a, level) for level in (128, 0, 255)]
    for name in ("fmi_gradient", "fmi_edge"):
        assert METRICS[name](*levels).item() == 1
    assert METRICS["fmi_none"](*levels).item() == pytest.approx(1, abs=1e-12)
    for name in ("fmi_dct", "fmi_none", "fmi_gradient"):
        assert METRICS[name](levels[0], a, b).item() == pytest.approx(0, abs=1e-9)
    # Only the window at the corner, which holds the mean, differs between constant images.
    assert METRICS["fmi_dct"](*levels).item() == pytest.approx(1 - 1 / (10 * 13))


def test_conventions_agree_and_small_images_are_refused():
    images = [noise(seed, 1, 1, 8, 9) for seed in range(3)]
    for metric in METRICS.values():
        found = [metric(*images, convention=name).item() for name in metric.variants]
        assert found == found[:1] * 3
        with pytest.raises(FusionkitError, match="at least 3x3 pixels"):
            metric(*(image[..., :2] for image in images))


@pytest.mark.parametrize("name", SMOOTH)
def test_information_is_lost_to_noise(name):
    """The clean average of two smooth sources keeps more than the average with noise on it."""
    x, y = torch.meshgrid(torch.arange(30.0), torch.arange(40.0), indexing="ij")
    a, b = (100 + 90 * torch.sin(x / 4 + y / 5)), (120 + 80 * torch.cos(x / 6 - y / 3))
    clean = (a + b) / 2
    noisy = (clean + torch.randn(30, 40, generator=torch.Generator().manual_seed(0)) * 20).clamp(0, 255)
    a, b, clean, noisy = (image.round().to(torch.uint8)[None, None] for image in (a, b, clean, noisy))
    assert METRICS[name](clean, a, b) > METRICS[name](noisy, a, b)
