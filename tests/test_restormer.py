"""Restormer's block: against the authors' whole network, its formulas, and what it costs."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from formula_weights import formula
from torch import nn
from torch.nn import functional as F  # noqa: N812

from fusionkit import FusionkitError
from fusionkit.cost import CONVENTIONS, parameters
from fusionkit.models.restormer import ChannelAttention, restormer_block

EXPANSION = 2.66
NAMES = (
    *(("attention.scale", "attn.temperature"), ("attention.qkv", "attn.qkv"), ("attention.mix", "attn.qkv_dwconv")),
    *(("attention.project", "attn.project_out"), ("feed_forward.enter", "ffn.project_in")),
    *(("feed_forward.mix", "ffn.dwconv"), ("feed_forward.project", "ffn.project_out")),
    *(("norm1", "norm1.body"), ("norm2", "norm2.body")),
)
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Restormer:
    """The authors' network from its published description, around our blocks; weights are asked for by name."""

    def __init__(self, weights):
        self.weights = weights

    def blocks(self, x, name, count, heads):
        for number in range(count):
            with torch.device("meta"):
                block = restormer_block(x.shape[1], heads, EXPANSION)
            theirs = {ours: self.named(f"{name}.{number}", ours) for ours in block.state_dict()}
            block.load_state_dict({ours: self.weights(key) for ours, key in theirs.items()}, assign=True)
            x = block(x)
        return x

    def named(self, prefix, ours):
        for mine, theirs in NAMES:
            if ours.startswith(mine):
                return f"{prefix}.{theirs}{ours.removeprefix(mine)}"
        raise AssertionError(ours)

    def convolve(self, x, name):
        weight = self.weights(f"{name}.weight")
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def down(self, x, name):
        return F.pixel_unshuffle(self.convolve(x, f"{name}.body.0"), 2)

    def up(self, x, name, skip):
        return torch.cat([F.pixel_shuffle(self.convolve(x, f"{name}.body.0"), 2), skip], 1)

    def __call__(self, image):
        first = self.blocks(self.convolve(image, "patch_embed.proj"), "encoder_level1", 4, 1)
        second = self.blocks(self.down(first, "down1_2"), "encoder_level2", 6, 2)
        third = self.blocks(self.down(second, "down2_3"), "encoder_level3", 6, 4)
        x = self.blocks(self.down(third, "down3_4"), "latent", 8, 8)
        x = self.convolve(self.up(x, "up4_3", third), "reduce_chan_level3")
        x = self.blocks(x, "decoder_level3", 6, 4)
        x = self.convolve(self.up(x, "up3_2", second), "reduce_chan_level2")
        x = self.blocks(x, "decoder_level2", 6, 2)
        x = self.blocks(self.up(x, "up2_1", first), "decoder_level1", 4, 1)
        return self.convolve(self.blocks(x, "refinement", 4, 1), "output") + image


def test_the_authors_network_is_made_of_this_block(golden):
    listed = golden.parent / "specs" / "baselines_state_dicts.json"
    if not listed.is_file():
        pytest.skip("list of the authors' tensors absent: it belongs beside the reference values")
    shapes = json.loads(listed.read_text())["architecture_only"]["restormer"]
    with np.load(golden / "baselines" / "arch_restormer.npz") as file:
        values = dict(file)
    rest = dict(shapes)
    gain, offset = float(values["gain"]), float(values["offset"])
    with torch.inference_mode():
        image = torch.from_numpy(values["a_in1"]).expand(-1, 3, -1, -1)
        found = Restormer(lambda name: formula(name, rest.pop(name), gain, offset))(image)
    expected = torch.from_numpy(values["a_raw"])
    assert not rest
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE * max(1, expected.abs().max()))


def test_attention_is_between_channels_of_a_head():
    module, x = ChannelAttention(6, 3).double(), torch.randn(2, 6, 4, 5, dtype=torch.float64)
    nn.init.uniform_(module.scale, 0.5, 2)
    queries, keys, values = module.mix(module.qkv(x)).flatten(2).chunk(3, 1)
    expected = torch.zeros_like(values)
    for head in range(3):
        own = slice(2 * head, 2 * head + 2)
        q, k = (part[:, own] / part[:, own].norm(dim=2, keepdim=True) for part in (queries, keys))
        weights = torch.softmax(module.scale[head] * torch.einsum("bil,bjl->bij", q, k), 2)
        expected[:, own] = torch.einsum("bij,bjl->bil", weights, values[:, own])
    torch.testing.assert_close(module(x), module.project(expected.view_as(x)))


def test_every_place_sees_every_other_through_the_similarities():
    block = restormer_block(4, 2, EXPANSION).double()
    x = torch.randn(1, 4, 9, 9, dtype=torch.float64, requires_grad=True)
    block(x)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 8, 8].abs().min() > 0


def test_gradient_is_right():
    block = restormer_block(4, 2, EXPANSION).double()
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x)


@pytest.mark.parametrize("side", [16, 32])
def test_cost_is_linear_in_the_places(side):
    """Per place: 14,650 for the weights of the convolutions, 2 C^2 / heads = 128 for the attention."""
    with torch.device("meta"):
        block, x = restormer_block(32, 16, EXPANSION), torch.empty(1, 32, side, side)
    assert CONVENTIONS["macs"].count(block, partial(block, x)) == (14_650 + 128) * side**2
    assert parameters(block) == 14_650 + 2 * 64 + 16


def test_heads_must_divide_the_channels():
    with pytest.raises(FusionkitError, match="16 heads do not divide 24 channels"):
        restormer_block(24, 16, EXPANSION)
