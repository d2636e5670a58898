"""Audits: overlap and its effect, cost bounds, yardstick words, contradictions, wrap-around."""

import numpy as np
import pandas as pd
import pytest
import torch

from fusionkit.audits import background, columns, costs, floor, leak_figures, leaks, record
from fusionkit.data import load_pair
from fusionkit.data.registry import split_names
from fusionkit.papers import get_panel

SPECT = "harvard_spect_mri"
LABELS = ("en", "sd", "mi", "cc", "scd", "sf", "ag")


def values(dataset, shift=0.0, seed=0):
    """Per-image values of all quantities of Table 1 on a test split, moved by a share of 1."""
    names = split_names(dataset, "test")
    noise = np.random.default_rng(seed).normal(0, 0.01, len(names))
    frame = {f"{name}@cddfuse": 4 + shift + noise for name in LABELS}
    frame |= {f"{name}@cddfuse-uint8": 2 + shift + noise for name in ("sf", "ag")}
    frame |= {"loss:lightfusionnet:total": 20 - shift + noise}
    return pd.DataFrame(frame, index=names)


def test_lists_say_which_pairs_are_in_training():
    counts = leaks.overlap_counts([leaks.find_overlap(d, "smoke") for d in columns.RUNS])
    assert counts["in training"].to_dict() == {"harvard_pet_mri": 0, SPECT: 56, "harvard_ct_mri": 21}
    assert counts["test pairs"].to_dict() == {"harvard_pet_mri": 42, SPECT: 73, "harvard_ct_mri": 21}


def test_pixels_say_it_too(real_data):
    found = leaks.find_overlap("harvard_ct_mri", "standard")
    assert found.compared and {key: len(names) for key, names in found.groups.items()} == {"pair": 21}
    assert leaks.nearest_of(found)["lowest r"].min() > 0.995


def test_leak_effects_and_excess():
    found = leaks.find_overlap(SPECT, "smoke")
    clean, leaky = values(SPECT), values(SPECT, 0.1, seed=1)
    leaky.loc[found.groups["listed"]] += 0.5
    measured = {"spect_mri": leaky, "spect_mri-leakfree": clean, "spect_mri-seed1": leaky + 0.2}
    effects = leaks.leak_effects(found, measured)
    assert list(effects["group"].unique()) == ["all", "listed", "no"]
    en = effects[effects["column"] == "EN"].set_index("group")
    assert en.at["no", "difference"] == pytest.approx(0.1, abs=0.01)
    assert en.at["listed", "low"] < 0.6 < en.at["listed", "high"] + 0.01
    assert en.at["all", "seeds_percent"] == pytest.approx(100 * 0.2 / leaky["en@cddfuse"].mean())
    more = leaks.excess(found, measured)
    assert more.at["EN", "excess"] == pytest.approx(0.5, abs=0.01) and more.at["EN", "low"] > 0.4
    words = leaks.leak_verdict(found, measured)
    assert "56 of 73 test pairs" in words and "7 of 7 columns" in words and "another seed" in words
    assert len(leak_figures.leak_chart({"SPECT-MRI": effects}).axes) == 1


def test_leak_without_measurements():
    found = leaks.find_overlap(SPECT, "smoke")
    assert leaks.leak_effects(found, {}).empty and leaks.excess(found, {}).empty
    assert "not measured yet" in leaks.leak_verdict(found, {})
    assert leak_figures.leak_chart({"x": pd.DataFrame()}).texts


def test_planted_copy_is_closer_than_another_phantom():
    again, _, other, _ = leak_figures.planted_rows()
    assert again.correlation > 0.995 > other.correlation
    assert again.difference.max() < 10


def test_u2fusion_settles_the_convention():
    assert costs.stack_cost(costs.U2FUSION) == {"weights": 658_728, "biases": 489}
    assert costs.u2fusion_evidence()["matches"].tolist() == [True, False, False, True]


def test_costs_of_variants():
    table = costs.variant_costs()
    assert len(table) == 9 and table.at["Ours (C = 16, R = 4)", "parameters"] == 4119
    assert table.at["C = 32", "parameters"] == 13_335 and table.at["D/W → Conv", "parameters"] == 9969
    assert (table["flops"] == 2 * table["macs"]).all()
    fits = costs.convention_fit(table)
    assert fits["cells matched"].idxmax() == "thop"
    assert not costs.steps()["possible"].any()
    assert "C = 8, C = 32, R = 8" in costs.cost_verdict()


def yardstick_values(**totals):
    names = [f"{i}" for i in range(12)]
    noise = np.random.default_rng(0).normal(0, 0.05, len(names))
    terms = ("intensity_max", "gradient_max", "ssim_to_sources", "total")
    frames = {}
    for method, total in totals.items():
        frame = values("harvard_pet_mri").iloc[: len(names)].set_axis(names)
        frames[method] = frame.assign(**{f"loss:lightfusionnet:{term}": total + noise for term in terms})
    return {key.replace("net_", "lightfusionnet:"): frame for key, frame in frames.items()}


def test_beyond_the_protocol():
    measured = yardstick_values(average=30.0, maximum=20.0, oracle_lightfusionnet=10.0, net_pet_mri=40.0)
    measured["lightfusionnet:pet_mri-lr1e3"] = measured["maximum"] - 5
    table = floor.beyond_protocol(measured)
    assert list(table.index) == list(floor.BEYOND)
    assert table.at["pet_mri", "share"] == pytest.approx(-2) and table.at["pet_mri-lr1e3", "share"] == pytest.approx(
        0.5
    )
    assert table.at["pet_mri-c32", "parameters"] == 13_335 and np.isnan(table.at["pet_mri-c32", "share"])
    words = floor.beyond_verdict(table)
    assert "1 of 2 beat" in words and "Not measured yet: pet_mri-c32, pet_mri-long" in words


def test_metrics_of_the_floor():
    measured = yardstick_values(average=30.0, maximum=20.0, oracle_lightfusionnet=10.0)
    measured["oracle_lightfusionnet"] = measured["oracle_lightfusionnet"].assign(
        **{"en@cddfuse": 6.0, "sd@cddfuse": 1.0}
    )
    table = floor.floor_in_metrics("harvard_pet_mri", measured)
    assert table.at["EN", "against maximum"] == "better" and table.at["SD", "against maximum"] == "worse"
    assert table.at["EN", "place"] == "1 of 3" and table.at["EN", "printed place"] == "2 of 12"
    assert table.at["loss", "against maximum"] == "better" and table.at["loss", "printed place"] == ""
    assert "network" not in floor.profile_table(table).index
    assert "Only in part" in floor.metric_verdict({"PET-MRI": table, "CT-MRI": pd.DataFrame()})


def test_yardstick_words():
    table = pd.DataFrame(
        {"total": [30.0, 20.0, 25.0, 10.0], "share": [np.nan, np.nan, -0.5, np.nan]},
        index=["average", "maximum", "pet_mri", "oracle_lightfusionnet"],
    )
    assert "0 of 1 networks" in floor.yardstick_verdict({"PET-MRI": table})
    assert "-50%" in floor.yardstick_verdict({"PET-MRI": table})
    assert "not measured yet" in floor.yardstick_verdict({})


def test_background_of_a_grey_image():
    pair = load_pair("phantom_pet_mri", "test", split_names("phantom_pet_mri", "test")[0])
    region = background.black(pair)
    assert 0.3 < float(region.float().mean()) < 0.7
    grey = torch.full_like(pair.a, 0.1)
    found = background._levels(pair, grey)
    assert found["grey level"] == pytest.approx(25.5) and found["EN"] == 0 < found["EN painted"]
    assert (background.painted(pair, grey)[region] == 0).all()
    assert (background.painted(pair, grey)[~region] == grey[~region]).all()


def test_background_of_the_committed_networks():
    levels, notes = background.background_levels("smoke")
    assert {"pet_mri", "spect_mri"} <= set(levels.index) and "phantom" in notes[0]
    assert "PET-MRI: where both sources are black" in background.background_verdict(levels)


def test_claims_that_fail_as_printed():
    failing, total = record.failing_claims()
    assert total > 100 and {"table1a", "table3", "table5"} <= set(failing["table"])
    row = failing[failing["table"] == "table3"].iloc[0]
    assert (row["printed"], row["against"]) == (59.22, 61.35)


def test_one_configuration_has_two_values():
    distinct = record.one_configuration().loc["different values"]
    assert set(distinct.index[distinct.astype(int) > 1]) == {"EN", "MI", "CC"}


def test_scd_is_twice_cc_in_59_of_60_rows():
    table = record.scd_ratio()
    main = table["table"].isin(record.COMPARISONS)
    assert (main.sum(), table["agree"][main].sum()) == (60, 59)
    assert ((~main).sum(), table["agree"][~main].sum()) == (18, 10)


def test_times_and_repeated_values():
    times = record.time_spread()
    assert len(times) == 24
    assert times[times["method"] == "Ours"]["percent"].round(1).tolist() == [-5.3, 9.4]
    assert record.repeated_values()["SD"].unique().tolist() == [87.38]
    assert "59 of 60" in record.record_verdict()


def test_wrapped_measures_do_not_follow_blur():
    pair, what = record.sharpness_pair("smoke")
    curve = record.blur_curve(pair, (0.0, 0.5, 1.0, 1.5, 2.0))
    table = record.monotone(curve)
    assert table.loc[["SF right", "AG right"], "falls with every step"].all()
    assert not table.at["SF wrapped", "falls with every step"]
    assert "phantom" in what and "SF wrapped" in record.wrap_verdict(curve, what)
    assert len(record.blur_figure(pair, curve).axes) == 0 or record.blur_figure(pair, curve).subfigs


def test_columns_follow_the_panel():
    panel = get_panel("lightfusionnet/table1b")
    table = columns.measured_columns(panel, values(SPECT))
    assert {"EN", "SF", "SF [correct]", "SCD", "SCD [true scd]", "loss"} <= set(table)
    assert table["SCD"].iloc[0] == pytest.approx(2 * table["CC"].iloc[0])
    assert columns.printed_column(panel, "EN")[columns.OURS] == 3.79
    assert columns.provenance_line([("nothing", "harvard_ct_mri")]).startswith("fusionkit ")
