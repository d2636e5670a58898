"""Table 5 of S4Fusion and the audit of the layer that was never trained, on networks made for the purpose."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from fusionkit import paths, weights
from fusionkit.audits import s4fusion_layer as layer
from fusionkit.audits import s4fusion_steps as steps
from fusionkit.audits import s4fusion_table5 as table5
from fusionkit.data import load_pair
from fusionkit.errors import FusionkitError
from fusionkit.figures.s4fusion_anatomy import legal
from fusionkit.measure import Measurement, write_measurement
from fusionkit.models.fresh import fresh_model
from fusionkit.models.s4fusion import step_sizes
from fusionkit.profiles import Profile
from fusionkit.weights import save_weights

SMALL = {"size": "micro", "dims": (8, 16, 32), "depths": (1, 1, 1), "states": 2, "fusion_states": 3}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path)
    monkeypatch.setattr(weights, "weight_folders", lambda: (tmp_path / "weights",))
    return tmp_path


@pytest.fixture(scope="module")
def pair():
    whole = load_pair("phantom_ir_vis", "test", "004")
    return legal(whole, fresh_model("s4fusion", **SMALL), 37)


def put_steps(method, sums, pairs=3):
    """Write steps whose raw sums per layer are (infrared, visible), and whose used steps are 0.02 and 0.03."""
    rows = {
        f"scale{scale}.block{block}.{name}": value
        for scale, both in enumerate(sums, start=1)
        for block in (1, 2)
        for name, value in zip(steps.Steps._fields, (both[0] / 2, both[1] / 2, 0.02, 0.03), strict=True)
    }
    values = pd.DataFrame([rows] * pairs, index=[f"{i}.png" for i in range(pairs)]).rename_axis("pair")
    done = Measurement(method, steps.DATASET, steps.SPLIT, values, {"key": "k", "code": "c"})
    write_measurement(done, steps.COLLECTION)


def put_weights(folder, name, model, seed, **options):
    path = folder / "weights" / "s4fusion" / f"{name}.safetensors"
    save_weights(path, model, "s4fusion", options)
    card = {"recipe": {"seed": seed, "options": options, "data": ["phantom_ir_vis/train"]}}
    path.with_suffix(".json").write_text(json.dumps(card))


# Steps


def test_steps_of_a_pair_are_those_of_the_model(pair):
    model = fresh_model("s4fusion", **SMALL)
    found = steps.pair_steps(model, pair)
    expected = step_sizes(model, pair.a[None], pair.b[None])
    assert found["scale2.block3.raw_visible"] == expected[1][2].raw_visible
    assert len(found) == 3 * 3 * 4


def test_untrained_networks_are_drawn_from_their_seed():
    ids = steps.untrained("micro")
    assert len(ids) == len(steps.SEEDS) and ids[3] == "s4fusion:untrained-micro-3"
    one, again, other = (steps.load_network(name) for name in (ids[1], ids[1], ids[2]))
    assert torch.equal(one.head.conv.weight, again.head.conv.weight)
    assert not torch.equal(one.head.conv.weight, other.head.conv.weight)
    with pytest.raises(FusionkitError, match="huge"):
        steps.load_network("s4fusion:untrained-huge-0")


def test_trained_names_what_is_here_with_further_seeds(results):
    assert steps.trained() == []
    model = fresh_model("s4fusion", **SMALL)
    for name in ("ir_vis", "ir_vis-seed1", "ir_vis-add"):
        put_weights(results, name, model, 0, **SMALL)
    assert steps.trained() == ["s4fusion:ir_vis", "s4fusion:ir_vis-seed1"]


def test_kept_steps_are_read_until_an_input_changes(results, monkeypatch, pair):
    network, calls = "s4fusion:untrained-micro-0", []
    monkeypatch.setattr(steps, "present", lambda *split: True)
    monkeypatch.setattr(steps, "dataset_hash", lambda *split: "hash")
    monkeypatch.setattr(steps, "split_names", lambda *split: [f"{i}.png" for i in range(11)])
    monkeypatch.setattr(steps, "load_pair", lambda *where: calls.append(where[-1]) or pair)
    kept = steps.keep_steps(network)
    assert calls == ["0.png", "5.png", "10.png"] and kept.provenance["weights_sha256"] is None
    assert (results / "steps/msrs/test/s4fusion--untrained-micro-0.csv").is_file()
    pd.testing.assert_frame_equal(steps.keep_steps(network).values, steps.load_steps(network).values)
    assert len(calls) == 3
    said = steps.steps_check([network, "s4fusion:untrained-micro-1"], "standard")
    assert said.startswith("Measured again on 2 pairs") and "untrained-micro-0 " in said and "micro-1" not in said
    assert "changed" not in said
    monkeypatch.setattr(steps, "dataset_hash", lambda *split: "other")
    assert "its inputs changed since" in steps.steps_check([network], "standard")
    steps.keep_steps(network)
    assert len(calls) == 3 + 2 + 2 + 3


def test_without_images_the_files_are_taken_as_they_are(results, monkeypatch):
    monkeypatch.setattr(steps, "present", lambda *split: False)
    for profile in Profile:
        assert "nothing is measured again" in steps.steps_check([steps.MAIN], profile)
    with pytest.raises(FusionkitError, match="msrs/test is not"):
        steps.measure_steps("s4fusion:untrained-micro-0", ["00004N.png"])
    assert steps.steps_provenance([steps.MAIN]).count("\n") == 0


# Table 5


def test_raw_sums_add_blocks_up_and_the_others_average_them(results):
    put_steps("s4fusion:ir_vis", [(1.0, -2.0), (-4.0, 6.0), (8.0, 0.5)])
    found = table5.layer_statistics(steps.load_steps("s4fusion:ir_vis").values)
    assert found[table5.SUM].to_numpy().tolist() == [[1, -2], [-4, 6], [8, 0.5]]
    np.testing.assert_allclose(found[table5.PER_BLOCK], found[table5.SUM] / 2)
    np.testing.assert_allclose(found[table5.STEP], [[0.02, 0.03]] * 3)
    table = table5.table5({"ours": "s4fusion:ir_vis", "absent": "s4fusion:untrained-base-0"})
    assert list(table.index.unique("network")) == ["printed", "ours"]
    assert table.loc[("printed", "Layer3"), (table5.SUM, "visible")] == -19.811


def test_printed_values_are_counted_in_deviations_of_the_untrained(results):
    assert table5.untrained_table("base").empty and table5.untrained_sums("base").empty
    put_steps("s4fusion:untrained-base-0", [(0.003, -0.004)] * 3)
    put_steps("s4fusion:untrained-base-1", [(-0.003, 0.004)] * 3)
    table = table5.untrained_table("base")
    assert table["seeds"].tolist() == [2] * 6
    np.testing.assert_allclose(table.loc[("Layer1", "visible"), ["lowest", "highest"]].astype(float), [-0.004, 0.004])
    np.testing.assert_allclose(table["deviation"], [0.003, 0.004] * 3)
    assert table.loc[("Layer1", "visible"), "deviations"] == pytest.approx(0.0056 / 0.004)


def test_the_verdict_reads_both_records_alike(results):
    assert table5.table5_verdict("ours", "s4fusion:ir_vis").endswith("ours: nothing measured yet")
    put_steps("s4fusion:ir_vis", [(0.5, 1.0), (-4.0, 6.0), (-8.0, 0.5)])
    verdict = table5.table5_verdict("ours", "s4fusion:ir_vis")
    assert "printed: infrared above visible at 3 of 3 layers, falling with depth: infrared and visible;" in verdict
    assert (
        "ours (3 of 361 pairs of msrs/test): infrared above visible at 0 of 3 layers, falling with depth: infrared;"
        in verdict
    )
    assert verdict.endswith("infrared above visible at 0 of 3 layers")


def test_the_figure_draws_what_is_on_file(results):
    empty = table5.sums_figure({"ours": "s4fusion:ir_vis"})
    empty.draw_without_rendering()
    put_steps("s4fusion:ir_vis", [(0.5, 1.0)] * 3)
    put_steps("s4fusion:untrained-base-0", [(0.003, -0.004)] * 3)
    figure = table5.sums_figure({"ours": "s4fusion:ir_vis"})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["untrained, base", "printed", "ours"]
    np.testing.assert_allclose(figure.axes[1].lines[1].get_xdata(), table5.printed()["visible"])


# The layer


@pytest.mark.parametrize("scale1", [False, True])
def test_the_gradient_reaches_cmsa_1_only_where_it_is_read(pair, scale1):
    model = fresh_model("s4fusion", **SMALL, use_scale1=scale1, compute_unused=True)
    table = layer.gradient_table(model, pair)
    assert table["parameters"].sum() == sum(p.numel() for p in model.parameters())
    assert (table.loc[layer.LAYER, "without"] < 0.5) == scale1
    assert (table["gradient"].drop([layer.LAYER]) > 0).all()
    texts = [t.get_text() for t in layer.gradients_figure({"one": table, "two": table}).axes[0].texts]
    assert texts == ([] if scale1 else ["exactly 0"])
    sentence = layer.gradient_sentence({"one": table})
    assert sentence.startswith("Gradient: one, 0%") != scale1


def test_moved_counts_what_training_has_changed(results):
    model = fresh_model("s4fusion", 5, **SMALL)
    with torch.no_grad():
        model.head.conv.weight += 1
        model.fusion[1].blocks[0].gated.in_proj.weight *= 2
    put_weights(results, "ir_vis-ablation", model, 5, **SMALL)
    table = layer.moved_table("s4fusion:ir_vis-ablation")
    assert table["moved"][table["moved"] > 0].index.tolist() == ["CMSA 2", "head"]
    assert table.loc["CMSA 2", "distance"] > 0 and table.loc[layer.LAYER, "distance"] == 0


def test_redrawn_modules_are_those_of_the_seed_behind_this_networks_embedding(pair):
    model = fresh_model("s4fusion", 0, **SMALL)
    own = table5.layer_statistics(pd.DataFrame([steps.pair_steps(model, pair)]))[table5.SUM].loc["Layer1"]
    found = layer.redrawn_sums(model, [pair], range(3))
    np.testing.assert_allclose(found.loc[0], own)
    assert found.index.tolist() == [0, 1, 2] and found["infrared"].nunique() == 3
    again = table5.layer_statistics(pd.DataFrame([steps.pair_steps(model, pair)]))[table5.SUM].loc["Layer1"]
    np.testing.assert_array_equal(own, again)


def test_the_audit_says_what_is_missing_and_then_what_is_found(results, pair):
    tables = {"as released": layer.gradient_table(fresh_model("s4fusion", **SMALL), pair)}
    said = layer.layer_verdict(tables)
    assert "no untrained network is measured yet" in said
    assert "as released, not trained yet; with scale 1, not trained yet." in said
    assert layer.moved_tables().empty and list(layer.trained_sums().columns.levels[0]) == ["printed"]
    put_weights(results, "ir_vis-ablation", fresh_model("s4fusion", 0, **SMALL), 0, **SMALL)
    put_steps("s4fusion:ir_vis-ablation", [(0.001, 0.002)] * 3)
    put_steps("s4fusion:untrained-base-0", [(0.003, -0.004)] * 3)
    said = layer.layer_verdict(tables)
    assert "as released, 0% of its numbers have left their start, its sums are 0.001 and 0.002" in said
    assert "of 1 untrained networks" in said and "Layer1 0.47 and 1.4;" in said
    assert list(layer.trained_sums().columns.unique(0)) == ["printed", "as released"]


def test_what_is_on_file_is_complete_and_stays_near_zero_without_training():
    for size in ("base", "tiny"):
        sums = table5.untrained_sums(size)
        assert sums.index.unique("seed").tolist() == list(steps.SEEDS)
        assert sums.abs().to_numpy().max() < 0.02
