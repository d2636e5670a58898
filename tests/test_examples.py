"""What reproduction notebooks call: example pairs, fused examples, lines of words."""

import dataclasses

import pandas as pd
import pytest
import torch

from fusionkit import examples, pages, paths, profiles
from fusionkit.data import load_pair
from fusionkit.errors import FusionkitError
from fusionkit.examples import describe_scores, example_scores, fuse_examples, one_sided_pairs
from fusionkit.figures.bubble import own_bubble
from fusionkit.figures.comparison import comparison_data
from fusionkit.files import sha256
from fusionkit.measure import load_measurement
from fusionkit.models import MODELS
from fusionkit.papers import get_panel
from fusionkit.profiles import example_pairs, phantom_of
from fusionkit.released import list_released
from fusionkit.tables import build, column_ranges, readings_frame, verdict_line
from fusionkit.weights import list_weights


@pytest.fixture(scope="module")
def pairs():
    return [load_pair("phantom_pet_mri", "test", name) for name in ("000", "003")]


def test_smoke_looks_at_phantoms_of_the_same_task_and_says_so():
    pairs, note = example_pairs("harvard_spect_mri", "test", 2, "smoke")
    assert [pair.dataset for pair in pairs] == ["phantom_spect_mri"] * 2
    assert "in place of harvard_spect_mri/test" in note
    assert "smoke" in note
    assert phantom_of("roadscene") == "phantom_ir_vis"


def test_absent_data_falls_back_to_phantoms(monkeypatch):
    monkeypatch.setattr(profiles, "present", lambda *_: False)
    pairs, note = example_pairs("harvard_ct_mri", "test", 1, "standard")
    assert pairs[0].dataset == "phantom_ct_mri"
    assert "not here" in note


def test_real_pairs_are_spread_over_the_split(real_data):
    pairs, note = example_pairs("harvard_ct_mri", "test", 3, "standard")
    assert [pair.name for pair in pairs] == ["14.png", "21.png", "28.png"]
    assert "real pairs of harvard_ct_mri/test (14, 21, 28)" in note


def test_more_examples_than_pairs_gives_each_pair_once():
    pairs, _ = example_pairs("harvard_ct_mri", "test", 99, "smoke")
    assert len({pair.name for pair in pairs}) == len(pairs) == 8


def test_one_sided_pairs_are_led_by_the_asked_modality():
    first, note = one_sided_pairs("roadscene", "test_s4fusion67", 2, "first", "smoke")
    second, _ = one_sided_pairs("roadscene", "test_s4fusion67", 2, "second", "smoke")
    leads = [examples._lead_of_first(pair) for pair in (*second, *reversed(first))]
    assert leads == sorted(leads)
    assert "The 2 of 8 drawn phantoms of phantom_ir_vis/test in which the first modality leads most" in note
    with pytest.raises(FusionkitError, match="did you mean first"):
        one_sided_pairs("roadscene", "test_s4fusion67", 2, "frist", "smoke")


def test_unknown_profile():
    with pytest.raises(FusionkitError, match="smok"):
        example_pairs("harvard_ct_mri", "test", 1, "smoky")


def test_missing_weights_leave_a_column_out(pairs):
    fused, note = fuse_examples(pairs, {"network": "lightfusionnet:nothing"}, "lightfusionnet", "smoke")
    assert list(fused) == ["average", "maximum"]
    assert "network, of which no weights are here yet" in note
    assert "floor" in note
    assert "no trained network" in describe_scores(example_scores(pairs, fused, "lightfusionnet"))


def test_the_floor_has_the_lowest_loss(pairs, monkeypatch):
    monkeypatch.setitem(examples.FLOOR_STEPS, profiles.Profile.STANDARD, 70)
    part = dataclasses.replace(pairs[0], a=pairs[0].a[:, 96:160, 96:160], b=pairs[0].b[:, 96:160, 96:160])
    fused, note = fuse_examples([part], {}, "lightfusionnet", "standard")
    assert note == "Nothing is left out."
    scores = example_scores([part], fused, "lightfusionnet")
    assert scores["loss"].idxmin() == "floor (70 steps)"
    weighted = 20 * scores["intensity_max"] + 100 * scores["gradient_max"] + 50 * scores["ssim_to_sources"]
    torch.testing.assert_close(torch.tensor(weighted.values), torch.tensor(scores["loss"].values))


def test_words_say_which_plain_rules_a_network_beats():
    scores = pd.DataFrame({"loss": [39.0, 17.6, 16.0, 21.3, 50.2, 14.5]})
    scores.index = ["average", "maximum", "good", "fair", "poor", "floor (9 steps)"]
    text = describe_scores(scores)
    assert "good beats both plain rules" in text
    assert "fair beats the average but not the maximum" in text
    assert "poor beats neither plain rule" in text
    assert "floor (9 steps) beats" not in text


def test_compared_numbers_are_those_of_quality_columns():
    frame = comparison_data(build("lightfusionnet/table1a", measured()))
    assert set(frame["column"]) == {"SF", "AG", "SCD", "CC"}
    assert "CMTFusion" in set(frame["method"])
    assert frame.query("method == 'U2Fusion' and column == 'SF'")["published"].item() == 5.28
    assert frame.query("method == 'LightFusionNet' and column == 'SF'")["measured"].item() == 7.5


def test_second_readings_keep_a_line_of_their_own():
    values = measured()["lightfusionnet:pet_mri"]
    frame = comparison_data(build("lightfusionnet/table5", {"lightfusionnet:pet_mri-v20_50_50": values}))
    label = "SSIM 20, Gradient 50, Intensity 50"
    assert {label, f"{label} (relabelled)"} < set(frame["method"])
    assert frame["measured"].notna().sum() == 4


def test_lines_of_words():
    table = build("lightfusionnet/table1a")
    assert "not measured" in verdict_line([table, table])
    assert "harvard_pet_mri/test" in pages.table_provenance(table)
    assert "CMTFusion" in pages.table_html(table).data
    assert pages.table_provenance(build("fusionmamba/table1")).startswith("fusionkit ")
    pair = load_pair("phantom_ct_mri", "test", "001")
    assert "phantom_ct_mri/test/001" in pages.figure_provenance([pair], ["average", "lightfusionnet:nothing"])


def test_a_figure_names_the_release_behind_its_weights(golden, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_WEIGHTS", str(golden / "baselines" / "weights"))
    pair = load_pair("phantom_ct_mri", "test", "001")
    line = pages.figure_provenance([pair, pair], ["average", "u2fusion", "u2fusion:medical"])
    release = list_released("u2fusion")["ir_vis"]
    origin = f"from hanna-xu/U2Fusion at {MODELS['u2fusion'].published.commit} {release.digest[:12]}"
    assert line.endswith(f"phantom_ct_mri/test/001 | u2fusion:ir_vis {origin} | u2fusion:medical {origin}")
    monkeypatch.setenv("FUSIONKIT_WEIGHTS", str(golden / "nothing"))
    assert pages.figure_provenance([pair], ["u2fusion"]).endswith("phantom_ct_mri/test/001")


def test_a_figure_names_released_images_and_our_own_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data_dir", lambda: tmp_path)
    folder = tmp_path / "published_fusions" / "phantom_ct_mri" / "Mine"
    folder.mkdir(parents=True)
    (folder / "001.png").write_bytes(b"an image")
    pair = load_pair("phantom_ct_mri", "test", "001")
    line = pages.figure_provenance([pair], ["published:Mine", "published:Other", "lightfusionnet:pet_mri"])
    own = sha256(list_weights("lightfusionnet")["pet_mri"])[:12]
    assert line.endswith(f" | lightfusionnet:pet_mri {own}")
    before = line.split(" | ")[2]
    assert before.startswith("published:Mine ")
    assert "Other" not in line
    (folder / "001.png").write_bytes(b"another image")
    assert before not in pages.figure_provenance([pair], ["published:Mine"])


def test_contents_lead_to_notebooks_that_exist(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.paths, "notebooks_dir", lambda: tmp_path)
    name = pages.stops()[1].notebook
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("{}")
    assert pages.contents_markdown().count("](") == 1
    assert name in pages.contents_markdown()


def test_columns_under_two_readings_stand_side_by_side():
    tables = [build(f"lightfusionnet/{panel}", measured()) for panel in ("table1a", "table2b")]
    frame = readings_frame(tables).set_index(["table", "column"])
    assert len(frame) == 6
    assert frame.loc[("table1a", "SF"), "measured as printed"] == 7.5
    assert frame.loc[("table1a", "SF"), "measured otherwise"] == 27.0
    assert frame.loc[("table2b", "SCD"), "measured as printed"] == 1.2
    assert frame.loc[("table2b", "SCD"), "which is"] == "2 x cc, cddfuse"


def test_column_ranges_cover_all_rows():
    ranges = column_ranges([build("lightfusionnet/table1a", measured())], "CC").iloc[0]
    assert ranges["printed, lowest"] == 0.59
    assert ranges["printed, highest"] == 0.65
    assert ranges["measured, lowest"] == ranges["measured, highest"] == 0.6


def measured():
    values = {"sf@cddfuse-uint8": 7.5, "sf@cddfuse": 27.0, "ag@cddfuse-uint8": 2.5, "ag@cddfuse": 7.0}
    values |= {"cc@cddfuse": 0.6, "scd@cddfuse": 1.7}
    return {"lightfusionnet:pet_mri": pd.DataFrame(values, index=["1", "2"])}


def test_own_bubble_is_empty_without_a_measurement():
    panel = get_panel("lightfusionnet/table1a")
    assert own_bubble("lightfusionnet:nothing", panel, "x").empty
    if load_measurement("lightfusionnet:pet_mri", "harvard_pet_mri", "test"):
        row = own_bubble("lightfusionnet:pet_mri", panel, "x").iloc[0]
        assert row["parameters_m"] == 0.004119
        assert row["seconds"] > 0
