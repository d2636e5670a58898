"""FusionMamba taken apart: the parts recombine to what the modules give, and pictures and knobs work."""

import re
from dataclasses import replace

import ipywidgets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit import FusionkitError, create_model, fusionmamba_panel
from fusionkit.data import load_pair
from fusionkit.figures import anatomy_effects
from fusionkit.figures import fusionmamba_anatomy as anatomy
from fusionkit.figures import fusionmamba_anatomy_block as block
from fusionkit.figures import fusionmamba_anatomy_cmfm as cmfm
from fusionkit.figures import fusionmamba_anatomy_dfem as dfem
from fusionkit.figures import fusionmamba_anatomy_dffm as dffm
from fusionkit.figures import fusionmamba_anatomy_effects as effects
from fusionkit.figures.anatomy_run import telling_channels
from fusionkit.figures.fusionmamba_anatomy_network import network_figure
from fusionkit.figures.style import new_figure
from fusionkit.knobs import Knobs

SMALL = {"dims": (8, 16), "depths": (1, 2), "states": 2}
MODES = ("paper", "official")
VARIANTS = ({}, {"mode": "official"}, {"placement": "serial"}, {"identity": True}, {"residual": 0.5})
EXACT = {"rtol": 0, "atol": 1e-9}


def network(**options):
    torch.manual_seed(0)
    model = create_model("fusionmamba", **SMALL | options).double()
    with torch.no_grad():  # a new network's output is nearly constant; this one depends on every part
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
        model.head.bias.fill_(0.3)
        model.head.weight *= 0.1
    return model


def small_pair(height=32, width=40):
    pair = load_pair("phantom_ir_vis", "test", "004")
    rows, columns = slice(80, 80 + height), slice(70, 70 + width)
    # dark, so that an added sum of both images does not saturate
    images = (0.15 * image[:, rows, columns].double() for image in (pair.a, pair.b))
    return replace(pair, **dict(zip("ab", images, strict=True)), chroma=None)


def small_run(**options):
    return anatomy.run_network(network(**options), small_pair(), "title")


@pytest.fixture(scope="module", params=MODES)
def run(request):
    return small_run(mode=request.param)


# The parts recombine


def test_a_run_is_the_forward_pass_and_leaves_no_hook(run):
    with torch.inference_mode():
        expected = run.model(run.pair.a[None], run.pair.b[None])[0, 0]
    np.testing.assert_array_equal(run.fused, expected)
    assert not any(module._forward_hooks for module in run.model.modules())


@pytest.mark.parametrize("options", VARIANTS)
def test_the_summands_of_a_block_add_up_to_its_output(options):
    run = small_run(**options)
    for path in anatomy.block_paths(run.model):
        module = run.model.get_submodule(path)
        for image in (0, 1):
            maps = anatomy.block_anatomy(run, path, image)
            total = sum(maps[name] for name in anatomy.block_summands(module))
            np.testing.assert_allclose(total, maps["output"], **EXACT)
            np.testing.assert_allclose(maps["scan_normed"] * maps["gate"], maps["gated"], **EXACT)
            attended = maps.get("far_normed", maps["far"]) * maps["weights"][:, None, None]
            np.testing.assert_allclose(attended, maps["kept"], **EXACT)


def test_a_block_alone_gives_the_same_output(run):
    path = anatomy.block_paths(run.model)[1]
    maps = anatomy.block_anatomy(run, path, image=1)
    with torch.inference_mode():
        alone = run.model.get_submodule(path)(torch.from_numpy(maps["input"]).permute(1, 2, 0)[None])
    np.testing.assert_allclose(maps["output"], alone[0].permute(2, 0, 1), **EXACT)


def test_the_decoder_ignores_which_image(run):
    one, other = (anatomy.block_anatomy(run, "decoder.0.blocks.0", image) for image in (0, 1))
    np.testing.assert_array_equal(one["output"], other["output"])


@pytest.mark.parametrize("difference", ["texture", "features"])
@pytest.mark.parametrize("mode", MODES)
def test_the_parts_of_dfem_add_up(mode, difference):
    run = small_run(mode=mode, difference=difference)
    for level in (0, 1):
        maps = anatomy.dfem_anatomy(run, level)
        for i in "12":
            parts = maps[f"F{i}"] + maps[f"T{i}"] + maps[f"share{i}"][:, None, None] * maps["both"]
            np.testing.assert_allclose(parts, maps[f"D{i}"], **EXACT)
        np.testing.assert_array_equal(maps["share1"], maps[f"share_{difference}"])
        assert dfem.opposite_shares(maps) < 1e-12 and dfem.sum_without_shares(maps) < 1e-12
        assert np.abs(maps["share_texture"] - maps["share_features"]).max() > 1e-4


def test_the_parts_of_cmfm_recombine(run):
    for level in (0, 1):
        maps = anatomy.cmfm_anatomy(run, level)
        coded = "mixed" in maps
        others = ("C1", "C2") if coded else ("D1", "D2")
        hybrid = maps["C1"] * maps["C2"] + maps[others[0]] + maps[others[1]]
        np.testing.assert_allclose(hybrid, maps["hybrid"], **EXACT)
        np.testing.assert_allclose(maps["H1"] + maps["H2"], maps["Hf"], **EXACT)
        bypass = ("F1", "F2", "mixed") if coded else ("D1", "D2")
        np.testing.assert_allclose(maps["kept"] + sum(maps[name] for name in bypass), maps["X"], **EXACT)
        enhanced = anatomy.dfem_anatomy(run, level)
        assert all(np.array_equal(maps[name], enhanced[name]) for name in ("D1", "D2"))


def test_the_codes_second_gate_follows_from_the_first():
    assert cmfm.cmfm_table(small_run(mode="official"))["error"].max() < 1e-12
    corrected = small_run(mode="official", own_gate=True)
    maps = anatomy.cmfm_anatomy(corrected, 0)
    np.testing.assert_allclose(maps["H1"] + maps["H2"], maps["Hf"], **EXACT)
    assert "own_gate2" not in maps and "error" not in cmfm.cmfm_table(corrected)


@pytest.mark.parametrize("options", VARIANTS)
def test_nothing_left_out_gives_the_fused_image(options):
    run = small_run(**options)
    np.testing.assert_allclose(dffm.images_without(run)["fused"], run.fused, **EXACT)


def test_without_level_0_is_the_network_that_lacks_it():
    run, lacking = small_run(), small_run(level0=False)
    lacking.model.load_state_dict(run.model.state_dict())
    expected = anatomy.run_network(lacking.model, run.pair).fused
    np.testing.assert_allclose(dffm.images_without(run)["without level 0"], expected, **EXACT)
    table = dffm.level_table(lacking.model, [lacking.pair])
    assert table.loc["without level 0", ["added", "changes", "loss"]].tolist() == [0, 0, 0]
    assert list(table.index) == ["without level 0", "without level 1", "without the bottom"]


def test_level_0_alone_is_a_decoder_that_starts_from_nothing():
    run = small_run()
    model = network()
    with torch.no_grad():
        for module in model.fusion[1:]:
            module.forward = lambda first, second: torch.zeros_like(first)
        model.decoder[0].register_forward_pre_hook(lambda _module, inputs: torch.zeros_like(inputs[0]))
    expected = anatomy.run_network(model, run.pair).fused
    np.testing.assert_allclose(dffm.images_without(run)["level 0 alone"], expected, **EXACT)


def test_the_survey_takes_the_networks_that_use_level_0(monkeypatch):
    known = {"ir_vis": network(), "ir_vis-official": network(mode="official"), "ct_mri": network()}
    monkeypatch.setattr(dffm, "list_weights", lambda model: known)
    monkeypatch.setattr(dffm, "load_method", lambda method: known[method.partition(":")[2]])
    survey = dffm.level_survey([small_pair()])
    assert list(survey.index) == ["ir_vis"]
    alone = dffm.level_table(known["ir_vis"], [small_pair()]).loc[dffm.ALONE]
    assert survey.loc["ir_vis"].to_dict() == {name: alone[name] for name in ("changes", "loss")}


def test_no_gradient_reaches_the_codes_level_0():
    table = dffm.level_gradients(small_run(mode="official"))
    assert table["gradient"]["level 0"] == 0 and table["without"]["level 0"] == 1
    assert table["gradient"]["level 1"] > 0 and 0 < table["without"]["level 1"] < 0.5
    assert (dffm.level_gradients(small_run())["gradient"] > 0).all()


# What is undone


def undone(run, group, title):
    return anatomy_effects.fuse_without(run.model, run.pair, effects.UNDO[group][title])


def test_undoing_a_part_that_does_nothing_changes_nothing(run):
    model = network(mode="paper" if run.model.config.level0 else "official")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("theta", "eca.conv.weight")):
                parameter.zero_()
    idle = anatomy.run_network(model, run.pair)
    for group in ("block", "dfem", "cmfm"):
        for title in ("LDC: a plain convolution", "ECA: one weight for all channels"):
            if title in effects.UNDO[group]:
                np.testing.assert_allclose(undone(idle, group, title), idle.fused, **EXACT)
                assert np.abs(undone(run, group, title) - run.fused).max() > 1e-6
    assert block.block_table(idle)["centre"].max() == 0 and block.block_table(idle)["eca_std"].max() == 0


def test_own_gate_undone_is_the_network_with_its_own_gate():
    run = small_run(mode="official")
    corrected = network(mode="official", own_gate=True)
    expected = anatomy.run_network(corrected, run.pair).fused
    np.testing.assert_allclose(undone(run, "cmfm", "second gate from the second modality"), expected, **EXACT)
    assert "eq. 6 without the product" not in effects.effect_table(run.model, [run.pair], "cmfm").index


def test_no_product_is_zero_convolutions():
    run = small_run()
    model = network()
    for module in model.fusion:
        for parameter in module.cmfm.conv1.parameters():
            torch.nn.init.zeros_(parameter)
    expected = anatomy.run_network(model, run.pair).fused
    np.testing.assert_allclose(undone(run, "cmfm", "eq. 6 without the product"), expected, **EXACT)


def test_shares_and_texture_undone_change_only_what_they_name(run):
    dfems = [module.dfem for module in run.model.fusion]
    first, second = (torch.randn(1, 8, 8, 8, dtype=torch.double) for _ in "12")
    with torch.inference_mode():
        output, parts = dfems[0](first, second), dfems[0].parts(first, second)
        halves = effects._halves(dfems[0], (first, second), output)
        bare = effects._no_texture(dfems[0], (first, second), output)
    torch.testing.assert_close(halves[0] + halves[1], output[0] + output[1])
    torch.testing.assert_close(bare[1], second + (1 - parts.share) * parts.both)


def test_effects_are_counted_in_grey_levels(run):
    assert anatomy_effects.effect(run.pair, run.fused, run.fused + 1 / 255, "fusionmamba")["changes"] == pytest.approx(
        1
    )
    assert anatomy_effects.effect(run.pair, run.fused, run.fused, "fusionmamba") == {"changes": 0, "loss": 0}
    with pytest.raises(FusionkitError, match="did you mean cmfm"):
        effects.effect_table(run.model, [run.pair], "cmfn")


def test_effects_are_means_over_pairs(run):
    pairs = [run.pair, small_pair(32, 24)]
    one, other, both = (effects.effect_table(run.model, chosen, "dfem") for chosen in (pairs[:1], pairs[1:], pairs))
    np.testing.assert_allclose((one + other) / 2, both)
    assert len(both) == 3 and len(effects.effect_table(run.model, pairs, "cmfm")) == 4
    levels = [dffm.level_table(run.model, chosen) for chosen in (pairs[:1], pairs[1:], pairs)]
    np.testing.assert_allclose((levels[0] + levels[1]) / 2, levels[2])


# Measures


def test_neighbours_of_ramps_stripes_and_noise():
    ramp = np.add.outer(np.arange(12.0), np.arange(9.0))[None]
    board = (-1.0) ** ramp
    noise = np.random.default_rng(0).normal(size=(4, 64, 64))
    assert block.neighbour_similarity(ramp) == pytest.approx(1)
    assert block.neighbour_similarity(board) == pytest.approx(-1)
    assert abs(block.neighbour_similarity(noise)) < 0.03
    flat = np.concatenate([ramp, np.ones_like(ramp)])
    assert block.neighbour_similarity(flat) == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.floats(0.5, 3), st.integers(0, 99))
def test_quarter_share_is_one_without_variance_inside_and_survives_scaling(height, width, scale, seed):
    generator = np.random.default_rng(seed)
    tiles = np.tile(generator.normal(size=(3, 2, 2)), (1, height, width))
    assert block.quarter_share(tiles) == pytest.approx(1)
    maps = generator.normal(size=(3, 2 * height, 2 * width))
    assert 0 <= block.quarter_share(maps) <= 1
    assert block.quarter_share(scale * maps + 2) == pytest.approx(block.quarter_share(maps))


def test_quarters_lie_side_by_side_in_reading_order():
    maps = np.arange(16.0).reshape(1, 4, 4)
    assert block.quarters(maps)[0].tolist() == [[0, 2, 1, 3], [8, 10, 9, 11], [4, 6, 5, 7], [12, 14, 13, 15]]


def test_centre_factors_are_one_minus_theta_mask_and_sum():
    ldc = network().encoder[0].blocks[0].ldc
    expected = 1 - ldc.learnable_theta * ldc.learnable_mask * ldc.conv.weight.sum((2, 3))
    np.testing.assert_allclose(block.centre_factors(ldc), expected.detach())


def test_relative_difference():
    one = np.ones((2, 3, 3))
    assert dfem.relative_difference(one, one) == 0
    assert dfem.relative_difference(one, -one) == pytest.approx(1)


def test_telling_channels_are_sorted_by_variance():
    maps = np.arange(4.0).reshape(1, 2, 2) * np.array([1, 3, 2])[:, None, None]
    assert telling_channels(maps).tolist() == [1, 2, 0]


# Pictures, words, knobs


def texts(figure):
    return [t.get_text() for part in figure.subfigs for axes in part.axes for t in axes.texts]


def test_the_diagram_counts_every_parameter(run):
    figure = network_figure(run)
    figure.draw_without_rendering()
    tree, *_ = figure.subfigs
    drawn = " ".join(t.get_text() for t in tree.axes[0].texts)
    counts = [int(number.replace(",", "")) for number in re.findall(r"(?:\(|head \()([\d,]+)\)", drawn)]
    assert sum(counts) == sum(p.numel() for p in run.model.parameters())
    assert ("computed, never used" in drawn) == (not run.model.config.level0)
    assert ("+ 2 (1 + 2)" in drawn) == (run.model.config.residual == 2)
    block_of = run.model.encoder[0].blocks[0]
    listed = sum(int(t.split("(")[-1][:-1].replace(",", "")) for t in texts(figure) if re.search(r"  \([\d,]+\)$", t))
    assert listed == sum(p.numel() for p in (*block_of.parameters(), *block_of.essm.parameters()))


def test_pictures_draw(run):
    figures = [
        block.block_figure(run, "encoder.1.blocks.1", image=1, rank=3),
        block.block_figure(run, "decoder.1.blocks.0"),
        dffm.levels_figure(run),
        dffm.without_figure(run),
        dffm.gradients_figure([run]),
        dfem.dfem_figure(run, 1, 2),
        cmfm.cmfm_figure(run, 1, 2),
        cmfm.gates_figure([run, small_run()], 1),
    ]
    for figure in figures:
        figure.draw_without_rendering()
    assert len(figures[-1].axes) == (3 if run.model.config.fusion == "dffm_code" else 2)
    shown = [t.get_text() for t in figures[4].axes[0].texts]
    assert ("exactly 0" in shown) == (not run.model.config.level0)


def test_words_name_every_finding(run):
    words = block.block_words(run)
    assert words.count("\n") == 5 and f"of {len(anatomy.block_paths(run.model))} blocks" in words
    assert ("level 0 100.0%" in dffm.gradient_words(run)) == (not run.model.config.level0)
    pairs = [run.pair, small_pair(40, 32)]
    assert "without the bottom: the image changes by" in dffm.level_words(run.model, pairs)
    assert "undone, no texture maps: the image changes by" in effects.effect_words(run.model, pairs, "dfem")
    assert "over 2 pairs" in dfem.dfem_words(run.model, pairs)
    assert ("gate 2 is SiLU of gate 1" in cmfm.cmfm_words(run)) == (run.model.config.fusion == "dffm_code")


def test_verdicts_are_one_line_that_names_the_networks(run):
    networks, pairs = {"one": run.model, "two": run.model}, [run.pair]
    verdicts = [
        effects.effect_verdict(networks, pairs, "block"),
        dffm.level_verdict(networks, pairs),
        cmfm.gates_verdict(anatomy.run_networks(networks, run.pair)),
    ]
    assert all("\n" not in text and "one" in text and "two" in text for text in verdicts)
    share = "0%" if run.model.config.level0 else "100%"
    assert f"level 0 has {share} of its parameters without gradient" in verdicts[1]


@pytest.mark.parametrize("name", ["block_panel", "dffm_panel", "dfem_panel", "cmfm_panel"])
def test_panels_follow_their_knobs(name):
    networks = {"paper": network(), "code": network(mode="official")}
    panel = getattr(fusionmamba_panel, name)(networks, [small_pair(), small_pair(24, 24)])
    assert not panel.picture.value
    panel.update()
    pictures = {bytes(panel.picture.value)}
    turns = {"network": "code", "level": 1, "path": "decoder.1.blocks.0"}
    for knob, value in turns.items():
        if knob in panel.knobs:
            panel.knobs[knob].value = value
            pictures.add(bytes(panel.picture.value))
            assert panel.words.value
    assert {"pair", "rank"} < set(panel.knobs) and len(panel.knobs["pair"].options) == 2
    assert len(pictures) == 1 + sum(knob in panel.knobs for knob in turns)


def test_knobs_say_what_is_refused_and_hide_the_picture():
    def answer(side):
        if side < 1:
            raise FusionkitError("side < 1")
        return f"{side}\n& more", new_figure(side, side)

    panel = Knobs(answer, side=ipywidgets.IntSlider(1, min=0, max=3))
    panel.update()
    assert panel.words.value == "1<br>&amp; more" and bytes(panel.picture.value[:4]) == b"\x89PNG"
    panel.knobs["side"].value = 0
    assert panel.words.value == "side &lt; 1" and not panel.picture.value
    assert panel.picture.layout.display == "none"


# Refusals, and which networks are shown


def test_other_networks_and_places_are_refused(run):
    with pytest.raises(FusionkitError, match="not Average"):
        anatomy.run_network(create_model("average"), run.pair)
    with pytest.raises(FusionkitError, match="did you mean encoder.0.blocks.0"):
        anatomy.block_anatomy(run, "encoder.0.block.0")
    with pytest.raises(FusionkitError, match="level 2: this network has the levels 0 to 1"):
        anatomy.dfem_anatomy(run, 2)
    with pytest.raises(FusionkitError, match="lacks DFEM or CMFM"):
        anatomy.cmfm_anatomy(small_run(enhance=False), 0)
    with pytest.raises(FusionkitError, match="no DVSS blocks"):
        network_figure(small_run(block="evss"))


def test_both_readings_fall_back_to_fresh_weights_of_the_code(monkeypatch):
    trained, loaded = network(), []
    monkeypatch.setattr(anatomy, "load_method", lambda method: loaded.append(method) or trained)
    monkeypatch.setattr(anatomy, "list_weights", lambda model: {"ir_vis": None})
    before = torch.get_rng_state()
    networks, note = anatomy.both_readings()
    again, _ = anatomy.both_readings()
    assert torch.equal(torch.get_rng_state(), before)
    assert list(networks) == ["paper", "code, untrained"] and "fresh weights" in note
    assert not networks["code, untrained"].config.level0 and loaded == [anatomy.PAPER] * 2
    assert torch.equal(*(found["code, untrained"].head.weight for found in (networks, again)))
    monkeypatch.setattr(anatomy, "list_weights", lambda model: {"ir_vis": None, "ir_vis-official": None})
    assert list(anatomy.both_readings()[0]) == ["paper", "code"] and loaded[-1] == anatomy.CODE
