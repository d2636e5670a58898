"""Loss terms: exact zeros, gradients, outside oracles."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from skimage.metrics import structural_similarity

from fusionkit import FusionkitError, losses
from fusionkit.losses.gradient import sobel_magnitude
from fusionkit.metrics.similarity import ms_ssim


def pair(size=32, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 1, size, size, generator=generator, dtype=dtype) for _ in range(2)]


# Those that need a ResNet50 are tested in test_perception.py.
PLAIN = [name for name in losses.PRESETS if name not in losses.FALLBACKS]
TERMS = sorted({term for name in PLAIN for term in losses.PRESETS[name].weights} | {"ms_ssim_to_sources"})


@pytest.mark.parametrize("name", PLAIN)
def test_all_terms_vanish_for_identical_images(name):
    a, _ = pair()
    values = losses.preset(name)(a, a, a)
    assert all(abs(float(v)) < 1e-5 for v in values.values())


@pytest.mark.parametrize("name", ["intensity_max", "intensity_max_squared"])
def test_intensity_vanishes_for_the_maximum(name):
    a, b = pair()
    assert float(losses.TERMS[name](torch.maximum(a, b), a, b)) == 0


def test_squared_intensity_is_a_mean_and_not_a_norm():
    a, b = pair()
    expected = (torch.maximum(a, b) - a / 2).square().sum() / a.numel()
    torch.testing.assert_close(losses.TERMS["intensity_max_squared"](a / 2, a, b), expected)


def test_total_is_the_weighted_sum():
    a, b = pair()
    values = losses.preset("lightfusionnet")((a + b) / 2, a, b)
    expected = 20 * values["intensity_max"] + 100 * values["gradient_max"] + 50 * values["ssim_to_sources"]
    torch.testing.assert_close(values["total"], expected)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("fusionmamba", (1, 1, 10)), ("fusionmamba_code", (10, 1, 10)), ("fusionmamba_advice", (10, 1, 1))],
)
def test_presets_of_fusionmamba_weigh_intensity_texture_and_structure(name, weights):
    assert tuple(losses.preset(name).weights.values()) == weights


def test_weights_can_be_replaced_one_by_one():
    assert losses.preset("lightfusionnet", {"gradient_max": 7.0}).weights == {
        "intensity_max": 20.0,
        "gradient_max": 7.0,
        "ssim_to_sources": 50.0,
    }


def scikit_image_map(fused, source):
    """SSIM at every pixel, with reflection beyond the border."""
    return structural_similarity(
        fused[0, 0].numpy(),
        source[0, 0].numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        full=True,
    )[1]


def test_ssim_agrees_with_scikit_image_away_from_the_border():
    """Borders differ (zeros there, reflection here), so the images are black near theirs."""
    a, b = (torch.nn.functional.pad(x, [16] * 4) for x in pair(dtype=torch.float64))
    fused = (a + b) / 2
    ours = 1 - float(losses.ssim_to_sources(fused, a, b))
    assert ours == pytest.approx(np.mean([scikit_image_map(fused, x).mean() for x in (a, b)]), abs=1e-9)


def test_ssim_inside_agrees_with_scikit_image_where_windows_fit():
    a, b = pair(dtype=torch.float64)
    fused = (a + b) / 2
    ours = 1 - float(losses.ssim_to_sources_inside(fused, a, b))
    inside = [scikit_image_map(fused, x)[5:-5, 5:-5].mean() for x in (a, b)]
    assert ours == pytest.approx(np.mean(inside), abs=1e-9)


def test_ssim_agrees_with_convolutions_up_to_the_border():
    """Zeros outside the image, as `torch.nn.functional.conv2d` pads."""
    a, b = pair(20, dtype=torch.float64)
    fused = (2 * a + b) / 3
    taps = torch.exp(-(torch.arange(-5.0, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2

    def blur(x):
        return torch.nn.functional.conv2d(x, kernel[None, None], padding=5)

    def similarity(x, y):
        mx, my = blur(x), blur(y)
        luminance = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        variances = blur(x * x) - mx**2 + blur(y * y) - my**2
        return (luminance * (2 * (blur(x * y) - mx * my) + 9e-4) / (variances + 9e-4)).mean()

    expected = 1 - (similarity(fused, a) + similarity(fused, b)) / 2
    torch.testing.assert_close(losses.ssim_to_sources(fused, a, b), expected, rtol=1e-10, atol=0)


def test_ms_ssim_is_the_metric_on_another_scale():
    a, b = pair(180)
    a, b = (image.mul(255).round().to(torch.uint8) for image in (a, (2 * a + b) / 3))
    expected = 1 - ms_ssim(a, a, b, convention="reference").item()
    assert losses.ms_ssim_to_sources(*(image.double() / 255 for image in (a, a, b))).item() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "side"), [("ms_ssim_to_sources", 176), ("normalised_ms_ssim_to_sources", 32)])
def test_ms_ssim_needs_room_for_five_scales(name, side):
    a, b = pair(side)
    assert losses.TERMS[name](a, a, a).isfinite()
    with pytest.raises(FusionkitError, match=f"'{name}' needs {side}x{side} pixels; got {side}x{side - 1}"):
        losses.TERMS[name](*(x[..., 1:] for x in (a, a, b)))


AUTHORS_CASES = ["noise", "smooth", "unclamped"]


@pytest.fixture(params=AUTHORS_CASES)
def authors(request, golden):
    """FusionMamba's loss by its authors' code: the images, the values in both precisions, the gradients."""
    folder, case = golden / "models" / "fusionmamba", request.param
    with np.load(folder / "loss.npz") as file:
        arrays = {
            key.partition(".")[2]: torch.from_numpy(file[key]) for key in file.files if key.startswith(f"{case}.")
        }
    return arrays, json.loads((folder / "loss.json").read_text())[case]


@pytest.mark.parametrize(
    ("dtype", "suffix", "of_values", "of_gradient"),
    [(torch.float64, "_f64", 1e-10, 1e-10), (torch.float32, "", 2e-5, 5e-5)],
)
def test_loss_of_fusionmambas_code_equals_the_authors(authors, dtype, suffix, of_values, of_gradient):
    images, values = authors
    fused, a, b = (images[name].to(dtype) for name in ("fused", "ir", "vis"))
    found = losses.preset("fusionmamba_code")(fused.requires_grad_(), a, b)
    found["total"].backward()
    named = {"intensity_max_squared": "intensity", "gradient_max": "texture"}
    named |= {"normalised_ms_ssim_to_sources": "structure", "total": "total"}
    expected = values[str(dtype).removeprefix("torch.")]
    for ours, theirs in named.items():
        assert found[ours].item() == pytest.approx(expected[theirs], rel=of_values), ours
    gradient = images[f"grad_total_wrt_fused{suffix}"]
    assert (fused.grad - gradient).abs().max() <= of_gradient * gradient.abs().max()


@pytest.mark.parametrize("authors", AUTHORS_CASES[:2], indirect=True)  # beyond [0, 1] their dynamic range is another
def test_first_scale_of_the_authors_is_the_papers_structure_term(authors):
    images, values = authors
    fused, a, b = (images[name].double() for name in ("fused", "ir", "vis"))
    expected = 1 - np.mean(values["float64"]["ssim_one_scale"])
    assert losses.ssim_to_sources_inside(fused, a, b).item() == pytest.approx(expected, rel=1e-10)


def test_sobel_agrees_with_scipy():
    a, _ = pair(dtype=torch.float64)
    x = np.outer([1, 2, 1], [-1, 0, 1])
    expected = sum(abs(convolve(a[0, 0].numpy(), k, mode="constant")) for k in (x, x.T))
    np.testing.assert_allclose(sobel_magnitude(a)[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in TERMS if "ms_ssim" not in name])
def test_gradients_are_right(name):
    a, b = pair(14, dtype=torch.float64)
    fused = (0.3 * a + 0.6 * b).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.TERMS[name](x, a, b), fused)


@pytest.mark.parametrize(("name", "side"), [("ms_ssim_to_sources", 176), ("normalised_ms_ssim_to_sources", 32)])
def test_gradient_of_ms_ssim_is_right_along_a_line(name, side):
    """Each of its many pixels in turn would take long."""
    a, b = pair(side, dtype=torch.float64)
    start, direction = 0.5 * a + 0.4 * b, a - b
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: losses.TERMS[name](start + x * direction, a, b), weight)


def test_unknown_names_suggest_near_ones():
    with pytest.raises(FusionkitError, match="did you mean lightfusionnet"):
        losses.preset("lightfusionnett")
    with pytest.raises(FusionkitError, match="did you mean gradient_max"):
        losses.preset("lightfusionnet", {"gradient_mx": 1.0})
