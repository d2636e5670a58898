"""FusionMamba's blocks against their equations, written out here, and the windows of the Transformer ablation."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.fusionmamba import configure
from fusionkit.models.fusionmamba.blocks import (
    DropPath,
    DynamicBlock,
    EfficientBlock,
    WindowTransformerBlock,
    make_block,
)
from fusionkit.models.fusionmamba.convolution import DescriptiveConvolution
from fusionkit.models.fusionmamba.fusion import CrossModalityMixing, DynamicEnhancement, DynamicFusion, SummedBlock

CHANNELS = 8


def scrambled(build, *arguments, **options):
    """A block in float64 whose every parameter is random, so that none can be forgotten."""
    torch.manual_seed(0)
    block = build(CHANNELS, configure(states=2, **options), *arguments).double().eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return block


def features(count=2, height=6, width=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, height, width, CHANNELS, dtype=torch.float64, generator=generator)


def norm(x, layer):
    return F.layer_norm(x, (CHANNELS,), layer.weight, layer.bias)


def attended(x, layer):
    """ECA on (B, H, W, C)."""
    scores = F.conv1d(x.mean((1, 2))[:, None], layer.conv.weight, padding=1)
    return x * torch.sigmoid(scores)[:, :, None]


def convolved(convolve, x):
    """Call a convolution, which wants channels first, on channels last."""
    return convolve(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def depthwise(x, layer):
    return convolved(lambda y: F.conv2d(y, layer.weight, layer.bias, padding=1, groups=CHANNELS), x)


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("placement", ["parallel", "serial"])
def test_dvss_is_equation_5(placement, identity):
    block = scrambled(DynamicBlock, 0.0, placement=placement, identity=identity)
    (x,) = features(1)
    far = norm(block.essm(norm(x, block.norm)), block.norm2)
    source = x if placement == "parallel" else far + attended(far, block.eca)
    expected = attended(far, block.eca) + convolved(block.ldc, source) + (x if identity else 0)
    torch.testing.assert_close(block(x), expected)


def test_evss_is_a_plain_convolution_beside_the_scan():
    block = scrambled(EfficientBlock, 0.0)
    (x,) = features(1)
    normed = norm(x, block.norm)
    expected = x + block.se(block.essm(normed)) + block.se(convolved(block.conv, normed))
    torch.testing.assert_close(block(x), expected)


def test_ldc_without_theta_is_a_plain_convolution():
    layer = scrambled(lambda channels, config: DescriptiveConvolution(channels))
    torch.nn.init.zeros_(layer.learnable_theta)
    x = torch.rand(2, CHANNELS, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.conv.weight, padding=1))


def test_ldc_weakens_the_centre_tap_by_a_product():
    layer = scrambled(lambda channels, config: DescriptiveConvolution(channels))
    changed, plain = layer.kernel(), layer.conv.weight
    factor = 1 - layer.learnable_theta * layer.learnable_mask * plain.sum((2, 3))
    torch.testing.assert_close(changed[..., 1, 1], plain[..., 1, 1] * factor)
    elsewhere = torch.ones(3, 3, dtype=torch.bool)
    elsewhere[1, 1] = False
    assert torch.equal(changed[..., elsewhere], plain[..., elsewhere])


@pytest.mark.parametrize("difference", ["texture", "features"])
def test_dfem_adds_texture_and_a_share_of_the_sum(difference):
    block = scrambled(DynamicEnhancement, difference=difference)
    x, y = features()
    texture1, texture2 = convolved(block.ldc1, x), convolved(block.ldc2, y)
    apart = texture2 - texture1 if difference == "texture" else x - y
    share = torch.sigmoid(apart.mean((1, 2), keepdim=True))
    found = block(x, y)
    torch.testing.assert_close(found[0], x + texture1 + share * (x + y))
    torch.testing.assert_close(found[1], y + texture2 + (1 - share) * (x + y))


def test_cmfm_is_equations_6_to_8():
    block = scrambled(CrossModalityMixing)
    x, y = features()
    value1, value2 = depthwise(block.value1(x), block.conv1), depthwise(block.value2(y), block.conv2)
    hybrid = value1 * value2 + x + y
    scanned = convolved(lambda z: block.es2d(z).permute(0, 3, 1, 2), F.silu(hybrid))
    gated = scanned * F.silu(x @ block.gate1.weight.T) + scanned * F.silu(y @ block.gate2.weight.T)
    torch.testing.assert_close(block.hybrid(x, y), hybrid)
    torch.testing.assert_close(block(x, y), attended(norm(gated, block.norm), block.eca) + x + y)


def test_ablations_of_the_fusion_leave_out_what_they_say():
    x, y = features()
    whole, no_dfem, no_cmfm = (scrambled(DynamicFusion, **o) for o in ({}, {"enhance": False}, {"mix": False}))
    torch.testing.assert_close(whole(x, y), whole.cmfm(*whole.dfem(x, y)))
    torch.testing.assert_close(no_dfem(x, y), no_dfem.cmfm(x, y))
    torch.testing.assert_close(no_cmfm(x, y), sum(no_cmfm.dfem(x, y)))
    summed = scrambled(SummedBlock)
    torch.testing.assert_close(summed(x, y), summed.block(x + y))


# Windows of the Transformer block


def reached(shifted, size=16):
    """Tokens of a map that the answer at its first token depends on."""
    block = scrambled(WindowTransformerBlock, 0.0, shifted)
    x = features(1, size, size)[0].requires_grad_()
    block(x)[:, 0, 0].sum().backward()
    return x.grad.abs().sum((0, 3)) > 0


def test_attention_stays_within_windows_of_8x8():
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[:8, :8] = True
    assert torch.equal(reached(shifted=False), expected)


def test_shifted_windows_cross_the_seam_cyclically():
    near = torch.tensor([i < 4 or i >= 12 for i in range(16)])
    assert torch.equal(reached(shifted=True), near[:, None] & near)


def test_windows_of_every_second_block_are_shifted():
    config = configure(block="transformer")
    assert [make_block(CHANNELS, config, 0.0, index).shift for index in range(4)] == [0, 4, 0, 4]


@pytest.mark.parametrize("shifted", [False, True])
def test_small_maps_are_one_window(shifted):
    assert reached(shifted, size=5).all()


def test_one_window_is_plain_attention_with_a_bias_by_distance():
    block = scrambled(WindowTransformerBlock, 0.0)
    (x,) = features(1, 3, 4)
    tokens = norm(x, block.norm).flatten(1, 2)
    query, key, value = block.qkv(tokens).chunk(3, -1)
    scores = query @ key.mT / CHANNELS**0.5
    for i, j in [(i, j) for i in range(12) for j in range(12)]:
        scores[:, i, j] += block.position[0, i // 4 - j // 4 + 7, i % 4 - j % 4 + 7]
    between = x + block.proj(scores.softmax(-1) @ value).view_as(x)
    torch.testing.assert_close(block(x), between + block.mlp(norm(between, block.norm2)))


# Stochastic depth


def test_drop_path_skips_whole_samples_and_scales_the_others():
    torch.manual_seed(0)
    x = torch.ones(400, 2, 3, 4)
    dropped = DropPath(0.25).train()(x)
    values = dropped.flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0, 4 / 3])
    assert (values[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.08)  # nearly four standard errors


def test_drop_path_does_nothing_in_evaluation():
    x = torch.rand(3, 2, 2, 4)
    assert torch.equal(DropPath(0.5).eval()(x), x)
