"""S4Fusion's weighted loss terms: the authors' values, the weights, and the fallback without a ResNet50."""

import json

import numpy as np
import pytest
import torch

from fusionkit import losses
from fusionkit.data.pairs import load_pair
from fusionkit.data.registry import split_names
from fusionkit.losses.gradient import gradient_max
from fusionkit.losses.information import (
    IMAGE_TEMPERATURE,
    image_weights,
    information,
    modality_weights,
    pyramid,
    weighted_dissimilarity,
    weighted_intensity,
)
from fusionkit.losses.perception import entropy_of

CASES = [f"{triple}.c{c}" for triple in ("noise", "smooth") for c in ("1.0", "0.25")]
PRECISIONS = {"float64": (torch.float64, 1e-10), "float32": (torch.float32, 5e-6)}


@pytest.fixture(scope="module")
def authors(golden):
    """Arrays by name and values by case, of the compiled loss that the authors shipped."""
    folder = golden / "models" / "s4fusion"
    with np.load(folder / "loss.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    return arrays, json.loads((folder / "loss.json").read_text())["cases"]


def given(arrays, case, dtype):
    """Images, information of both modalities, and the softmax weights, all by our code."""
    triple, _, temperature = case.partition(".c")
    images = [arrays[f"{triple}.{name}"].to(dtype) for name in ("fused", "ir", "vis")]
    infos = [
        information([arrays[f"{triple}.features_{name}_{stage}"].to(dtype) for stage in range(4)])
        for name in ("ir", "vis")
    ]
    return images, infos, modality_weights(*infos, float(temperature))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_terms_equal_the_authors(authors, case, precision):
    arrays, cases = authors
    dtype, tolerance = PRECISIONS[precision]
    expected = cases[case][precision]
    images, infos, weights = given(arrays, case, dtype)
    logits = arrays[f"{case.partition('.c')[0]}.logits_fused"].to(dtype)
    found = {
        "ssim": weighted_dissimilarity(*images, weights),
        "l1": weighted_intensity(*images, weights),
        "gradient": gradient_max(*images),
        "entropy": entropy_of(logits),
        "information_ir": infos[0],
        "information_vis": infos[1],
        "weight_ir": weights[0],
        "weight_vis": weights[1],
    }
    for name, value in found.items():
        assert value.tolist() == pytest.approx(expected[name], rel=tolerance), name


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_the_authors(authors, case):
    arrays, _ = authors
    (fused, *sources), _, weights = given(arrays, case, torch.float64)
    triple = case.partition(".c")[0]
    logits = arrays[f"{triple}.logits_fused"].double()
    terms = {
        f"{case}.grad_ssim_wrt_fused_f64": (fused, lambda x: weighted_dissimilarity(x, *sources, weights)),
        f"{case}.grad_l1_wrt_fused_f64": (fused, lambda x: weighted_intensity(x, *sources, weights)),
        f"{triple}.grad_gradient_wrt_fused_f64": (fused, lambda x: gradient_max(x, *sources)),
        f"{triple}.grad_entropy_wrt_logits_f64": (logits, entropy_of),
    }
    for name, (point, term) in terms.items():
        x = point.clone().requires_grad_()
        term(x).backward()
        assert (x.grad - arrays[name]).abs().max() <= 1e-9 * arrays[name].abs().max(), name


def test_uniform_logits_have_the_largest_entropy():
    assert entropy_of(torch.zeros(2, 1000)).item() == pytest.approx(np.log(1000), abs=1e-3)


def test_weights_sum_to_one_and_favour_what_holds_more():
    generator = torch.Generator().manual_seed(0)
    busy, flat = torch.rand(3, 1, 32, 32, generator=generator), torch.full((3, 1, 32, 32), 0.5)
    of_busy, of_flat = image_weights(busy, flat)
    torch.testing.assert_close(of_busy + of_flat, torch.ones(3))
    assert (of_busy > of_flat).all()
    assert torch.equal(image_weights(flat, flat)[0], torch.full((3,), 0.5))


def test_information_has_no_gradient():
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    assert not information([image]).requires_grad


def test_each_image_of_a_batch_has_its_own_weights():
    generator = torch.Generator().manual_seed(0)
    a, b, fused = torch.rand(3, 2, 1, 32, 32, generator=generator)
    loss = losses.preset("s4fusion_no_perception")
    together = loss(fused, a, b)["total"]
    apart = torch.stack([loss(fused[i : i + 1], a[i : i + 1], b[i : i + 1])["total"] for i in range(2)])
    torch.testing.assert_close(together, apart.mean())


def test_the_temperature_of_the_fallback_is_the_median_over_training_pairs(real_data):
    split = ("roadscene", "train_s4fusion147")
    gaps = []
    for name in split_names(*split):
        pair = load_pair(*split, name)
        of_a, of_b = (information(pyramid(x[None])) for x in (pair.a, pair.b))
        gaps.append(float((of_a - of_b).abs()))
    assert float(np.median(gaps)) == pytest.approx(IMAGE_TEMPERATURE, abs=5e-5)
