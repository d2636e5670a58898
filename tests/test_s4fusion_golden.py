"""S4Fusion against values of the authors' network; tolerances are those stated beside the values.

Every block takes the authors' weights under their own names, so these tests check the table of names, too.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fusionkit.models import scan2d
from fusionkit.models.resolution import PatchExpanding, PatchMerging
from fusionkit.models.s4fusion import S4Fusion, configure, load_official
from fusionkit.models.s4fusion.ablations import make_fusion
from fusionkit.models.s4fusion.official import official_name
from fusionkit.models.s4fusion.patches import FoldingHead, OverlapEmbedding, fold
from fusionkit.models.scan2d import SelectiveScan2d
from fusionkit.models.vss import GatedScan, VisualBlock, step_rank

TINY = configure("tiny")
SCAN = ("encoder_infrared.0.blocks.0.ss2d.", "layers_x.0.blocks.0.self_attention.")


def ss2d(channels, inner, states):
    return GatedScan(channels, inner, SelectiveScan2d("ss2d", inner, states, step_rank(channels)))


def deeper():
    return S4Fusion("tiny", depths=(2, 2, 1))


# File: how to build the block, and where it stands in our network and in theirs.
BLOCKS = {
    "patch_embed": (lambda: OverlapEmbedding(24), "embed_infrared.", "patch_embed_x."),
    "patch_merging": (lambda: PatchMerging(24), "encoder_infrared.0.merge.", "layers_x.0.downsample."),
    "patch_expand": (lambda: PatchExpanding(48, 2, 24), "decoder.2.expand.", "layers_up.2.upsample."),
    "ss2d": (lambda: ss2d(24, 36, 8), *SCAN),
    "ss2d_d17": (lambda: ss2d(17, 25, 5), *SCAN),
    "vss_block": (lambda: VisualBlock(24, 8, 1.5), "encoder_visible.0.blocks.0.", "layers_y.0.blocks.0."),
    "cmsab": (
        lambda: make_fusion(24, TINY, 1).blocks[0].gated,
        "fusion.0.blocks.0.gated.",
        "fusion_layers.0.layers.0.",
    ),
    "cmsa": (lambda: make_fusion(24, TINY, 3), "fusion.0.", "fusion_layers.0."),
    "encoder_stage": (lambda: deeper().encoder_visible[0], "encoder_visible.0.", "layers_y.0."),
    "decoder_stage": (lambda: deeper().decoder[2], "decoder.2.", "layers_up.2."),
    "head": (lambda: FoldingHead(24), "head.", ""),
}
PRECISIONS = {"float64": (torch.float64, "_f64", 1e-11), "float32": (torch.float32, "", 5e-6)}


def error(ours, theirs):
    """Largest difference over the largest value."""
    assert ours.shape == theirs.shape
    return (ours.detach().double() - theirs.double()).abs().max().item() / theirs.abs().max().item()


def read(path):
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture
def folder(golden):
    return golden / "models" / "s4fusion"


def load_block(name, folder):
    """A block with the authors' weights, all of which must find their place."""
    build, ours, theirs = BLOCKS[name]
    block, state = build(), load_file(folder / "blocks" / f"{name}.safetensors")
    names = {key: official_name(ours + key).removeprefix(f"vmunet.{theirs}") for key in block.state_dict()}
    assert set(names.values()) == set(state)
    block.load_state_dict({key: state[name] for key, name in names.items()})
    return block


def outputs(name, block, given):
    """What a block gives, by the name of the authors' output."""
    if name == "head":
        return {"y": block(given["z"], (int(given["H"]), int(given["W"])))}
    found = block(*(given[key] for key in ("x", "ir", "vis") if key in given))
    if name == "cmsab":
        return dict(zip(("d_ir", "d_vis"), found, strict=True))
    return {"y": found[0] if isinstance(found, tuple) else found}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", BLOCKS)
def test_block_equals_the_authors(folder, name, precision):
    dtype, suffix, tolerance = PRECISIONS[precision]
    block, values = load_block(name, folder).to(dtype), read(folder / "blocks" / f"{name}.npz")
    for tag in sorted({key.partition(".")[0] for key in values}):
        of_tag = {key.removeprefix(f"{tag}."): x for key, x in values.items() if key.startswith(f"{tag}.")}
        given = {key: x.to(dtype) if x.is_floating_point() else x for key, x in of_tag.items()}
        for output, ours in outputs(name, block, given).items():
            assert ours.dtype == dtype
            deviation = error(ours, of_tag[output + suffix])
            assert deviation <= tolerance, (tag, output, deviation)


def test_every_golden_block_is_tested(folder):
    assert sorted(file.stem for file in (folder / "blocks").glob("*.safetensors")) == sorted(BLOCKS)


def test_patches_add_up_where_they_overlap(folder):
    values = read(folder / "blocks" / "fold.npz")
    patches = values["x"].unflatten(2, (2, 3))
    assert torch.equal(fold(patches, (7, 10)), values["y"])
    assert torch.equal(fold(torch.ones(1, 16, 2, 3), (7, 10)), values["ones"])


@pytest.mark.parametrize("name", ["ss2d", "cmsab"])
def test_the_scan_is_given_what_theirs_is_given(folder, monkeypatch, name):
    block, values, seen = load_block(name, folder), read(folder / "blocks" / f"{name}_scan_args.npz"), {}
    real = scan2d.selective_scan

    def spy(*arguments, delta_bias, delta_softplus):
        assert delta_softplus
        seen.update(zip(("u", "delta", "A", "B", "C", "D"), arguments, strict=True), delta_bias=delta_bias)
        seen["y"] = real(*arguments, delta_bias=delta_bias, delta_softplus=delta_softplus)
        return seen["y"]

    monkeypatch.setattr(scan2d, "selective_scan", spy)
    found = outputs(name, block, values)
    theirs = {key.removeprefix("scan_"): x for key, x in values.items() if key.startswith("scan_")}
    assert seen.keys() == theirs.keys()
    deviations = {key: error(seen[key], theirs[key]) for key in theirs}
    deviations |= {f"output {key}": error(found[key], values[key]) for key in found}
    assert max(deviations.values()) <= 5e-6, deviations


# The whole network


@pytest.fixture
def network(folder):
    return load_official(load_file(folder / "model.safetensors"))


def test_configuration_is_read_off_the_tensors(network):
    assert network.config == configure("tiny", compute_unused=True)


@pytest.mark.parametrize("size", ["s37x37", "s61x61", "s38x49"])
def test_network_equals_the_authors(folder, network, size):
    values = {key.removeprefix(f"{size}."): value for key, value in read(folder / "model_io.npz").items()}
    infrared, visible = values["ir"], values["vis"]
    with torch.no_grad():
        single = network.reconstruct(infrared, visible)
        double = network.double().reconstruct(infrared.double(), visible.double())
    assert error(double, values["y_f64"]) <= 1e-10
    assert error(single, values["y"]) <= 1e-5
    assert (single - values["y"]).square().mean().sqrt() <= 2e-6 * values["y"].abs().max()


def test_infrared_comes_first_and_the_limits_last(folder, network):
    values = read(folder / "model_io.npz")
    images = values["s61x61.ir"], values["s61x61.vis"]
    with torch.no_grad():
        assert error(network(*images), values["s61x61.y"].clamp(0, 1)) <= 1e-5
        assert error(network.train()(*images), values["s61x61.y"]) <= 1e-5


def test_every_stage_equals_the_authors(folder, network):
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output})

    theirs = {"embed_infrared": "patch_embed_x", "embed_visible": "patch_embed_y", "head.expand": "final_up"}
    parts = {"encoder_infrared": "layers_x", "encoder_visible": "layers_y", "fusion": "fusion_layers"}
    for ours, other in {**parts, "decoder": "layers_up"}.items():
        theirs |= {f"{ours}.{i}": f"{other}.{i}" for i in range(3)}
    for ours, other in {**theirs, "head.conv": "final_conv"}.items():
        network.get_submodule(ours).register_forward_hook(keep(other))
    network.head.conv.register_forward_pre_hook(lambda module, inputs: found.update(fold=inputs[0]))
    images, stages = read(folder / "model_io.npz"), read(folder / "model_stages.npz")
    with torch.no_grad():
        network.double().reconstruct(images["s37x37.ir"].double(), images["s37x37.vis"].double())
    assert found.keys() == stages.keys()
    deviations = {name: error(found[name], stages[name]) for name in stages}
    assert max(deviations.values()) <= 1e-10, deviations


@pytest.fixture
def backward(folder, network):
    """The network and both images behind the authors' backward pass."""
    images, values = read(folder / "model_io.npz"), read(folder / "model_grad.npz")
    infrared, visible = (images[f"s37x37.{x}"].double().requires_grad_() for x in ("ir", "vis"))
    (network.double().reconstruct(infrared, visible) * values["gout"]).sum().backward()
    return network, infrared, visible, values


def test_gradients_of_the_images_equal_the_authors(backward):
    _, infrared, visible, values = backward
    assert error(infrared.grad, values["grad_ir"]) <= 1e-10
    assert error(visible.grad, values["grad_vis"]) <= 1e-10


def test_gradients_of_all_parameters_equal_the_authors(folder, backward):
    expected = json.loads((folder / "model_grad_norms.json").read_text())
    found = {official_name(name): p.grad for name, p in backward[0].named_parameters()}
    assert found.keys() == expected.keys()
    without = {name for name, gradient in found.items() if gradient is None}
    assert without == {name for name in found if expected[name] is None}
    assert len(without) == 41
    for name in found.keys() - without:
        flat, wanted = found[name].flatten(), expected[name]
        checksum = (flat * torch.arange(len(flat), dtype=torch.float64).cos()).sum().item()
        assert flat.norm().item() == pytest.approx(wanted["l2"], rel=1e-9), name
        assert flat.abs().max().item() == pytest.approx(wanted["max_abs"], rel=1e-9), name
        assert checksum == pytest.approx(wanted["dot_cos"], abs=1e-9 * wanted["l2"]), name
