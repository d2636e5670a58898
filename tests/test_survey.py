"""Surveys of published images and the audits that stand on them, with small made-up data."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fusionkit import FusionkitError, paths, survey
from fusionkit.audits import conventions, noise, survival
from fusionkit.audits.convention_figures import agreement_figure, reach_figure
from fusionkit.data.pairs import load_pair
from fusionkit.metrics import METRICS, get_metric
from fusionkit.papers import get_panel


def values(**columns):
    return pd.DataFrame({name.replace("__", "@"): column for name, column in columns.items()}, dtype=float)


@pytest.fixture
def released(tmp_path, monkeypatch):
    """Two of three TNO-like pairs with released images; results go to a folder of their own."""
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path / "results")
    random = np.random.default_rng(0)
    for place in ("tno21_256/ir", "tno21_256/vi", "tno21_256/IFT"):
        folder = tmp_path / "data" / "published_fusions" / place
        folder.mkdir(parents=True)
        for name in ("1.png", "2.png", "3.png")[: 2 if place.endswith("IFT") else 3]:
            Image.fromarray(random.integers(0, 256, (48, 50), dtype=np.uint8)).save(folder / name)
    monkeypatch.setattr(survey, "split_names", lambda *_: ["1.png", "2.png", "3.png"])
    monkeypatch.setattr(survey, "dataset_hash", lambda *_: "hash of the sources")
    return tmp_path


def test_survey_measures_everything_and_keeps_it(released, monkeypatch):
    done = survey.survey("published:IFT", "tno21_256", "test")
    assert done.values.index.tolist() == ["1.png", "2.png"]
    expected = {f"{m.name}@{c}" for m in METRICS.values() for c in m.variants if m.smallest(c) <= 48}
    assert set(done.values.columns) == expected
    monkeypatch.setattr(survey, "score_folders", lambda *_, **__: pytest.fail("measured again"))
    again = survey.survey("published:IFT", "tno21_256", "test")
    pd.testing.assert_frame_equal(again.values, done.values, rtol=1e-11)
    assert list(survey.load_surveys("tno21_256", "test")) == ["published:IFT"]
    assert "key" in survey.survey_provenance([("published:IFT", "tno21_256"), ("published:none", "tno21_256")])


def test_survey_notices_other_images(released):
    first = survey.survey("published:IFT", "tno21_256", "test")
    Image.new("L", (50, 48), 7).save(released / "data" / "published_fusions" / "tno21_256" / "IFT" / "2.png")
    second = survey.survey("published:IFT", "tno21_256", "test")
    assert first.provenance["key"] != second.provenance["key"]
    assert second.values.loc["2.png", "en@tang"] == 0


def test_missing_folder_of_published_images(released):
    with pytest.raises(FusionkitError, match="no published images"):
        survey.survey("published:SDNet", "tno21_256", "test")


def test_candidates_find_the_convention():
    measured = values(vif__tang=[0.6, 0.67], vif__tang2022=[0.8, 0.9], sf__tang=[11.0, 11.1], cc__tang=[0.4, 0.5])
    found = conventions.candidates({"vif": "0.635", "sf": "11.05", "scd": "0.90"}, measured)
    best = found.groupby("metric", sort=False).first()
    assert best["convention"].tolist() == ["tang"] * 3
    assert best.loc["scd", ["candidate", "factor"]].tolist() == ["cc", 2.0]
    ranks = conventions.rank_conventions(found)
    assert ranks.index[0] == "tang"
    assert ranks.loc["tang", "to the digit"] == 2
    assert "tang gives 2 of 2" in conventions.convention_verdict(found, "row")
    agreement_figure(found, "title")


def test_reach_prefers_ranges_that_hold_the_printed_values():
    panel = get_panel("lightfusionnet/table1a")
    printed = conventions.printed_column(panel, "SF")
    low, high = printed.min(), printed.max()
    surveys = {
        "average": values(**{"sf__cddfuse-uint8": [low, low], "sf__cddfuse": [4 * high, 5 * high]}),
        "maximum": values(**{"sf__cddfuse-uint8": [high, high], "sf__cddfuse": [5 * high, 6 * high]}),
    }
    table = conventions.reach(panel, surveys)
    rows = table[table["column"] == "SF"].set_index("convention")
    assert rows.loc["cddfuse-uint8", "within reach"] == 1
    assert rows.loc["cddfuse", "within reach"] == 0
    assert "sf@cddfuse-uint8 100%" in conventions.reach_verdict(table, "panel")
    reach_figure({"panel": table}, ["SF"])


def surveyed():
    """Three methods: the order under uint8 arithmetic is the reverse of the right one."""
    random = np.random.default_rng(0)
    noise_ = random.normal(0, 0.01, 30)
    return {
        name: values(
            **{
                "sf__cddfuse": place + noise_,
                "sf__cddfuse-uint8": -place + noise_,
                "sf__reference": place + noise_,
                "nabf__tang": -place + noise_,
                "nabf__reference": -place + noise_,
            }
        )  # fmt: skip
        for place, name in enumerate(("low", "middle", "high"))
    }


def test_best_methods_and_clear_flips():
    table = survival.best_methods(surveyed())
    assert table.loc["sf", "cddfuse"] == "high"
    assert table.loc["sf", "cddfuse-uint8"] == "low"
    assert table.loc["sf", "different"] == 2
    assert table.loc["sf", "clear"]
    assert table.loc["nabf", "tang"] == "high", "lower is better there"
    assert table.loc["nabf", "different"] == 1


def test_rank_correlations_and_verdict():
    taus = survival.rank_correlations(surveyed())
    assert taus.iloc[0]["tau"] == -1
    assert taus.iloc[-1]["tau"] == 1
    verdict = survival.survival_verdict(surveyed(), "Test")
    assert "1 (sf)" in verdict
    assert "tau -1.00" in verdict
    assert survival.metric_correlations(surveyed()).loc["sf", "nabf"] == pytest.approx(1)
    survival.bump_figure(surveyed(), ["sf"], "title")
    survival.correlation_figure(survival.metric_correlations(surveyed()), "title")


def test_undefined_values_leave_a_pair_out_for_all():
    found = surveyed()
    found["low"].loc[0, "sf@cddfuse"] = np.nan
    means = survival.mean_scores(found)
    assert means.loc["sf@cddfuse", "high"] == pytest.approx(found["high"]["sf@cddfuse"][1:].mean())


def test_versions_are_what_they_say():
    pair = load_pair("phantom_ir_vis", "test", "000")
    images = noise.versions(pair)
    assert torch.equal(images["first source"], (255 * pair.a).round().byte())
    assert all(image.dtype == torch.uint8 for image in images.values())
    assert images[noise.SPOILT[2]].min() == 0
    assert images[noise.SPOILT[2]].max() == 255
    assert torch.equal(noise.versions(pair)[noise.NOTHING], images[noise.NOTHING])


def test_noise_wins_where_only_the_fused_image_counts():
    scores, note = noise.version_scores("tno", "smoke")
    assert "phantom" in note
    table = noise.reward_table(scores)
    assert table.loc["sf", noise.SPOILT[0]] == 1
    assert table.loc["ag", noise.NOTHING] == 1
    assert table.loc["mse", noise.NOTHING] == 0
    ranks = noise.version_ranks(scores)
    assert ranks.loc["sf", noise.NOTHING] == 1
    assert "sf" in noise.noise_verdict(scores, note)
    noise.ranks_figure(ranks, "title")
    noise.versions_figure(load_pair("phantom_ir_vis", "test", "000"), "title")


def test_rounding_is_no_improvement():
    index = pd.MultiIndex.from_product([["p"], [noise.SPOILT[2], noise.BASE]], names=["pair", "version"])
    scores = pd.DataFrame({"cc": [0.50001, 0.5], "q_sf": [0.3, -0.2]}, index=index)
    table = noise.beats(scores, noise.SPOILT[2], noise.BASE)
    assert table["cc"] == 0
    assert table["q_sf"] == 0, "zero is best"


def test_gain_turns_values():
    assert get_metric("sf").gain(2) == 2
    assert get_metric("mse").gain(2) == -2
    assert get_metric("q_sf").gain(-3) == -3
    assert get_metric("q_sf").gain(3) == -3
