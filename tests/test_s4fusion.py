"""S4Fusion: sizes, the module that nobody reads, what the scan of two modalities does, and the ablations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fusionkit import FusionkitError
from fusionkit.models.s4fusion import FUSIONS, S4Fusion, configure, load_official, step_sizes
from fusionkit.models.s4fusion.ablations import ConvolutionFusion, CrossAttention, ExchangedScan, make_fusion, summary
from fusionkit.models.s4fusion.cmsa import CrossScan
from fusionkit.models.s4fusion.official import official_name
from fusionkit.models.s4fusion.patches import FoldingHead, next_legal, pad_to_legal


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(*size, batch=1):
    return torch.rand(batch, 1, *size), torch.rand(batch, 1, *size)


# Sizes


@settings(max_examples=10, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40))
def test_images_of_any_size_come_out_as_large_and_within_limits(height, width):
    fused = S4Fusion("micro").eval()(*images(height, width))
    assert fused.shape == (1, 1, height, width)
    assert 0 <= fused.min() <= fused.max() <= 1


@pytest.mark.parametrize("size", [(37, 37), (61, 25)])
def test_legal_sizes_are_not_padded(size):
    model, pair = S4Fusion("micro").eval(), images(*size)
    assert torch.equal(model(*pair), model.reconstruct(*pair).clamp(0, 1))


def test_other_sizes_are_surrounded_by_zeros_and_cut_out_again():
    model, (a, b) = S4Fusion("micro").eval(), images(30, 37)
    padded = [torch.zeros(1, 1, 37, 37) for _ in range(2)]
    for zeros, image in zip(padded, (a, b), strict=True):
        zeros[..., 3:33, :] = image
    assert torch.equal(model(a, b), model(*padded)[..., 3:33, :])


@pytest.mark.parametrize(("size", "total", "before"), [(480, 481, 0), (640, 649, 4), (768, 769, 0), (256, 265, 4)])
def test_padding_is_that_of_the_authors_script(size, total, before):
    padded, (rows, columns) = pad_to_legal(torch.ones(1, 1, size, 13), 12)
    assert padded.shape[-2:] == (total, 13)
    assert (rows, columns) == (slice(before, before + size), slice(0, 13))
    assert padded[..., rows, columns].min() == 1
    assert padded.sum() == size * 13


@given(st.integers(1, 2000), st.sampled_from([3, 6, 12, 24]))
def test_next_legal_size_is_the_nearest_above(size, step):
    legal = next_legal(size, step)
    assert size <= legal < size + step
    assert legal % step == 1


def test_without_padding_only_legal_sizes_pass():
    model = S4Fusion("micro", pad=False).eval()
    assert model(*images(25, 37)).shape == (1, 1, 25, 37)
    for size in ((64, 64), (38, 49)):
        with pytest.raises(FusionkitError, match=r"12k \+ 1 pixels; got {}x{}, next is".format(*size)):
            model(*images(*size))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.rand(1, 3, 25, 25), torch.rand(1, 3, 25, 25), "one channel"),
        (torch.rand(1, 1, 25, 25), torch.rand(1, 1, 25, 37), "must be alike"),
        (torch.rand(1, 1, 8, 25), torch.rand(1, 1, 8, 25), "at least 16x16"),
        (torch.rand(1, 1, 25, 25) * 255, torch.rand(1, 1, 25, 25), "must be in"),
    ],
)
def test_unfit_images_are_refused(a, b, message):
    with pytest.raises(FusionkitError, match=message):
        S4Fusion("micro").eval()(a, b)


def test_only_evaluation_limits_the_output():
    model, pair = S4Fusion("micro").train(), images(25, 25)
    nn.init.constant_(model.head.conv.bias, 5)
    assert model(*pair).min() > 1
    assert model.eval()(*pair).max() == 1


# The finest scale


@pytest.mark.parametrize("use", [False, True])
def test_the_finest_fusion_learns_only_where_it_is_read(use):
    model = S4Fusion("micro", use_scale1=use).train()
    model(*images(25, 25)).square().mean().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    unread = {name for name, _ in model.named_parameters() if name.startswith("fusion.0.")}
    assert without == {"head.norm.weight", "head.norm.bias"} | (set() if use else unread)


def test_computing_what_nobody_reads_changes_nothing():
    with_it, without = S4Fusion("micro", compute_unused=True), S4Fusion("micro")
    with_it.load_state_dict(without.state_dict())
    calls = []
    for model in (with_it, without):
        model.fusion[0].register_forward_hook(lambda *_, model=model: calls.append(model))
    pair = images(25, 25)
    assert torch.equal(with_it(*pair), without(*pair))
    assert calls == [with_it]


def test_the_residual_adds_the_average_of_both_images():
    plain, model = S4Fusion("micro").eval(), S4Fusion("micro", residual=0.5).eval()
    model.load_state_dict(plain.state_dict())
    a, b = images(37, 37)
    with torch.no_grad():
        torch.testing.assert_close(model.reconstruct(a, b), plain.reconstruct(a, b) + (a + b) / 2)


def test_reading_the_finest_fusion_changes_the_image():
    plain, full = S4Fusion("micro"), S4Fusion("micro", use_scale1=True)
    full.load_state_dict(plain.state_dict())
    pair = images(25, 25)
    assert not torch.allclose(plain(*pair), full(*pair))


# Both modalities in one scan


def cross_scan(mark="scanned"):
    scan = CrossScan(6, 4, 2, mark).double()
    nn.init.uniform_(scan.dt_projs_bias, -1, 1)
    return scan


def pair_of_maps():
    return torch.rand(2, 1, 6, 3, 4, dtype=torch.float64)


def test_infrared_comes_first_so_roles_cannot_be_swapped():
    scan, (infrared, visible) = cross_scan(mark="none"), pair_of_maps()
    straight = scan(infrared, visible)
    x, y = scan.x_proj_weight.data, scan.y_proj_weight.data
    scan.x_proj_weight.data, scan.y_proj_weight.data = y, x
    swapped = scan(visible, infrared)
    assert (straight[0] - swapped[1]).abs().max() > 1e-3


def test_without_mark_and_matrices_only_the_skip_is_left():
    scan, maps = cross_scan(mark="none"), pair_of_maps()
    nn.init.uniform_(scan.Ds)
    for weight in (scan.x_proj_weight, scan.y_proj_weight):
        weight.data[:, scan.rank :] = 0
    skip = scan.Ds.view(4, 6).sum(0)[:, None, None]
    for found, given_map in zip(scan(*maps), maps, strict=True):
        torch.testing.assert_close(found, skip * given_map)


def test_a_modality_learns_of_the_other():
    scan, (infrared, visible) = cross_scan(mark="none"), pair_of_maps()
    infrared.requires_grad_()
    scan(infrared, visible)[1].sum().backward()
    assert infrared.grad.abs().min() > 0


def test_the_mark_is_common_to_both_and_linear_in_both():
    scan, (infrared, visible) = cross_scan(), pair_of_maps()
    marks = [found - x for found, x in zip(scan.marked(infrared, visible), (infrared, visible), strict=True)]
    expected = torch.einsum("di,bihw->bdhw", scan.mark_proj, torch.cat([infrared, visible], 1))
    for mark in marks:
        torch.testing.assert_close(mark, expected)


def test_steps_and_matrices_see_the_mark_only_where_the_text_has_it():
    maps = pair_of_maps()
    code, text, none = cross_scan(), cross_scan("before"), cross_scan("none")
    for scan in (text, none):
        scan.load_state_dict(code.state_dict(), strict=False)
    marked = code.marked(*maps)
    torch.testing.assert_close(text(*maps), none(*marked))
    assert not torch.allclose(code(*maps)[0], text(*maps)[0])
    code.mark_proj.data.zero_()
    torch.testing.assert_close(code(*maps), none(*maps))


def test_a_norm_in_front_makes_the_update_blind_to_the_scale():
    maps = [torch.rand(1, 3, 4, 16) for _ in range(2)]
    for prenorm in (True, False):
        block = make_fusion(16, configure("micro", prenorm=prenorm), 1).blocks[0]
        small, large = (
            [y - factor * x for x, y in zip(maps, block(*(factor * x for x in maps)), strict=True)][0]
            for factor in (1, 8)
        )
        assert torch.allclose(small, large, atol=1e-3, rtol=1e-2) == prenorm


# Ablations


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_learns(fusion):
    model = S4Fusion("micro", fusion=fusion, fusion_blocks=(1, 1, 1), use_scale1=True).train()
    model(*images(25, 25, batch=2)).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["head.norm.weight", "head.norm.bias"]


def test_adding_has_no_parameters():
    module, (infrared, visible) = make_fusion(16, configure("micro", fusion="add"), 3), torch.rand(2, 1, 3, 4, 16)
    assert not list(module.parameters())
    assert torch.equal(module(infrared, visible), infrared + visible)


def test_convolutions_narrow_the_pair():
    assert [ConvolutionFusion(channels).leave.in_channels for channels in (48, 96, 192)] == [68, 137, 274]


def test_convolutions_go_around_what_enters():
    module = ConvolutionFusion(8).eval()
    nn.init.zeros_(module.residual[-1].weight)
    infrared, visible = torch.rand(2, 1, 3, 4, 8)
    entered = module.enter(torch.cat([infrared, visible], -1).permute(0, 3, 1, 2))
    torch.testing.assert_close(module(infrared, visible), module.leave(entered.relu()).permute(0, 2, 3, 1))


def test_attention_reads_the_other_modality_head_by_head():
    layer, (infrared, visible) = CrossAttention(16), torch.rand(2, 1, 3, 4, 16)
    found, _ = layer(infrared, visible)
    keys, values = layer.visible(visible).reshape(12, 2, 8, 2).unbind(1)
    for head in range(8):
        weights = (keys[:, head].T @ values[:, head] / 2**0.5).softmax(0)
        expected = infrared.reshape(12, 8, 2)[:, head] @ weights
        torch.testing.assert_close(found.reshape(12, 8, 2)[:, head], expected)


def test_attention_weights_add_up_to_one():
    found = summary(nn.Linear(16, 32, bias=False), torch.rand(2, 3, 4, 16))
    torch.testing.assert_close(found.sum(-2), torch.ones(2, 8, 2))


def test_fssm_scans_each_modality_with_what_the_other_owns():
    scan, maps = ExchangedScan(6, 4, 2).double(), pair_of_maps()
    for owner in (scan.infrared, scan.visible):
        nn.init.uniform_(owner.Ds)
        owner.x_proj_weight.data[:, owner.rank :] = 0
    for found, x, owner in zip(scan(*maps), maps, (scan.visible, scan.infrared), strict=True):
        torch.testing.assert_close(found, owner.Ds.view(4, 6).sum(0)[:, None, None] * x)


def test_fssm_is_linear_in_each_modality_for_the_other_one_chooses_all_else():
    scan, (infrared, visible) = ExchangedScan(6, 4, 2).double(), pair_of_maps()
    of_infrared, of_visible = scan(infrared, visible)
    torch.testing.assert_close(scan(3 * infrared, visible)[0], 3 * of_infrared)
    torch.testing.assert_close(scan(infrared, 3 * visible)[1], 3 * of_visible)


def test_fssm_with_one_image_twice_and_equal_parameters_is_a_plain_scan():
    scan, (x, _) = ExchangedScan(6, 4, 2).double(), pair_of_maps()
    scan.visible.load_state_dict(scan.infrared.state_dict())
    (plain,) = scan.infrared(x)
    for found in scan(x, x):
        torch.testing.assert_close(found, plain)


def test_a_given_field_counts_more_than_the_matched_size():
    assert configure("tiny", fusion="add").dims == (40, 80, 160)
    assert configure("tiny", fusion="add", dims=(24, 48, 96)).dims == (24, 48, 96)
    assert configure("base", fusion="fssm", fusion_blocks=[3, 3, 3]).fusion_blocks == (3, 3, 3)


def test_normalised_folding_leaves_constant_patches_constant():
    for normalize in (False, True):
        head = FoldingHead(16, normalize)
        nn.init.constant_(head.expand.weight, 1)
        image = head(torch.ones(1, 4, 4, 16), (13, 14))[..., :13]
        assert torch.allclose(image, image[..., :1, :1]) == normalize


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "unknown size of S4Fusion 'huge'"),
        ({"fusion": "cma"}, "unknown fusion of S4Fusion 'cma'; did you mean cmsa"),
        ({"mark": "late"}, "unknown mark"),
        ({"use_scale": True}, "unknown option of S4Fusion 'use_scale'; did you mean use_scale1"),
        ({"dims": (16, 32, 48)}, "twice the channels"),
        ({"dims": (38, 76, 152)}, "multiples of 4"),
        ({"dims": (16, 32)}, "same number of stages"),
        ({"fusion": "ca", "dims": (20, 40, 80)}, "8 heads"),
    ],
)
def test_unfit_options_are_refused(options, message):
    with pytest.raises(FusionkitError, match=message):
        S4Fusion(**options)


# The authors' names


def authors(model):
    return {official_name(name): tensor for name, tensor in model.state_dict().items()}


def test_a_network_survives_the_authors_names():
    model = S4Fusion("micro", depths=(2, 1, 1), fusion_blocks=(1, 2, 1)).eval()
    again, pair = load_official(authors(model)), images(25, 25)
    assert again.config == configure("micro", depths=(2, 1, 1), fusion_blocks=(1, 2, 1), compute_unused=True)
    assert torch.equal(again(*pair), model(*pair))


def test_names_of_the_base_network_are_those_of_the_specification():
    shapes = {name: tuple(tensor.shape) for name, tensor in authors(S4Fusion()).items()}
    expected = {
        "patch_embed_y.proj.weight": (48, 1, 4, 4),
        "layers_x.1.blocks.1.ln_1.bias": (96,),
        "layers_y.2.blocks.0.self_attention.x_proj_weight": (4, 12 + 2 * 12, 288),
        "layers_x.0.downsample.reduction.weight": (96, 192),
        "fusion_layers.1.layers.2.y_proj_weight": (4, 6 + 2 * 18, 144),
        "fusion_layers.0.layers.0.mark_proj": (72, 144),
        "layers_up.0.blocks.0.self_attention.A_logs": (4 * 288, 12),
        "layers_up.2.upsample.expand.weight": (192, 96),
        "final_up.expand.weight": (192, 48),
        "final_conv.weight": (1, 12, 1, 1),
    }
    assert {name: shapes[f"vmunet.{name}"] for name in expected} == expected


def test_a_state_that_does_not_fit_is_refused_with_all_that_is_wrong():
    state = authors(S4Fusion("micro"))
    state["extra"] = state.pop("vmunet.final_conv.bias")
    state["vmunet.patch_embed_x.norm.bias"] = torch.zeros(3)
    with pytest.raises(FusionkitError) as caught:
        load_official(state, "weights.pth")
    message = str(caught.value)
    assert message.startswith("weights.pth: not the state of the authors' S4Fusion")
    assert "missing: ['vmunet.final_conv.bias']" in message
    assert "unexpected: ['extra']" in message
    assert "vmunet.patch_embed_x.norm.bias (3,) for (16,)" in message


@pytest.mark.parametrize("state", [{}, {"weight": torch.zeros(3)}])
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(FusionkitError, match="holds no S4Fusion"):
        load_official(state, "weights.pth")


# Table 5's statistic


def test_at_the_start_the_steps_of_every_scale_are_close_to_nothing():
    scales = step_sizes(S4Fusion("tiny").eval(), *images(37, 37))
    assert [len(blocks) for blocks in scales] == [3, 3, 3]
    for blocks in scales:
        assert abs(sum(block.raw_infrared for block in blocks)) < 0.02
        assert abs(sum(block.raw_visible for block in blocks)) < 0.02
        for block in blocks:
            assert 0.01 < block.infrared < 0.04
            assert 0.01 < block.visible < 0.04


def test_steps_follow_the_projection_of_their_modality():
    model = S4Fusion("micro").eval()
    scan = model.fusion[1].blocks[2].gated.scan
    scan.y_proj_weight.data[:, : scan.rank] = 0
    block = step_sizes(model, *images(25, 25))[1][2]
    assert block.raw_visible == 0 != block.raw_infrared
    assert block.visible == pytest.approx(nn.functional.softplus(scan.dt_projs_bias).mean().item())


def test_steps_are_those_of_the_network_at_work():
    model, pair, seen = S4Fusion("micro", compute_unused=True).eval(), images(30, 40), []
    for module in model.modules():
        if isinstance(module, CrossScan):
            module.register_forward_pre_hook(lambda scan, maps: seen.append(scan.choices(*maps)[0].mean().item()))
    model(*pair)
    at_work = list(seen)
    found = [(x.raw_infrared + x.raw_visible) / 2 for blocks in step_sizes(model, *pair) for x in blocks]
    assert found == pytest.approx(at_work, rel=1e-5, abs=1e-9)


def test_a_network_without_cmsa_has_no_such_steps():
    with pytest.raises(FusionkitError, match="only CMSA"):
        step_sizes(S4Fusion("micro", fusion="fssm").eval(), *images(25, 25))
