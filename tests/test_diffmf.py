"""DIFF-MF: sizes, the guidance by differences, what the modalities exchange, and how they lie in one map."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fusionkit import FusionkitError
from fusionkit.models.diffmf import DiffMF, State, configure, difference
from fusionkit.models.diffmf.channel import (
    AttentionExchange,
    ChannelReweighting,
    GatedResidual,
    MatrixExchange,
    TokenExchange,
    blend,
)
from fusionkit.models.diffmf.config import EXCHANGES, GUIDANCES
from fusionkit.models.diffmf.extraction import DifferenceStage, guide
from fusionkit.models.diffmf.spatial import ScanFusion, from_sides, from_turns, in_turn, side_by_side
from fusionkit.ops import gather, scan_path

SMALL = {"channels": 8, "states": 2, "stages": 2}
RESTORMER = {"block": "restormer", "channels": 32}  # two per head, of which one can attend to the other
SAME_WEIGHTS = [
    *({"guidance": "added"}, {"guidance": "vi_first"}, {"guidance": "parallel"}),
    *({"exchange": "none"}, {"exchange": "from_visible"}, {"exchange": "from_infrared"}),
]
ABLATIONS = [
    *({"stages": 0}, {"channel_exchange": False}, {"spatial_exchange": False}),
    *({"reweighting": False}, {"residual": "none"}),
    *SAME_WEIGHTS,
]
READINGS = [
    *({"reading": "tokens"}, {"residual": "static"}, {"gate": "linear"}, {"weights_from": "equation"}),
    *({"merge": "five"}, {"depth": 2}, {"stem_stride": 1}, {"stem_stride": 4}, {"output": "blend"}),
]

# What generates the weights of eq. 8, which cancel out in an average.
IDLE = [f"channel_exchange.reweight.generator.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(*size, batch=1):
    return torch.rand(batch, 1, *size), torch.rand(batch, 1, *size)


def features(count=2, channels=8):
    return [torch.randn(1, 3, 4, channels, dtype=torch.float64) for _ in range(count)]


# The whole network


@settings(max_examples=6, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40))
def test_images_of_any_size_come_out_as_large_and_within_limits(height, width):
    fused = DiffMF("tiny", **SMALL).eval()(*images(height, width))
    assert fused.shape == (1, 1, height, width)
    assert 0 <= fused.min() <= fused.max() <= 1


def test_images_of_a_batch_do_not_touch_each_other():
    model, (a, b) = DiffMF("tiny").eval(), images(18, 23, batch=2)
    alone = torch.cat([model(a[i : i + 1], b[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(model(a, b), alone, atol=2e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, RESTORMER, *ABLATIONS, *READINGS], ids=str)
def test_gradient_reaches_every_parameter_in_every_ablation(options):
    model = DiffMF("tiny", **{**SMALL, **options}).train()
    model(*images(17, 22, batch=2)).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == (IDLE if options == {"spatial_exchange": False} else [])


@pytest.mark.parametrize("options", [*SAME_WEIGHTS, {"gate": "linear"}, {"weights_from": "equation"}], ids=str)
def test_options_without_weights_of_their_own_change_the_image(options):
    model, pair = DiffMF("tiny", **SMALL).eval(), images(16, 20)
    other = DiffMF("tiny", **SMALL, **options).eval()
    other.load_state_dict(model.state_dict())
    assert not torch.equal(model(*pair), other(*pair))


def test_each_modality_matters():
    model, (a, b) = DiffMF("tiny", **SMALL).eval(), images(16, 20)
    fused = model(a, b)
    assert not torch.allclose(model(1 - a, b), fused, atol=1e-6)
    assert not torch.allclose(model(a, 1 - b), fused, atol=1e-6)


@pytest.mark.parametrize(("bias", "share"), [(0.0, 0.5), (20.0, 1.0), (-20.0, 0.0)])
def test_a_blend_weighs_the_images_and_adds_a_correction(bias, share):
    model, (a, b) = DiffMF("tiny", **SMALL, output="blend").eval(), images(17, 20)
    last = model.decoder.convolutions[-1]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.25, bias])
    torch.testing.assert_close(model(a, b), share * a + (1 - share) * b + 0.25)


def test_a_blend_sees_single_pixels_whatever_its_features_are():
    decoder = DiffMF("tiny", **SMALL, output="blend").decoder
    flat, features = torch.full((1, 2, 16, 16), 0.5), torch.zeros(1, 16, 8, 8)
    dotted = flat.clone()
    dotted[..., 7, 8] = 1.0
    change = decoder(features, dotted) - dotted[:, :1] - decoder(features, flat) + flat[:, :1]  # of the correction
    near = torch.zeros(16, 16, dtype=torch.bool)
    near[4:11, 5:12] = True  # what three 3x3 convolutions reach
    assert change[0, 0][near].abs().max() > 1e-4
    assert change[0, 0][~near].abs().max() < 1e-6


def test_images_that_differ_in_size_are_refused():
    with pytest.raises(FusionkitError, match="must be alike"):
        DiffMF("tiny", **SMALL)(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 17))


# Difference-driven stages


def guided(mode, state):
    found = guide(mode, state)
    assert torch.equal(found.shared_infrared, state.shared_infrared)
    assert torch.equal(found.shared_visible, state.shared_visible)
    return found.infrared, found.visible


def formulas(mode, i, v, d):
    if mode == "ir_first":
        return (1 - d) * i + d * v, (1 - d + d**2) * v + d * (1 - d) * i
    if mode == "vi_first":
        return (1 - d + d**2) * i + d * (1 - d) * v, (1 - d) * v + d * i
    return (1 - d) * i + d * v, (1 - d) * v + d * i


@pytest.mark.parametrize("mode", ["ir_first", "vi_first", "parallel"])
def test_guidance_follows_its_closed_form(mode):
    state = State(*features(4))
    d = torch.tanh((state.shared_infrared - state.shared_visible).abs())
    torch.testing.assert_close(guided(mode, state), formulas(mode, state.infrared, state.visible, d))


@pytest.mark.parametrize("mode", ["ir_first", "vi_first", "parallel"])
def test_without_a_difference_both_modalities_stay_as_they_are(mode):
    infrared, visible, shared = features(3)
    for found, own in zip(guided(mode, State(infrared, visible, shared, shared)), (infrared, visible), strict=True):
        assert torch.equal(found, own)


@pytest.mark.parametrize(("mode", "winners"), [("ir_first", (1, 1)), ("vi_first", (0, 0)), ("parallel", (1, 0))])
def test_a_large_difference_makes_the_order_decide(mode, winners):
    own, shared = features(2), features(1)[0]
    found = guided(mode, State(*own, shared, shared + 50))
    torch.testing.assert_close(found, tuple(own[winner] for winner in winners))


def test_without_guidance_shared_features_are_added():
    state = State(*features(4))
    infrared, visible = guided("added", state)
    assert torch.equal(infrared, state.infrared + state.shared_infrared)
    assert torch.equal(visible, state.visible + state.shared_visible)


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_a_difference_is_symmetric_and_between_0_and_1(first, second):
    x, y = torch.tensor([first]), torch.tensor([second])
    assert torch.equal(difference(x, y), difference(y, x))
    assert 0 <= difference(x, y) <= 1
    assert difference(x, x) == 0


def test_the_shared_branch_treats_both_modalities_alike():
    stage = DifferenceStage(configure(**SMALL)).double()
    infrared, visible, first, second = features(4)
    one, other = stage(State(infrared, visible, first, second)), stage(State(visible, infrared, second, first))
    torch.testing.assert_close(one.shared_infrared, other.shared_visible)
    torch.testing.assert_close(one.shared_visible, other.shared_infrared)


def test_the_first_stage_sees_the_stems_twice():
    state = DiffMF("tiny", **SMALL).enter(*images(16, 20))
    assert state.infrared is state.shared_infrared
    assert state.visible is state.shared_visible
    assert state.infrared.shape == (1, 8, 10, 8)


# Channel exchange


def exchange(mode, reading="ssm"):
    kind = {"ssm": MatrixExchange, "tokens": TokenExchange}[reading]
    return kind(configure(**SMALL, exchange=mode)).double()


def with_equal_branches(module):
    for branches in module.children():
        branches[1].load_state_dict(branches[0].state_dict())
    return module


@pytest.mark.parametrize("reading", ["ssm", "tokens"])
@pytest.mark.parametrize("mode", EXCHANGES)
def test_with_equal_weights_and_images_every_exchange_is_none(mode, reading):
    module, none = with_equal_branches(exchange(mode, reading)), exchange("none", reading)
    none.load_state_dict(module.state_dict())
    (x,) = features(1)
    for found, expected in zip(module(x, x), none(x, x), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("reading", ["ssm", "tokens"])
@pytest.mark.parametrize("mode", EXCHANGES)
def test_only_streams_that_use_the_other_modality_depend_on_it(mode, reading):
    module, (infrared, visible, another) = exchange(mode, reading), features(3)
    before, after = module(infrared, visible), (module(infrared, another)[0], module(another, visible)[1])
    for stream, source in enumerate(EXCHANGES[mode]):
        assert torch.equal(before[stream], after[stream]) == (source == stream)


def test_without_exchange_each_modality_has_vmambas_scan():
    module, pair = exchange("none"), features(2)
    for norm, gated, found, x in zip(module.norms, module.gated, module(*pair), pair, strict=True):
        torch.testing.assert_close(found, gated(norm(x))[0])


def test_without_matrices_from_its_source_a_stream_has_only_the_skip():
    module, pair = exchange("mutual"), features(2)
    skipped = exchange("none")
    skipped.load_state_dict(module.state_dict())
    for gated in (module.gated[1], skipped.gated[0]):  # what infrared reads: visible's matrices, then its own
        gated.scan.x_proj_weight.data[:, gated.scan.rank :] = 0
    torch.testing.assert_close(module(*pair)[0], skipped(*pair)[0])


def test_steps_stay_with_the_modality():
    module, pair = exchange("mutual"), features(2)
    infrared, visible = module(*pair)
    nn.init.zeros_(module.gated[0].scan.dt_projs_weight)
    changed = module(*pair)
    assert not torch.allclose(changed[0], infrared)
    assert torch.equal(changed[1], visible)


def test_tokens_keep_the_first_group_and_take_two():
    module, (infrared, visible) = exchange("mutual", "tokens"), features(2)
    before = module(infrared, visible)
    module.split[1].weight.data[:8] = 0  # x of visible: its own stream reads it, infrared does not
    after = module(infrared, visible)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


# Restormer's blocks


def attention_exchange(mode="mutual"):
    return AttentionExchange(configure(**SMALL | RESTORMER, exchange=mode)).double()


@pytest.mark.parametrize("mode", EXCHANGES)
def test_values_of_transformers_stay_while_queries_and_keys_come_from_the_source(mode):
    module, (infrared, visible, another) = attention_exchange(mode), features(3, channels=32)
    before, after = module(infrared, visible), (module(infrared, another)[0], module(another, visible)[1])
    for stream, source in enumerate(EXCHANGES[mode]):
        assert torch.equal(before[stream], after[stream]) == (source == stream)


def test_without_exchange_each_modality_has_restormers_block():
    module, pair = attention_exchange("none"), features(2, channels=32)
    for block, found, x in zip(module.blocks, module(*pair), pair, strict=True):
        torch.testing.assert_close(found, block(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def test_with_uniform_attention_nothing_is_exchanged():
    module, pair = attention_exchange(), features(2, channels=32)
    for block in module.blocks:
        nn.init.zeros_(block.attention.scale)
    none = attention_exchange("none")
    none.load_state_dict(module.state_dict())
    for found, expected in zip(module(*pair), none(*pair), strict=True):
        torch.testing.assert_close(found, expected)


# Channel reweighting


def reweighting(**options):
    return ChannelReweighting(configure(**SMALL, **options)).double()


def test_eq_8_is_symmetric_under_swapping_modalities_and_weights():
    infrared, visible = features(2)
    weights = torch.rand(1, 1, 1, 8, dtype=torch.float64)
    torch.testing.assert_close(blend(infrared, visible, weights), blend(visible, infrared, 1 - weights))
    expected = (1 - weights) * infrared + weights * visible, (1 - weights) * visible + weights * infrared
    torch.testing.assert_close(blend(infrared, visible, weights), expected)


def test_an_average_does_not_depend_on_the_weights_of_eq_8():
    infrared, visible = features(2)
    weights = torch.rand(1, 1, 1, 8, dtype=torch.float64)
    torch.testing.assert_close(sum(blend(infrared, visible, weights)), infrared + visible)


def test_eq_7_adds_the_weighted_features_and_gates():
    x, exchanged = features(2)
    module = GatedResidual(configure(**SMALL)).double()
    weights = torch.sigmoid(x.mean((0, 1, 2)) @ module.weights.linear.weight.T + module.weights.linear.bias)
    gate = torch.sigmoid(exchanged @ module.gate.weight.T + module.gate.bias)
    torch.testing.assert_close(module(x, exchanged), (exchanged + weights * x) * gate)


def test_static_weights_start_at_one():
    x, exchanged = features(2)
    module = GatedResidual(configure(**SMALL, residual="static")).double()
    torch.testing.assert_close(module(x, exchanged), (exchanged + x) * module.gate(exchanged).sigmoid())


def test_without_residual_only_exchanged_features_count():
    x, another, exchanged = features(3)
    module = GatedResidual(configure(**SMALL, residual="none")).double()
    assert torch.equal(module(x, exchanged), module(another, exchanged))


def test_a_linear_gate_is_quadratic():
    x, exchanged = features(2)
    module = GatedResidual(configure(**SMALL, residual="none", gate="linear")).double()
    nn.init.zeros_(module.gate.bias)
    torch.testing.assert_close(module(x, 3 * exchanged), 9 * module(x, exchanged))


@pytest.mark.parametrize("source", ["figure", "equation"])
def test_weights_of_eq_8_come_from_where_the_option_says(source):
    module, (infrared, visible, first, second) = reweighting(weights_from=source), features(4)
    seen = []
    module.generator.register_forward_pre_hook(lambda _, given_values: seen.append(given_values[0].flatten()))
    module((infrared, visible), (first, second))
    partner = visible if source == "figure" else first
    torch.testing.assert_close(seen[0], torch.cat([infrared, partner], -1).mean((0, 1, 2)))


# Spatial exchange


def test_arrangements_of_two_small_maps_are_those_of_the_figure():
    infrared, visible = (sign * torch.tensor([[1, 2], [3, 4]])[None, None] for sign in (1, -1))
    assert in_turn(infrared, visible).tolist() == [[[[1, -1, 2, -2], [3, -3, 4, -4]]]]
    assert side_by_side(infrared, visible).tolist() == [[[[1, 2, -1, -2], [3, 4, -3, -4]]]]


@pytest.mark.parametrize(("arrange", "undo"), [(in_turn, from_turns), (side_by_side, from_sides)])
def test_arrangements_are_undone_exactly(arrange, undo):
    pair = torch.rand(2, 1, 3, 4, 5)
    for found, x in zip(undo(arrange(*pair)), pair, strict=True):
        assert torch.equal(found, x)


@pytest.mark.parametrize(("arrange", "name"), [(in_turn, "realign_column"), (side_by_side, "realign_row")])
def test_scanning_an_arrangement_reads_the_paths_of_the_paper(arrange, name):
    pair = torch.rand(2, 1, 3, 4, 5)
    read = gather(scan_path("ss2d", 4, 10), arrange(*pair))
    assert torch.equal(read, gather(scan_path(name, 4, 5), *pair))


def test_five_slices_can_say_what_the_average_says():
    five = ScanFusion(configure(**SMALL, merge="five"))
    average = ScanFusion(configure(**SMALL))
    average.load_state_dict({k: v for k, v in five.state_dict().items() if "project" not in k}, strict=False)
    column, row, concat = average.project.weight.data.chunk(3, 1)
    five.project.weight.data = torch.cat([column / 2, column / 2, row / 2, row / 2, concat], 1)
    five.project.bias.data = average.project.bias.data
    pair = torch.rand(2, 1, 8, 3, 4)
    torch.testing.assert_close(five(*pair), average(*pair))


def test_without_spatial_exchange_the_decoder_sees_the_average():
    model, pair = DiffMF("tiny", **SMALL, spatial_exchange=False), torch.rand(2, 1, 5, 6, 8)
    torch.testing.assert_close(model.fuse(*pair), pair.mean(0).permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(5, 7), (8, 6)])
def test_scales_are_half_and_quarter_rounded_up(size):
    module, seen = DiffMF("tiny", **SMALL).spatial_exchange, []
    for fusion in module.fusion:
        fusion.register_forward_hook(lambda _, __, fused: seen.append(tuple(fused.shape[-2:])))
    fused = module(*torch.rand(2, 1, 8, *size))
    half = tuple(-(-side // 2) for side in size)
    assert seen == [size, half, tuple(-(-side // 2) for side in half)]
    assert fused.shape == (1, 16, *size)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "unknown size of DIFF-MF 'huge'"),
        ({"guidance": "ir_frist"}, "unknown guidance of DIFF-MF 'ir_frist'; did you mean ir_first"),
        ({"exchange": "version1"}, "unknown exchange of DIFF-MF"),
        ({"stage": 3}, "unknown option of DIFF-MF 'stage'; did you mean stages"),
        ({"channels": 5}, "even number"),
        ({"states": 0}, "states 0"),
        ({"stages": -1}, "stages -1"),
        ({"stem_stride": 3}, "1, 2 or 4; got 3"),
        ({"stages": 0, "guidance": "parallel"}, "stages=0: guidance would change nothing"),
        ({"channel_exchange": False, "exchange": "none"}, "channel_exchange=False: exchange would change nothing"),
        ({"reweighting": False, "residual": "none"}, "reweighting=False: residual would change nothing"),
        ({"block": "restormer", "reading": "tokens"}, "block=restormer: reading=tokens would change nothing"),
        ({"block": "restormer", "channels": 24}, "16 heads do not divide 24 channels"),
        ({"spatial_exchange": False, "merge": "five"}, "spatial_exchange=False: merge would change nothing"),
    ],
)
def test_unfit_options_are_refused(options, message):
    with pytest.raises(FusionkitError, match=message):
        DiffMF(**options)


def test_a_configuration_survives_its_dictionary():
    config = configure("tiny", guidance="parallel", exchange="from_visible")
    assert configure(**config.to_dict()) == config
    assert set(GUIDANCES) == {"ir_first", "vi_first", "parallel", "added"}
