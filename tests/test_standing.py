"""Where measured rows stand, and the networks behind them."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from fusionkit import FusionkitError
from fusionkit.measure import Measurement
from fusionkit.papers import Claim, Column, Panel, Row
from fusionkit.tables import build, networks, standing
from fusionkit.tables.networks import describe_shares, panel_shares, training_cards
from fusionkit.tables.standing import (
    against_rules,
    describe_places,
    measured_means,
    on_other_pairs,
    places,
    printed_places,
    row_order,
    rows_side_by_side,
)
from fusionkit.yardstick import yardstick

COLUMNS = {
    "SF": Column("SF", "higher", metric="sf", convention="tang", scale=2.0),
    "RMSE": Column("RMSE", "lower", metric="rmse", convention="tang"),
    "Time": Column("Time", "lower", cost="seconds", not_measured="another machine"),
}
PRINTED = {"w/o A": ("8", "3", "1"), "w/o B": ("9", "1", "1"), "Ours": ("10", "2", "1")}
METHODS = {"w/o A": "net:a", "w/o B": "net:b", "Ours": "net:x"}


def values(sf, rmse, loss=1.0, pairs=4):
    names = [str(i) for i in range(pairs)]
    shift = pd.Series(range(pairs), names) * 1e-3
    return pd.DataFrame(
        {"sf@tang": sf + shift, "rmse@tang": rmse - shift, "loss:net:total": loss + shift - shift.mean()}
    )


@pytest.fixture
def panel():
    published = pd.DataFrame.from_dict(PRINTED, orient="index", columns=list(COLUMNS))
    rows = {label: Row(label, method=method) for label, method in METHODS.items()}
    return Panel("net", "table7", "table7", "", published, COLUMNS, rows, "tno", "test")


def test_ranks_in_print_and_as_measured(panel):
    order = row_order(build(panel, {"net:a": values(6, 2), "net:x": values(5, 1)}))
    assert order["SF"].to_dict() == {"w/o A": "3 → 1", "w/o B": "2 → ·", "Ours": "1 → 2"}
    assert order["RMSE"].to_dict() == {"w/o A": "3 → 2", "w/o B": "1 → ·", "Ours": "2 → 1"}
    assert "Time" not in order


def test_places_of_the_network_and_its_seeds_leave_its_printed_row_out(panel):
    own = values(4.3, 2.5)
    found = places(build(panel, {"net:x": own, "net:x-seed1": own, "average": values(1, 0.5)}), "Ours")
    assert found.loc["Ours"].to_dict() == {"SF": "2 of 3", "RMSE": "2 of 3"}
    assert found.loc["net:x-seed1"].equals(found.loc["Ours"])
    assert found.loc["average"].to_dict() == {"SF": "4 of 4", "RMSE": "1 of 4"}
    assert describe_places(found) == "Ahead of every printed row: the average in RMSE."


def test_printed_places_count_from_the_best_and_ties_share_one(panel):
    found = printed_places(build(panel, {}))
    assert found["SF"].to_dict() == {"w/o A": 3, "w/o B": 2, "Ours": 1}
    assert found["RMSE"].to_dict() == {"w/o A": 3, "w/o B": 1, "Ours": 2}
    assert found["Time"].to_dict() == {"w/o A": 1, "w/o B": 1, "Ours": 1}


def test_means_on_other_pairs_are_those_on_record(panel, monkeypatch):
    on_file = {"net:a": values(6, 2), "maximum": values(1, 9)}
    monkeypatch.setattr(standing, "panel_methods", lambda _: ["net:a", "net:b", "maximum"])
    monkeypatch.setattr(
        standing,
        "load_measurement",
        lambda method, *where: Measurement(method, *where, on_file[method], {}) if method in on_file else None,
    )
    found = measured_means(build(panel, {}), "vifb", "test")
    assert list(found.index) == ["net:a", "maximum"] and found.index.name == "on vifb/test"
    assert found.loc["net:a", "SF"] == pytest.approx(2 * on_file["net:a"]["sf@tang"].mean())
    assert found.loc["maximum", "RMSE"] == pytest.approx(on_file["maximum"]["rmse@tang"].mean())


def test_claims_and_order_on_other_pairs(panel, monkeypatch):
    claim = Claim("the best", "best", "SF", "Ours")
    on_file = {
        "tno": {"net:a": values(3, 2), "net:b": values(4, 2), "net:x": values(5, 1)},
        "vifb": {"net:a": values(9, 2, pairs=3), "net:b": values(4, 2, pairs=3), "net:x": values(2, 1, pairs=3)},
        "msrs": {},
    }
    monkeypatch.setattr(standing, "recorded", lambda panel: on_file[panel.dataset])
    lines = on_other_pairs(build(replace(panel, claims=(claim,)), on_file["tno"]), [("vifb", "test"), ("msrs", "test")])
    assert list(lines.index) == ["tno/test", "vifb/test"]
    assert lines["pairs"].to_list() == [4, 3]
    assert lines["holds"].to_list() == [1, 0] and lines["fails"].to_list() == [0, 1]
    assert lines["tau SF"].to_list() == [1, -1] and "tau Time" not in lines


@pytest.mark.parametrize("number", range(2, 7))
def test_all_columns_of_diffmfs_ablated_networks_are_on_record_on_other_pairs(number):
    others = [("roadscene", "test_s4fusion67"), ("tno", "test"), ("vifb", "test"), ("msrs", "test")]
    lines = on_other_pairs(build(f"diffmf/table{number}"), others)
    assert list(lines.index) == ["m3fd/sample", *("/".join(where) for where in others)]
    assert lines[["holds", "fails", "undecided"]].sum(axis=1).nunique() == 1
    assert lines.notna().all(axis=None)


def test_places_without_measurements(panel):
    found = places(build(panel, {}), "Ours")
    assert found.empty and "not measured yet" in describe_places(found)
    only = places(build(panel, {"maximum": values(1, 9)}), "Ours")
    assert describe_places(only) == "Ahead of every printed row: no plain rule in any column."


def test_differences_from_plain_rules_respect_direction_and_scale(panel):
    measured = {"net:x": values(5, 2), "average": values(4, 1), "maximum": values(5, 2)}
    found = against_rules(build(panel, measured), "Ours", measured)
    assert found.loc["SF"].to_dict() == {"average": "better (+2)", "maximum": "tie (+0)"}
    assert found.loc["RMSE"].to_dict() == {"average": "worse (+1)", "maximum": "tie (+0)"}


def test_differences_that_seeds_make_too_are_unclear(panel):
    measured = {"net:x": values(5, 2), "average": values(4, 1.9), "maximum": values(3, 3)}
    measured["net:x-seed1"] = values(3.5, 2)
    found = against_rules(build(panel, measured), "Ours", measured)
    assert found.loc["SF", "average"].startswith("unclear") and found.loc["SF", "maximum"].startswith("better")


def test_without_rules_nothing_is_compared_and_an_unknown_row_is_refused(panel):
    table = build(panel, {})
    assert against_rules(table, "Ours", {"net:x": values(1, 1)}).empty
    with pytest.raises(FusionkitError, match="row of net/table7 'Our'; did you mean Ours"):
        against_rules(table, "Our", {})


def test_shares_of_a_panel_are_those_of_its_methods(panel, monkeypatch):
    losses = {"average": 2.0, "maximum": 3.0, "net:x": 1.2, "oracle_net": 1.0}
    measured = {method: values(1, 1, loss) for method, loss in losses.items()}
    monkeypatch.setattr(networks, "recorded", lambda asked: measured if asked is panel else {})
    shares = panel_shares(panel)
    assert shares["total"].round(2).to_dict() == {"average": 2.0, "maximum": 3.0, "net:x": 1.2, "oracle_net": 1.0}
    assert shares.loc["net:x", "share"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (1.2, "below both plain rules; 80% [80%, 80%] of the way from the average to the floor, at least half"),
        (1.8, "below both plain rules; 20% [20%, 20%] of the way from the average to the floor, less than half"),
        (2.5, "not below the plain average; -50% [-50%, -50%]"),
    ],
)
def test_words_on_shares(loss, words):
    losses = {"average": 2.0, "maximum": 3.0, "net:x": loss, "oracle_net": 1.0}
    table = yardstick("tno", "test", "net", {method: values(1, 1, value) for method, value in losses.items()})
    assert f"net:x: {loss:.3f}, {words}" in describe_shares(table)


def test_words_without_networks_or_floor():
    plain = {method: values(1, 1, 2.0) for method in ("average", "maximum")}
    assert "not all measured" in describe_shares(yardstick("tno", "test", "net", plain))
    floor = plain | {"oracle_net": values(1, 1, 1.0)}
    assert "No network is measured yet." in describe_shares(yardstick("tno", "test", "net", floor))


def test_cards_say_how_networks_were_trained(panel, tmp_path, monkeypatch):
    recipe = {"data": ["roadscene/train"], "batch": 8, "crop": 64, "seed": 1, "options": {"size": "tiny"}}
    recipe |= {"loss": "fusionmamba", "loss_weights": {"gradient_max": 0}}
    card = {"parameters": 7, "pairs": 147, "steps": 100, "seconds": 90.0, "recipe": recipe}
    card |= {"last_epoch": {"total": 2.3456}}
    (tmp_path / "x.json").write_text(json.dumps(card))
    monkeypatch.setattr(networks, "panel_methods", lambda _: ["net:x", "net:b", "average"])
    monkeypatch.setattr(
        networks, "list_weights", lambda name: {"x": tmp_path / "x.safetensors"} if name == "net" else {}
    )
    cards = training_cards(panel)
    assert cards.index.tolist() == ["net:x"]
    expected = [7, "roadscene/train", 147, 100, 8, 64, 1, "size = tiny", "fusionmamba, gradient_max = 0", 2.346, 1.5]
    assert cards.loc["net:x"].tolist() == expected


def test_printed_rows_side_by_side(panel):
    table = build(panel, {})
    found = rows_side_by_side([table, table], "Ours")
    assert found.iloc[0].to_dict() == {"SF": "10", "RMSE": "2", "Time": "1"}
    with pytest.raises(FusionkitError, match="row of net/table7 'Theirs'"):
        rows_side_by_side([table], "Theirs")
