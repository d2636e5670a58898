"""Classical rules: properties that each must have, the transforms against their libraries, GTF's minimum."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.ndimage import convolve
from scipy.signal import convolve2d

from fusionkit import FusionkitError, create_model
from fusionkit.models import MODELS
from fusionkit.models.classical import GradientTransfer, StationaryWavelet
from fusionkit.models.classical.gradient_transfer import divergence, gradient, objective, total_variation
from fusionkit.models.classical.guided_filter import box_mean, guided_filter, saliency
from fusionkit.models.classical.pyramids import LaplacianPyramid, RatioPyramid, enlarge, gaussian_pyramid

NAMES = [
    *("laplacian_pyramid", "ratio_pyramid", "discrete_wavelet", "stationary_wavelet"),
    *("guided_filter", "gradient_transfer", "two_scale_saliency"),
]
SIZES = st.tuples(st.integers(16, 45), st.integers(16, 45))


def images(count, *size, seed=0):
    return torch.rand(count, 2, 1, 1, *size, generator=torch.Generator().manual_seed(seed)).unbind(1)


def smooth(image):
    return torch.nn.functional.avg_pool2d(image, 7, 1, 3, count_include_pad=False)


@pytest.mark.parametrize("name", NAMES)
def test_registered_without_weights(name):
    assert not MODELS[name].trained
    assert not list(create_model(name).parameters())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_identical_sources_give_back_the_source(name, data):
    image = torch.from_numpy(data.draw(arrays(np.float32, data.draw(SIZES), elements=st.floats(0, 1, width=16))))
    torch.testing.assert_close(create_model(name)(image[None, None], image[None, None])[0, 0], image, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(SIZES, st.floats(0, 1), st.floats(0, 1))
def test_constant_images_give_a_constant_between_them(name, size, first, second):
    a, b = (torch.full((1, 1, *size), value) for value in (first, second))
    fused = create_model(name)(a, b)
    assert fused.max() - fused.min() < 1e-5
    assert min(first, second) - 1e-5 <= fused.mean() <= max(first, second) + 1e-5


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(SIZES, st.integers(0, 9))
def test_any_size_keeps_shape_type_and_range(name, size, seed):
    (a,), (b,) = images(1, *size, seed=seed)
    fused = create_model(name)(a, b)
    assert fused.shape == a.shape
    assert fused.dtype == a.dtype
    assert 0 <= fused.min() <= fused.max() <= 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gradient_transfer"])
def test_order_of_the_images_does_not_matter(name):
    (a,), (b,) = images(1, 33, 40)
    torch.testing.assert_close(create_model(name)(a, b), create_model(name)(b, a), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_detail_of_both_images_survives(name):
    """A fine grating in one half of each image, on one grey level."""
    grating = 0.5 + 0.2 * (torch.arange(64) % 2 * 2.0 - 1)
    a, b = (torch.full((1, 1, 64, 64), 0.5) for _ in range(2))
    a[..., :32], b[..., 32:] = grating[:32], grating[32:]
    fused = create_model(name)(a, b)
    middle = fused[..., 16:-16, 8:-8]
    if name == "gradient_transfer":  # detail of the second image only
        middle, a = middle[..., 32:], a[..., 40:-8]
    deviation = (middle - 0.5).abs().mean()
    assert deviation > 0.1, deviation


@pytest.mark.parametrize("rule", [LaplacianPyramid, RatioPyramid])
@settings(max_examples=10, deadline=None)
@given(size=SIZES)
def test_levels_of_a_pyramid_are_restored(rule, size):
    fine, coarse = gaussian_pyramid(np.random.default_rng(0).random(size), 1)
    below = enlarge(coarse, fine)
    np.testing.assert_allclose(rule.restore(rule.detail(fine, below), below), fine, atol=1e-12)


def test_a_coarser_level_is_half_as_large_and_keeps_the_mean():
    image = np.random.default_rng(0).random((33, 48))
    levels = gaussian_pyramid(image, 3)
    assert [level.shape for level in levels] == [(33, 48), (17, 24), (9, 12), (5, 6)]
    assert abs(levels[-1].mean() - image.mean()) < 0.03


def test_one_image_beside_a_grey_one_is_fused_as_pywavelets_puts_it_together():
    """Against zero detail the other image's always wins: only the mean of the approximations is left to check."""
    image = np.random.default_rng(1).random((64, 64))
    coefficients = pywt.wavedec2(image, "haar", level=2)
    expected = pywt.waverec2([(coefficients[0] + 4 * 0.5) / 2, *coefficients[1:]], "haar")
    model = create_model("discrete_wavelet", wavelet="haar", levels=2)
    np.testing.assert_allclose(model.fuse(image, np.full((64, 64), 0.5)), expected, atol=1e-12)


def test_a_shift_of_the_images_shifts_what_the_stationary_wavelet_gives():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 120, 121))
    model = StationaryWavelet()
    whole, shifted = model.fuse(a[:, :-1], b[:, :-1]), model.fuse(a[:, 1:], b[:, 1:])
    np.testing.assert_allclose(shifted[:, 50:70], whole[:, 51:71], atol=1e-12)


def test_the_discrete_wavelet_is_not_that_steady():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 120, 121))
    model = create_model("discrete_wavelet")
    whole, shifted = model.fuse(a[:, :-1], b[:, :-1]), model.fuse(a[:, 1:], b[:, 1:])
    assert np.abs(shifted[:, 50:70] - whole[:, 51:71]).max() > 0.01


def test_box_mean_counts_what_lies_in_the_image():
    image = np.random.default_rng(3).random((20, 17))
    square = np.ones((7, 7))
    expected = convolve2d(image, square, "same") / convolve2d(np.ones_like(image), square, "same")
    np.testing.assert_allclose(box_mean(image, 3), expected, atol=1e-12)


def test_guided_filter_follows_strong_edges_and_smooths_flat_guides():
    rng = np.random.default_rng(4)
    step = np.repeat([0.0, 1.0], 20) * np.ones((40, 1))
    noisy = step + 0.1 * rng.standard_normal(step.shape)
    kept = guided_filter(step, noisy, 4, 1e-4)
    assert np.abs(kept - step).mean() < 0.03
    flat = guided_filter(np.full_like(step, 0.5), noisy, 4, 1e-4)
    np.testing.assert_allclose(flat, box_mean(box_mean(noisy, 4), 4), atol=1e-9)


def test_saliency_is_the_smoothed_laplacian():
    image = np.random.default_rng(5).random((30, 30))
    axis = np.arange(-5, 6)
    kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / 50)
    laplacian = np.abs(convolve(image, np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]), mode="nearest"))
    np.testing.assert_allclose(saliency(image), convolve(laplacian, kernel / kernel.sum(), mode="nearest"), atol=1e-12)


# Gradient transfer


def test_divergence_is_the_negative_adjoint_of_the_gradient():
    image, field = torch.rand(1, 1, 9, 12).double(), torch.rand(1, 2, 9, 12).double()
    field[:, 0, -1], field[:, 1, :, -1] = 0, 0
    torch.testing.assert_close((gradient(image) * field).sum(), -(image * divergence(field)).sum())


def test_objective_falls_with_the_steps_below_all_trivial_images():
    _, (b,) = images(1, 48, 56)
    a = 0.2 + 0.6 * (torch.arange(56) > 27) + 0.1 * smooth(b)
    values = [objective(b + total_variation(a - b, 4, steps), a, b).item() for steps in (1, 10, 50, 300, 1500)]
    assert values == sorted(values, reverse=True)
    assert values[3] < 1.01 * values[4]
    trivial = (a, b, (a + b) / 2, torch.maximum(a, b), torch.minimum(a, b))
    assert values[3] < 0.9 * min(objective(image, a, b).item() for image in trivial)


def test_total_variation_removes_small_things_and_keeps_large_ones():
    """A disc lives while its area exceeds weight times circumference: from radius 2 * weight on."""
    rows, columns = torch.meshgrid(torch.arange(64) - 32, torch.arange(64) - 32, indexing="ij")
    distance = torch.hypot(rows.float(), columns.float())
    small, large = ((distance < radius).float()[None, None] for radius in (3, 20))
    assert total_variation(small, 4, 1000).max() < 0.01
    assert (total_variation(large, 4, 1000) - large).abs().mean() < 0.02


def test_grey_levels_come_from_the_first_image_and_edges_from_the_second():
    a = torch.full((1, 1, 64, 64), 0.3)
    b = 0.6 + 0.2 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    fused = create_model("gradient_transfer")(a, b)
    assert abs(fused.median() - 0.3) < 0.02
    assert np.corrcoef(fused.flatten(), b.flatten())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["peopleshadow", "carLight"])
def test_gtf_of_the_benchmark_is_no_nearer_to_the_minimum_and_much_alike(real_data, name):
    """VIFB's images are fused per colour channel and kept as JPEG, so they cannot be equal to ours."""
    folders = ("vifb/test/ir", "vifb/test/vi", "published_fusions/vifb/GTF")
    files = [Image.open(real_data / folder / f"{name}.jpg").convert("L") for folder in folders]
    a, b, theirs = (torch.from_numpy(np.float32(file) / 255)[None, None] for file in files)
    ours = GradientTransfer()(a, b)
    assert objective(ours, a, b) < objective(theirs, a, b)
    assert np.corrcoef(ours.flatten(), theirs.flatten())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("laplacian_pyramid", {"levels": 0}, "levels = 0"),
        ("stationary_wavelet", {"levels": 0}, "levels = 0"),
        ("discrete_wavelet", {"wavelet": "morl"}, "unknown wavelet 'morl'"),
        ("gradient_transfer", {"weight": 0}, "weight = 0"),
        ("gradient_transfer", {"steps": 0}, "steps = 0"),
    ],
)
def test_impossible_options_say_so(name, options, message):
    with pytest.raises(FusionkitError, match=message):
        create_model(name, **options)
