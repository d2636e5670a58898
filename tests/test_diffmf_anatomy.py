"""DIFF-MF taken apart: maps that ran, what is undone, weights, knobs; and the record of its downstream tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fusionkit import FusionkitError, create_model, diffmf_panel
from fusionkit.audits import diffmf_downstream as downstream
from fusionkit.data import load_pair
from fusionkit.figures import anatomy_run
from fusionkit.figures import diffmf_anatomy as anatomy
from fusionkit.figures import diffmf_anatomy_channel as channel
from fusionkit.figures import diffmf_anatomy_effects as effects
from fusionkit.figures import diffmf_anatomy_mambas as mambas
from fusionkit.figures import diffmf_anatomy_maps as feature_maps
from fusionkit.figures import diffmf_anatomy_network as diagram
from fusionkit.figures.anatomy_effects import fuse_without
from fusionkit.models.fresh import fresh_model

SMALL = {"size": "tiny", "channels": 8, "states": 2}
TRANSFORMER = {"size": "tiny", "block": "restormer"}


def network(**options):
    return fresh_model("diffmf", **SMALL | options)


def small_pair():
    pair = load_pair("phantom_ir_vis", "test", "005")
    cut = (..., slice(16, 48), slice(8, 56))
    return replace(pair, a=pair.a[cut], b=pair.b[cut], chroma=None)


def small_run(**options):
    return anatomy.run_network(network(**options), small_pair(), "small")


@pytest.fixture(scope="module")
def run():
    return small_run()


def test_a_stage_follows_algorithm_1(run):
    for stage in (1, 2):
        maps = anatomy.stage_anatomy(run, stage)
        own, on = ([maps[f"{kind}_{name}"] for name in anatomy.MODALITIES] for kind in ("own", "on"))
        d = np.tanh(np.abs(maps["shared_infrared"] - maps["shared_visible"]))
        np.testing.assert_allclose(maps["D"], d, atol=1e-6)
        np.testing.assert_allclose(on[0], (1 - d) * own[0] + d * own[1], atol=1e-5)
        np.testing.assert_allclose(on[1], (1 - d) * own[1] + d * on[0], atol=1e-5)


def test_stages_hand_their_maps_on(run):
    first, second = (anatomy.stage_anatomy(run, stage) for stage in (1, 2))
    exchange = anatomy.channel_anatomy(run)
    for name in anatomy.MODALITIES:
        assert np.array_equal(first[f"on_{name}"], second[f"input_{name}"])
        assert np.array_equal(second[f"on_{name}"], exchange[f"before_{name}"])
        assert np.array_equal(exchange[f"after_{name}"], anatomy.spatial_anatomy(run, 1)[name])


def test_reweighting_follows_eqs_7_and_8(run):
    maps = anatomy.channel_anatomy(run)
    for name in anatomy.MODALITIES:
        residual = maps[f"residual_{name}"][:, None, None] * maps[f"before_{name}"]
        expected = (maps[f"exchanged_{name}"] + residual) * maps[f"gate_{name}"]
        np.testing.assert_allclose(maps[f"gated_{name}"], expected, atol=1e-5)
    w = maps["weights"][:, None, None]
    expected = (1 - w) * maps["gated_infrared"] + w * maps["gated_visible"]
    np.testing.assert_allclose(maps["after_infrared"], expected, atol=1e-5)


@pytest.mark.parametrize(("weight", "names"), [(0.0, ("infrared", "visible")), (1.0, ("visible", "infrared"))])
def test_other_weights_keep_or_exchange_the_modalities(run, weight, names):
    maps = anatomy.channel_anatomy(run)
    found = anatomy.reblended(maps, weight)
    for name, source in zip(anatomy.MODALITIES, names, strict=True):
        assert np.array_equal(found[name], maps[f"gated_{source}"])


def test_scales_are_fused_from_their_three_arrangements(run):
    for scale in (1, 2, 3):
        maps = anatomy.spatial_anatomy(run, scale)
        project = run.model.spatial_exchange.fusion[scale - 1].project
        parts = np.concatenate([maps[name] for name in ("column", "row", "concat")])
        with torch.no_grad():
            expected = project(torch.from_numpy(parts)[None])[0].numpy()
        np.testing.assert_allclose(maps["fused"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "read", "message"),
    [
        ({}, lambda run: anatomy.stage_anatomy(run, 3), "stage 3: this network has 2 stages"),
        ({"guidance": "added"}, lambda run: anatomy.stage_anatomy(run, 1), "no difference"),
        ({"residual": "none"}, anatomy.channel_anatomy, "lacks channel reweighting"),
        ({}, lambda run: anatomy.spatial_anatomy(run, 4), "scale 4"),
        ({"spatial_exchange": False}, lambda run: anatomy.spatial_anatomy(run, 1), "no spatial exchange"),
    ],
)
def test_what_a_network_lacks_is_refused(options, read, message):
    with pytest.raises(FusionkitError, match=message):
        read(small_run(**options))


def test_other_networks_are_refused():
    with pytest.raises(FusionkitError, match="shows DIFF-MF, not Average"):
        anatomy.run_network(create_model("average"), small_pair())


def test_without_weights_networks_are_fresh_and_say_so(monkeypatch):
    monkeypatch.setattr(anatomy_run, "list_weights", lambda model: {})
    networks, note = anatomy.both_networks()
    assert list(networks) == ["DIFF-MF, untrained", "Restormer's blocks, untrained"]
    assert [model.config.block for model in networks.values()] == ["vss", "restormer"]
    assert anatomy.TRAINED in note and anatomy.TRANSFORMER in note
    trained = network()
    monkeypatch.setattr(anatomy_run, "list_weights", lambda model: {anatomy.TRAINED.partition(":")[2]: None})
    monkeypatch.setattr(anatomy_run, "load_method", lambda method: trained)
    assert list(anatomy.both_networks()[0].values())[0] is trained


# What is undone


def undone(run, title):
    return fuse_without(run.model, run.pair, effects.PARTS[title])


def image(run, **options):
    other = network(**options)
    other.load_state_dict(run.model.state_dict(), strict=False)
    return anatomy.run_network(other, run.pair).fused


def test_undone_exchange_and_reweighting_are_those_of_table_4(run):
    for title, options in (
        ("exchange: each keeps its own matrices", {"exchange": "none"}),
        ("no reweighting (eqs. 7-8)", {"reweighting": False}),
        ("eq. 7: no residual", {"residual": "none"}),
    ):
        found = undone(run, title)
        np.testing.assert_allclose(found, image(run, **options), atol=1e-6)
        assert not np.array_equal(found, run.fused)


def test_a_difference_of_one_leaves_only_the_visible_image_to_the_exchange(run):
    changed = replace(run.pair, a=1 - run.pair.a)
    part = effects.PARTS["guidance: difference 1"]
    assert np.array_equal(fuse_without(run.model, changed, part), fuse_without(run.model, run.pair, part))
    part = effects.PARTS["guidance: difference 0"]
    assert not np.array_equal(fuse_without(run.model, changed, part), fuse_without(run.model, run.pair, part))


@pytest.mark.parametrize("options", [{}, TRANSFORMER | {"channels": 32}], ids=["scans", "transformers"])
def test_every_part_is_undone_in_both_networks(options):
    table = effects.effect_table(network(**options), [small_pair()])
    assert list(table.index) == list(effects.PARTS)
    assert (table["changes"] > 0).all()
    verdict = effects.effect_verdict("small", table)
    assert verdict.startswith("small: ") and repr(table["loss"].idxmax()) in verdict


# Numbers and pictures


def test_weights_of_equal_images_do_not_differ_between_images():
    pair = small_pair()
    table = channel.weights_table(network(), [pair, pair])
    assert (table["between images"] == 0).all()
    assert (table["between channels"] > 0).all()
    assert "alpha lies between" in channel.weights_verdict("small", table)


def test_detail_is_that_of_noise_and_of_smooth_maps():
    noise = np.random.default_rng(0).standard_normal((3, 200, 200))
    assert feature_maps.detail(noise) == pytest.approx(2 / np.sqrt(np.pi), rel=0.01)
    smooth = np.linspace(0, 1, 200)[None, :, None] * np.ones((1, 1, 200))
    assert feature_maps.detail(smooth) < 0.02
    assert feature_maps.detail(np.ones((2, 4, 4))) == 0


def test_feature_maps_of_both_networks_are_compared():
    networks = {"scans": network(), "transformers": fresh_model("diffmf", **TRANSFORMER)}
    runs = [anatomy.run_network(model, small_pair(), title) for title, model in networks.items()]
    table = feature_maps.maps_table(networks, [small_pair()])
    assert table["scans"].tolist() == pytest.approx(list(feature_maps.maps_facts(runs[0]).values()))
    assert feature_maps.maps_verdict(table).startswith("scans: D follows")
    assert [axes.get_ylabel() for axes in feature_maps.maps_figure(runs).axes][::7] == ["scans", "transformers"]


def test_features_are_compared_with_both_sources(run):
    table = mambas.balance_table([run])
    fused, infrared = run.fused.ravel(), run.pair.a.numpy().ravel()
    assert table.loc["small", "image, infrared"] == pytest.approx(np.corrcoef(fused, infrared)[0, 1], abs=1e-4)
    assert "small, features: correlation with infrared" in mambas.balance_verdict(table)
    titles = [axes.get_title() for axes in mambas.side_by_side_figure([run]).axes]
    assert titles[:2] == ["infrared", "visible"] and titles[2].startswith("small")


def test_the_diagram_counts_what_runs(run):
    texts = " ".join(text.get_text() for text in diagram.network_figure(run).axes[0].texts)
    for path in ("stem_infrared", "stages.1.visible", "decoder", "channel_exchange", "spatial_exchange"):
        assert path in texts
    assert f"{diagram.count(run.model.channel_exchange):,}" in texts
    assert len(diagram.stages_figure(run).axes) == 2 * 7
    assert len(diagram.scales_figure(run).axes) == 3 * 6


def test_panels_answer_to_their_knobs():
    networks, pairs = {"small": network()}, [small_pair()]
    for make, name in ((diffmf_panel.stages_panel, "rank"), (diffmf_panel.channel_panel, "weights")):
        panel = make(networks, pairs)
        panel.update()
        before = panel.picture.value
        panel.knobs[name].value = panel.knobs[name].max
        assert panel.picture.value != before
        assert panel.knobs["rank"].max == 8
    panel = diffmf_panel.scales_panel(networks, pairs)
    panel.update()
    assert panel.picture.value


# The record of Tables VIII and IX


@pytest.mark.parametrize(("panel", "mean"), [("diffmf/table8", "mAP@0.5"), ("diffmf/table9", "MIoU")])
def test_the_printed_mean_is_that_of_the_classes(panel, mean):
    values = downstream.class_values(panel, mean)
    assert values.columns[-1] == mean
    assert np.abs(values.drop(columns=mean).mean(axis=1) - values[mean]).max() < 1e-3


def test_leads_are_those_that_are_printed():
    leads = downstream.class_leads("diffmf/table8", "mAP@0.5")
    assert leads.loc["mAP@0.5", "lead"] == pytest.approx(0.0007)
    assert leads.loc["people", ["place", "by"]].tolist() == [6, "MambaDFuse"]
    verdict = downstream.downstream_verdict("diffmf/table8", "mAP@0.5")
    assert "0.0007 ahead of FusionMamba" in verdict and "7 of 8, in lamp" in verdict
    assert "place 2; best other EMMA 0.886" in downstream.scene_verdict("diffmf/table8", "mAP@0.5", "car")


def test_the_chart_has_a_line_per_class():
    axes = downstream.class_figure("diffmf/table9", "MIoU").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "MIoU"
    assert len(axes.get_yticklabels()) == 16
