"""FusionMamba in official mode against values of the authors' network; tolerances are those stated beside the values.

Every block takes the authors' weights under their own names, so these tests check the table of names, too.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fusionkit.models.fusionmamba import configure, load_official
from fusionkit.models.fusionmamba.blocks import CodeBlock, EfficientScan, EfficientStateSpace, Mlp
from fusionkit.models.fusionmamba.convolution import (
    DescriptiveConvolution,
    EfficientChannelAttention,
    SqueezeExcitation,
)
from fusionkit.models.fusionmamba.fusion import CodeFusion, CodeMixing, DynamicEnhancement
from fusionkit.models.fusionmamba.official import official_name
from fusionkit.models.layout import channels_last
from fusionkit.models.resolution import PatchEmbedding, PatchExpanding, PatchMerging

OFFICIAL = configure(mode="official")
BLOCK = ("encoder.0.blocks.0.", "layers.0.blocks.0.")
SCAN = ("encoder.0.blocks.0.essm.", "layers.0.blocks.0.op.")
FUSION = ("fusion.0.", "Cross_block.0.")
# File: how to build the block, and where it stands in our network and in theirs.
BLOCKS = {
    "patch_embed": (lambda: PatchEmbedding(12), "embed1.", "patch_embed1."),
    "patch_merging": (lambda: PatchMerging(12), "encoder.0.after.", "layers.0.downsample."),
    "patch_expand": (lambda: PatchExpanding(24, 2, 12), "decoder.1.before.", "layers_up.1.upsample."),
    "final_patch_expand": (lambda: PatchExpanding(12, 4, 3), "expand.", "final_up."),
    "ldc": (lambda: DescriptiveConvolution(12, stored_ones=True), BLOCK[0] + "ldc.", BLOCK[1] + "conv_branch."),
    "eca_c8": (EfficientChannelAttention, BLOCK[0] + "eca.", BLOCK[1] + "self_attention_cross_channel."),
    "eca_c24": (EfficientChannelAttention, FUSION[0] + "eca.", FUSION[1] + "self_attention_cross_spatial."),
    "biattn": (lambda: SqueezeExcitation(12), BLOCK[0] + "se.", BLOCK[1] + "se."),
    "mlp": (lambda: Mlp(12), BLOCK[0] + "mlp.", BLOCK[1] + "mlp."),
    "es2d": (lambda: EfficientScan(10, 6, 3), SCAN[0] + "es2d.", SCAN[1]),
    "essm": (lambda: EfficientStateSpace(24, 8), *SCAN),
    "dvss": (lambda: CodeBlock(12, OFFICIAL, 0.0), *BLOCK),
    "dfem": (lambda: DynamicEnhancement(12, OFFICIAL), FUSION[0] + "dfem.", FUSION[1] + "Cross_layer."),
    "cmfm": (
        lambda: CodeMixing(12, configure(mode="official", states=8)),
        FUSION[0] + "cmfm.",
        FUSION[1] + "self_attention_cross.",
    ),
    "cross_block": (lambda: CodeFusion(12, OFFICIAL), *FUSION),
}
NOT_IN_THE_BLOCK = {"dfem": {"Diff_enhance.lastconv.bias", "Diff_enhance.lastconv.weight"}}
PRECISIONS = {"float64": (torch.float64, "_f64", 1e-11), "float32": (torch.float32, "", 5e-6)}
LOOSE = {("final_patch_expand", "float32"): 2e-5}  # its norm runs over three channels


def error(ours, theirs):
    """Largest difference over the largest value."""
    assert ours.shape == theirs.shape
    return (ours.detach().double() - theirs.double()).abs().max().item() / theirs.abs().max().item()


def read(path):
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def load_block(name, folder):
    """A block with the authors' weights, all of which must find their place."""
    build, ours, theirs = BLOCKS[name]
    block, state = build().eval(), load_file(folder / f"{name}.safetensors")
    names = {key: official_name(ours + key).removeprefix(theirs) for key in block.state_dict()}
    assert set(state) - set(names.values()) == NOT_IN_THE_BLOCK.get(name, set())
    block.load_state_dict({key: state[name] for key, name in names.items()})
    return block


def outputs(name, block, given):
    """What a block gives, by the name of the authors' output."""
    if name == "dfem":  # theirs takes the coarse fusion from outside
        parts = block.parts(*(channels_last(given[x]) for x in ("x1", "x2")))
        fuse = channels_last(given["fuse"])
        shares = (parts.share, 1 - parts.share)
        both = zip(("x1", "x2"), (parts.texture1, parts.texture2), shares, strict=True)
        first, second = ((channels_last(given[x]) + t + share * fuse).permute(0, 3, 1, 2) for x, t, share in both)
        return {"f1": first, "f2": second}
    found = {"y": block(*given.values())}
    if name == "es2d":
        found["y_before_norm"] = channels_last(*block.scan(given["x"]))
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", BLOCKS)
def test_block_equals_the_authors(golden, name, precision):
    dtype, suffix, tolerance = PRECISIONS[precision]
    folder = golden / "models" / "fusionmamba" / "blocks"
    block, values = load_block(name, folder).to(dtype), read(folder / f"{name}.npz")
    inputs = ("x", "x1", "x2", "fuse")
    for tag in sorted({key.partition(".")[0] for key in values}):
        given = {key: values[f"{tag}.{key}"].to(dtype) for key in inputs if f"{tag}.{key}" in values}
        for output, ours in outputs(name, block, given).items():
            deviation = error(ours, values[f"{tag}.{output}{suffix}"])
            assert deviation <= LOOSE.get((name, precision), tolerance), (tag, output, deviation)


def test_every_golden_block_is_tested(golden):
    files = (golden / "models" / "fusionmamba" / "blocks").glob("*.safetensors")
    assert sorted(file.stem for file in files) == sorted(BLOCKS)


# The whole network


@pytest.fixture
def folder(golden):
    return golden / "models" / "fusionmamba"


@pytest.fixture
def network(folder):
    return load_official(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("size", ["s32x32", "s64x64", "s96x64"])
def test_network_equals_the_authors(folder, network, size):
    values = {key.removeprefix(f"{size}."): value for key, value in read(folder / "model_io.npz").items()}
    visible, infrared = values["x1"], values["x2"]
    with torch.no_grad():
        single = network.reconstruct(visible, infrared)
        clamped = network(infrared, visible)
        double = network.double().reconstruct(visible.double(), infrared.double())
    assert error(double, values["y_f64"]) <= 1e-9
    assert error(single, values["y"]) <= 5e-5
    assert (single - values["y"]).square().mean().sqrt() <= 2e-6 * values["y"].abs().max()
    assert torch.equal(clamped, single.clamp(0, 1))


def test_every_stage_equals_the_authors(folder, network):
    network.double()
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output})

    modules = {"embed1": network.embed1, "embed2": network.embed2, "expand": network.expand, "head": network.head}
    for part in ("encoder", "fusion", "decoder"):
        modules |= {f"{part}.{i}": module for i, module in enumerate(getattr(network, part))}
    for name, module in modules.items():
        module.register_forward_hook(keep(name))
    images, stages = read(folder / "model_io.npz"), read(folder / "model_stages.npz")
    with torch.no_grad():
        network.reconstruct(images["s32x32.x1"].double(), images["s32x32.x2"].double())
    theirs = {"embed1": "patch_embed1", "embed2": "patch_embed2", "expand": "final_up", "head": "final_conv"}
    theirs |= {
        f"{ours}.{i}": f"{x}.{i}" for ours, x in (("fusion", "Cross_block"), ("decoder", "layers_up")) for i in range(4)
    }
    ours = {theirs[name]: output for name, output in found.items() if name in theirs}
    for i in range(4):  # ours sends both modalities through the encoder as one batch
        ours |= {f"layers.{i}/call{call}": x for call, x in enumerate(found[f"encoder.{i}"].chunk(2), 1)}
    assert ours.keys() == stages.keys()
    deviations = {name: error(ours[name], stages[name]) for name in stages}
    assert max(deviations.values()) <= 1e-9, deviations


@pytest.fixture
def backward(folder, network):
    """The network and both images behind the authors' backward pass."""
    images, values = read(folder / "model_io.npz"), read(folder / "model_grad.npz")
    visible, infrared = (images[f"s96x64.{x}"].double().requires_grad_() for x in ("x1", "x2"))
    (network.double().reconstruct(visible, infrared) * values["gout"]).sum().backward()
    return network, visible, infrared, values


def test_gradients_of_the_images_equal_the_authors(backward):
    _, visible, infrared, values = backward
    assert error(visible.grad, values["grad_x1"]) <= 1e-9
    assert error(infrared.grad, values["grad_x2"]) <= 1e-9


def test_gradients_of_all_parameters_equal_the_authors(folder, backward):
    expected = json.loads((folder / "model_grad_norms.json").read_text())
    found = {official_name(name): p.grad for name, p in backward[0].named_parameters() if p.requires_grad}
    assert found.keys() == expected.keys()
    without = [name for name, gradient in found.items() if gradient is None]
    assert without == [name for name in found if expected[name] is None]
    assert len(without) == 31
    for name in found.keys() - set(without):
        flat, wanted = found[name].flatten(), expected[name]
        length = flat.norm().item()
        checksum = (flat * torch.arange(len(flat), dtype=torch.float64).cos()).sum().item()
        assert length == pytest.approx(wanted["l2"], rel=1e-8), name
        assert flat.abs().max().item() == pytest.approx(wanted["max_abs"], rel=1e-8), name
        assert checksum == pytest.approx(wanted["dot_cos"], abs=1e-8 * wanted["l2"]), name
