"""S4Fusion taken apart: the steps recombine to what the modules give, and pictures and knobs work."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fusionkit import FusionkitError, create_model, s4fusion_panel
from fusionkit.data import load_pair
from fusionkit.figures import anatomy_effects as undoing
from fusionkit.figures import anatomy_run
from fusionkit.figures import s4fusion_anatomy as anatomy
from fusionkit.figures import s4fusion_anatomy_cmsa as cmsa
from fusionkit.figures import s4fusion_anatomy_effects as effects
from fusionkit.figures import s4fusion_anatomy_interleaving as interleaving
from fusionkit.figures import s4fusion_anatomy_network as diagram
from fusionkit.figures import s4fusion_anatomy_scan as scan
from fusionkit.figures.anatomy_run import channel_correlations
from fusionkit.models.fresh import fresh_model
from fusionkit.models.s4fusion import S4Fusion

SMALL = {"dims": (8, 16, 32), "depths": (1, 1, 1), "states": 2, "fusion_states": 3, "fusion_blocks": (2, 1, 2)}
VARIANTS = ({}, {"mark": "before"}, {"mark": "none"}, {"prenorm": True}, {"use_scale1": True, "residual": 0.5})
EXACT = {"rtol": 0, "atol": 1e-9}


def small_pair(height=37, width=49):
    pair = load_pair("phantom_ir_vis", "test", "004")
    rows, columns = slice(80, 80 + height), slice(70, 70 + width)
    images = (image[:, rows, columns].double() for image in (pair.a, pair.b))
    return replace(pair, **dict(zip("ab", images, strict=True)), chroma=None)


def network(**options):
    torch.manual_seed(0)
    model, pair = S4Fusion("micro", **SMALL | options).double().eval(), small_pair()
    with torch.no_grad():  # a new network's output is nearly constant; this one depends on every part
        for parameter in model.parameters():
            parameter += (0.2 if parameter.ndim > 1 else 0.05) * torch.randn_like(parameter)
        image = model.reconstruct(pair.a[None], pair.b[None])
        model.head.conv.weight /= 10 * image.std()
        model.head.conv.bias += 0.5 - model.reconstruct(pair.a[None], pair.b[None]).mean()
    return model


def small_run(**options):
    return anatomy.run_network(network(**options), small_pair(), "title")


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def run(request):
    return small_run(**request.param)


def places(run):
    counts = run.model.config.fusion_blocks
    return [(scale, block) for scale, blocks in enumerate(counts, start=1) for block in range(1, 1 + blocks)]


# The steps recombine


def test_a_run_is_the_forward_pass_and_shows_what_it_leaves_out(run):
    with torch.inference_mode():
        expected = run.model(run.pair.a[None], run.pair.b[None])[0, 0]
    np.testing.assert_array_equal(run.fused, expected)
    assert run.calls["fusion.0"] and not any(module._forward_hooks for module in run.model.modules())


def test_the_steps_of_a_block_add_up(run):
    for scale, block in places(run):
        maps = anatomy.block_anatomy(run, scale, block)
        for name in anatomy.MODALITIES:
            orders = sum(maps[f"order{k}_{name}"] for k in (1, 2, 3, 4))
            np.testing.assert_allclose(orders, maps[f"cross_{name}"], **EXACT)
            np.testing.assert_allclose(maps[f"scanned_{name}"] + maps["mark"], maps[f"marked_{name}"], **EXACT)
            np.testing.assert_allclose(maps[f"normed_{name}"] * maps[f"gate_{name}"], maps[f"gated_{name}"], **EXACT)
            np.testing.assert_allclose(maps[f"input_{name}"] + maps[f"added_{name}"], maps[f"output_{name}"], **EXACT)
            assert (maps[f"step_{name}"] > 0).all()
    assert (np.abs(maps["mark"]).max() > 0) == (run.model.config.mark != "none")


def test_each_modality_alone_is_cross_ss2d_that_never_sees_the_other():
    model = network(mark="none")
    with torch.no_grad():  # nothing enters the state from visible places, and no time passes there
        for module in (block.gated.scan for stage in model.fusion for block in stage.blocks):
            module.dt_projs_weight.zero_()
            module.y_proj_weight[:, module.rank : module.rank + module.states].zero_()
            module.dt_projs_bias.fill_(0.1)
            module.A_logs.fill_(-50.0)
    maps = anatomy.block_anatomy(anatomy.run_network(model, small_pair()), 2, 1)
    np.testing.assert_allclose(maps["plain_infrared"], maps["cross_infrared"], **EXACT)
    assert np.abs(maps["plain_visible"] - maps["cross_visible"]).max() > 1e-6


def test_features_before_and_after_are_those_of_the_module(run):
    for scale in (1, 2, 3):
        maps = cmsa.cmsa_anatomy(run, scale)
        np.testing.assert_allclose(maps["infrared_after"] + maps["visible_after"], maps["fused"], **EXACT)
        entering = anatomy.block_anatomy(run, scale, 1)
        np.testing.assert_array_equal(maps["visible_before"], entering["input_visible"])


def test_the_stretch_of_the_sequence_takes_turns():
    maps = anatomy.block_anatomy(small_run(), 1, 1)
    read = scan.sequence(maps, "marked", 3)
    row = maps["marked_infrared"].shape[1] // 2
    width = maps["marked_infrared"].shape[2]
    np.testing.assert_array_equal(read[::2], maps["marked_infrared"][3, row, :width])
    np.testing.assert_array_equal(read[1::2], maps["marked_visible"][3, row, :width])


# What is undone


def undone(run, title):
    return undoing.fuse_without(run.model, run.pair, effects.INSIDE[title])


def test_without_mark_is_the_network_without_mark():
    run = small_run()
    unmarked = network(mark="none")
    unmarked.load_state_dict(run.model.state_dict(), strict=False)
    expected = anatomy.run_network(unmarked, run.pair).fused
    np.testing.assert_allclose(undone(run, "no patch mark"), expected, **EXACT)
    np.testing.assert_allclose(undone(small_run(mark="none"), "no patch mark"), small_run(mark="none").fused, **EXACT)


def test_visible_first_is_the_network_with_swapped_projections():
    run, other = small_run(), network()
    with torch.no_grad():
        for module in (block.gated.scan for stage in other.fusion for block in stage.blocks):
            infrared, visible = module.x_proj_weight.clone(), module.y_proj_weight.clone()
            module.x_proj_weight.copy_(visible)
            module.y_proj_weight.copy_(infrared)
            module.mark_proj.copy_(module.mark_proj.roll(module.channels, 1))
            forward = module.forward
            module.forward = lambda i, v, forward=forward: forward(v, i)[::-1]
    expected = anatomy.run_network(other, run.pair).fused
    np.testing.assert_allclose(undone(run, "visible first"), expected, **EXACT)
    assert np.abs(expected - run.fused).max() > 1e-4


def test_a_module_that_nothing_reads_can_be_undone_without_effect():
    pairs = [small_pair()]
    table = effects.scales_table(network(), pairs)
    assert table.loc["CMSA 1: a plain sum"].tolist() == [0, 0]
    assert (table["changes"].iloc[1:] > 0).all()
    assert effects.scales_table(network(use_scale1=True), pairs)["changes"].iloc[0] > 0
    assert (effects.inside_table(network(), pairs)["changes"] > 0).all()


# Parts and measures


def test_the_table_and_the_diagram_count_every_parameter(run):
    model, table = run.model, diagram.parts_table(run)
    total = sum(p.numel() for p in model.parameters())
    assert table["parameters"].sum() == total
    figure = diagram.network_figure(run)
    texts = [t.get_text() for t in figure.axes[0].texts]
    drawn = sum(int(n.replace(",", "")) for text in texts for n in re.findall(r"\(([\d,]+)\)", text))
    assert drawn == total
    assert (diagram.UNREAD in texts) == (not model.config.use_scale1)
    assert ("nothing" in set(table["read by"])) == (not model.config.use_scale1)


def test_the_full_size_has_the_shapes_and_counts_of_the_paper():
    model = fresh_model("s4fusion")
    assert list(diagram.unread_parameters(model).values()) == [152_064, 24]
    assert "3,562,981 parameters, 3,410,893 of which" in diagram.network_words(model)
    run = anatomy.run_network(model, small_pair(25, 37))
    assert diagram.map_size(run, "fusion.1") == "96 x 4 x 6" and diagram.map_size(run, "head") == "1 x 25 x 37"


def test_legal_is_the_largest_size_without_padding():
    model, pair = network(), small_pair(60, 80)
    assert anatomy.legal(pair, model).a.shape == (1, 49, 73)
    assert anatomy.legal(pair, model, 40).b.shape == (1, 37, 37)
    kept = anatomy.legal(small_pair(49, 61), model)
    torch.testing.assert_close(kept.a, small_pair(49, 61).a, rtol=0, atol=0)


def test_measures_of_known_maps():
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(3, 12, 12))
    assert scan.alike(maps, 2 * maps + 1) == pytest.approx(1) and scan.alike(maps, -maps) == pytest.approx(-1)
    flat = np.concatenate([maps, np.ones((1, 12, 12))])
    assert np.isnan(channel_correlations(flat, flat)).tolist() == [False] * 3 + [True]
    hot = np.zeros((12, 12), bool)
    hot[0, :3] = True
    assert cmsa._stands_out(np.where(hot, 1.0, 0.0)[None], hot) == pytest.approx(1 / np.std(hot))


def test_facts_without_mark_and_of_several_pairs():
    assert scan.scan_facts(small_run(mark="none"), 2, 1)["mark"] == 0
    pairs = [small_pair(), small_pair(37, 37)]
    one, other, both = (cmsa.cmsa_table(network(), chosen) for chosen in (pairs[:1], pairs[1:], pairs))
    np.testing.assert_allclose((one + other) / 2, both)
    assert len(scan.scan_table(small_run())) == 5


# Interleaving


def test_the_table_reproduces_the_example_of_two_by_three_patches():
    table = interleaving.interleaving_table(2, 3)
    visited = [[text[1:] for text in row.split()[::2]] for row in table["sequence"]]
    assert visited == [list(numbers) for numbers in ("012345", "031425", "543210", "524130")]
    assert table["infrared first"].all() and (table["same patch"] == 1).all()
    assert table["left-right"].tolist() == [2, 4, 2, 4] and table["up-down"].tolist() == [6, 2, 6, 2]
    assert "in 4 of 4 orders, 1 step before visible" in interleaving.interleaving_verdict(2, 3)
    assert interleaving.step_words(2, 3, 2) == (
        "step 2 of 12 reads V0 by rows; V0 by columns; V5 by rows, backwards; V5 by columns, backwards"
    )


def test_the_drawing_fills_what_has_been_read():
    figure = interleaving.interleaving_figure(2, 3, step=5)
    for axes in figure.axes[::2]:  # both maps of an order
        colours = [patch.get_facecolor() for patch in axes.patches]
        assert sum(sum(colour[:3]) < 3 for colour in colours) == 5
    in_turn = [t.get_text() for t in figure.axes[1].texts if re.fullmatch(r"[IV]\d", t.get_text())]
    assert in_turn == ["I0", "V0", "I1", "V1", "I2"]
    assert len(interleaving.frames_figure(2, 3, (1, 2, 12)).axes) == 12


def test_the_play_button_turns_the_picture():
    panel = s4fusion_panel.interleaving_panel(2, 2)
    panel.update()
    first, play = bytes(panel.picture.value), panel.box.children[0]
    assert play.max == 8
    play.value = 3
    assert panel.knobs["step"].value == 3 and panel.words.value.startswith("step 3 of 8 reads I1 by rows")
    assert bytes(panel.picture.value) != first


# Pictures, words, knobs


@pytest.mark.parametrize("scale1", [False, True])
def test_pictures_draw_and_say_what_is_never_read(scale1):
    run = small_run(use_scale1=scale1)
    table = cmsa.cmsa_table(run.model, [run.pair])
    figures = [diagram.stages_figure(run, 2), scan.scan_figure(run, 3, 2, 2), cmsa.features_figure(run, 2)]
    for figure in (*figures, cmsa.measures_figure(table)):
        figure.draw_without_rendering()
    for figure in (figures[0], figures[2]):
        assert any("never read" in axes.get_title() for axes in figure.axes) != scale1


def test_words_and_verdicts_count_the_scales_that_are_read(run):
    table = cmsa.cmsa_table(run.model, [run.pair])
    assert cmsa.cmsa_words(table).count("\n") == 2
    read = 3 if run.model.config.use_scale1 else 2
    assert cmsa.cmsa_verdict(run.model, table).startswith(f"of {read} scales")
    verdict = scan.scan_verdict(run)
    assert "\n" not in verdict and verdict.startswith("title, blocks that reach the decoder: the mark has")


@pytest.mark.parametrize(("name", "knob", "value"), [("scan_panel", "scale", 3), ("features_panel", "rank", 2)])
def test_panels_follow_their_knobs(name, knob, value):
    panel = getattr(s4fusion_panel, name)({"one": network()}, [small_pair(25, 25)])
    panel.update()
    first = bytes(panel.picture.value)
    panel.knobs[knob].value = value
    assert bytes(panel.picture.value) != first and panel.words.value
    assert {"network", "pair", "rank"} <= set(panel.knobs)


def test_a_block_that_a_scale_does_not_have_is_said_and_not_drawn():
    panel = s4fusion_panel.scan_panel({"one": network()}, [small_pair()])
    panel.knobs["scale"].value = 2
    panel.knobs["block"].value = 2
    assert panel.words.value == "block 2: scale 2 has the blocks 1 to 1; choose one of these"
    assert not panel.picture.value


# Refusals, and which network is shown


def test_other_networks_and_places_are_refused():
    with pytest.raises(FusionkitError, match="shows S4Fusion, not Average"):
        anatomy.run_network(create_model("average"), small_pair())
    run = small_run()
    with pytest.raises(FusionkitError, match="scale 4: this network has the scales 1 to 3"):
        anatomy.block_anatomy(run, 4, 1)
    with pytest.raises(FusionkitError, match="fusion is 'add'"):
        anatomy.block_anatomy(small_run(fusion="add"), 1, 1)


def test_without_weights_a_fresh_network_says_that_it_is_one(monkeypatch):
    monkeypatch.setattr(anatomy_run, "list_weights", lambda model: {})
    before = torch.get_rng_state()
    model, title, note = anatomy.main_network()
    assert torch.equal(torch.get_rng_state(), before)
    assert title == "S4Fusion, untrained" and "fresh values" in note and model.config.dims == (24, 48, 96)
    trained = network()
    monkeypatch.setattr(anatomy_run, "list_weights", lambda model: {"ir_vis-ablation": None})
    monkeypatch.setattr(anatomy_run, "load_method", lambda method: trained)
    model, title, note = anatomy.main_network()
    assert model is trained and title == "S4Fusion" and "without perception" in note
