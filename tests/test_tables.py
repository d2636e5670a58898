"""Tables from synthetic records and measurements: verdicts, claims, intervals, order, rendering."""

import io
import math

import numpy as np
import pandas as pd
import pytest

from fusionkit.errors import FusionkitError
from fusionkit.intervals import difference_interval, mean_interval, ratio_interval
from fusionkit.papers import Claim, Column, Panel, Reading, Row, get_panel, list_papers, load_paper
from fusionkit.tables import FORMATS, build, counts, render, summarise, to_frame
from fusionkit.tables import claims as c
from fusionkit.tables.cells import CLOSE, DIFFERS, MATCH, NOT_MEASURED, judge, printed_decimals, printed_number
from fusionkit.tables.summary import exclusions, reasons

PANELS = [f"{paper}/{panel.id}" for paper in list_papers() for panel in load_paper(paper).panels]
PAIRS = [f"{i:02d}" for i in range(30)]


def frame(**quantities):
    """Per-image values around the given means, the same deviations for all: paired differences are sharp."""
    noise = np.random.default_rng(3).normal(0, 0.1, len(PAIRS))
    noise -= noise.mean()
    return pd.DataFrame({f"{name}@cddfuse": mean + noise for name, mean in quantities.items()}, index=PAIRS)


def panel(cells, rows=None, columns=None, claims=()):
    """A panel with columns out of EN, SF and Cost and rows whose methods are named m:<label>."""
    published = pd.DataFrame.from_dict(cells, orient="index").fillna("")
    known = {
        "EN": Column("EN", "higher", "en", "cddfuse"),
        "SF": Column("SF", "lower", "sf", "cddfuse", scale=2, also=(Reading("sf", "tang"),)),
        **(columns or {}),
    }
    rows = {label: Row(label, method=f"m:{label}") for label in cells} | (rows or {})
    return Panel(
        "lightfusionnet",
        "test",
        "test",
        "a caption",
        published,
        {name: known[name] for name in published.columns},
        rows,
        "harvard_pet_mri",
        "test",
        claims=tuple(claims),
    )


def outcome(table):
    (only,) = table.outcomes
    return only.published.verdict, only.measured.verdict


@pytest.mark.parametrize(
    ("printed", "decimals", "measured", "verdict"),
    [
        (0.540, 3, 0.5404, MATCH),
        (0.540, 3, 0.5406, CLOSE),
        (0.11, 2, 0.117, DIFFERS),
        (4.0, 2, 4.2, CLOSE),
        (4.0, 2, 4.21, DIFFERS),
        (0.0, 1, 0.04, MATCH),
        (0.0, 1, 0.06, DIFFERS),
        (-2.0, 1, -2.06, CLOSE),
        (55.0, 0, 55.4, MATCH),
    ],
)
def test_judge(printed, decimals, measured, verdict):
    assert judge(printed, decimals, measured) == verdict


def test_digits_that_were_cut_off():
    assert judge(0.4668, 4, 0.46688) == CLOSE
    assert judge(0.4668, 4, 0.46688, truncated=True) == MATCH
    assert judge(0.4668, 4, 0.46692, truncated=True) == CLOSE
    assert judge(1.7817, 4, 1.7817000001, truncated=True) == MATCH


def test_printed_text_with_and_without_unit():
    assert printed_number("336852.764G", "G") == 336852.764
    assert printed_decimals("336852.764G", "G") == 3
    assert printed_number(".6052") == 0.6052 and printed_decimals(".6052") == 4
    assert printed_number("") is None and printed_number("-") is None and printed_number("Exp.1") is None


def test_cells_of_a_table():
    table = build(
        panel({"x": {"EN": "4.00", "SF": "10.0"}, "y": {"EN": "4.00", "SF": "9.0"}, "z": {"EN": "3.0", "SF": ""}}),
        {"m:x": frame(en=4.001, sf=5.1), "m:y": frame(en=5, sf=9), "average": frame(en=3)},
    )
    assert table.cells["x", "EN"].verdict == MATCH
    assert table.cells["x", "SF"].verdict == CLOSE, "the scale of 2 applies"
    assert table.cells["x", "SF"].mean == pytest.approx(10.2)
    assert table.cells["y", "EN"].verdict == DIFFERS
    assert table.cells["z", "EN"].verdict == NOT_MEASURED
    assert table.cells["z", "SF"].verdict == "", "nothing printed, nothing to compare"
    context = table.cells["average", "EN"]
    assert (context.published, context.verdict, context.measured_text) == ("", "", "3.00")
    low, high = context.interval
    assert low < context.mean < high and context.pairs == len(PAIRS)
    assert counts(table) == {MATCH: 1, CLOSE: 1, DIFFERS: 2, NOT_MEASURED: 1}


def test_other_readings_are_measured_only():
    values = frame(en=4, sf=5).assign(**{"sf@tang": 7.0})
    table = build(panel({"x": {"EN": "4", "SF": "10"}}), {"m:x": values})
    cell = table.cells["x", "SF [tang]"]
    assert (cell.mean, cell.published, cell.verdict) == (7.0, "", "")


def test_reasons_for_what_is_not_measured():
    rows = {
        "lost": Row("lost", missing="weights were never published"),
        "later": Row("later", method="m:later", status="planned"),
    }
    columns = {"Time": Column("Time", "lower", cost="seconds", not_measured="other machine")}
    labels = ("x", "y", *rows)
    cells = {label: {"EN": "4", "SF": "1", "Time": "9"} for label in labels}
    table = build(panel(cells, rows, columns), {"m:x": frame(en=4)})
    found = {label: table.cells[label, "EN"].reason for label in labels}
    assert found["x"] == "" and "on record" in found["y"]
    assert found["lost"] == "weights were never published"
    assert found["later"].startswith("planned")
    assert "lacks sf@cddfuse" in table.cells["x", "SF"].reason
    assert "Time: other machine" in reasons(table)


def test_values_that_are_not_finite_are_left_out_and_counted():
    values = frame(en=4)
    values.iloc[:3, 0] = [np.nan, np.inf, np.nan]
    table = build(panel({"x": {"EN": "4.00"}}), {"m:x": values})
    cell = table.cells["x", "EN"]
    assert (cell.pairs, cell.excluded) == (27, 3)
    assert cell.mean == pytest.approx(values.iloc[3:, 0].mean())
    assert "x, EN: 3 of 30 pairs left out, value not finite" in exclusions(table)
    nothing = build(panel({"x": {"EN": "4.00"}}), {"m:x": frame(en=math.nan)}).cells["x", "EN"]
    assert (nothing.verdict, nothing.mean, nothing.reason) == (NOT_MEASURED, None, "no pair has a finite value")


def test_intervals_are_the_same_every_time_and_cover():
    values = np.random.default_rng(0).normal(5, 1, 200)
    assert mean_interval(values) == mean_interval(values)
    low, high = mean_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(200), rel=0.15)
    assert mean_interval(values[:1]) == (-math.inf, math.inf)
    assert mean_interval(np.full(10, 2.0)) == (2.0, 2.0)


def test_paired_intervals_use_the_shared_pairs():
    first, second = frame(en=4)["en@cddfuse"], frame(en=2)["en@cddfuse"]
    second.iloc[0] = np.nan
    assert difference_interval(first, second.iloc[::-1]) == pytest.approx((2, 2))
    low, high = ratio_interval(first, second)
    assert low < 1 < high and high - low < 0.1


@pytest.mark.parametrize(
    ("kind", "extra", "published", "verdicts"),
    [
        ("best", {}, ("5", "4", "3"), "holds"),
        ("best", {}, ("5", "5", "3"), "holds"),
        ("best", {}, ("4", "5", "3"), "fails"),
        ("rank", {"at_most": 2}, ("4", "5", "3"), "holds"),
        ("rank", {"at_most": 2}, ("3", "5", "4"), "fails"),
        ("better", {"than": "y"}, ("5", "4", "3"), "holds"),
        ("better", {"than": "y"}, ("5", "5", "3"), "fails"),
        ("close", {"than": "y", "within": 0.05}, ("10.5", "10", "3"), "holds"),
        ("close", {"than": "y", "within": 0.05}, ("10.6", "10", "3"), "fails"),
        ("best", {}, ("", "5", "3"), "not printed"),
    ],
)
def test_claims_on_printed_numbers(kind, extra, published, verdicts):
    claim = Claim("text", kind, "EN", "x", **extra)
    cells = {label: {"EN": text} for label, text in zip("xyz", published, strict=True)}
    assert outcome(build(panel(cells, claims=[claim]), {})) == (verdicts, c.NOT_MEASURABLE)


def test_lower_is_better_in_columns_that_say_so():
    claim = Claim("text", "best", "SF", "x")
    cells = {"x": {"SF": "1"}, "y": {"SF": "2"}}
    assert outcome(build(panel(cells, claims=[claim]), {"m:x": frame(sf=1), "m:y": frame(sf=2)})) == ("holds", "holds")
    assert outcome(build(panel(cells, claims=[claim]), {"m:x": frame(sf=3), "m:y": frame(sf=2)})) == ("holds", "fails")


def check(kind, values, rows=None, **extra):
    return c.check_measured(Claim("text", kind, "EN", "x", **extra), values, "higher", rows or len(values))


def series(mean, seed=None, spread=1.0):
    noise = np.random.default_rng(seed).normal(0, spread, len(PAIRS)) if seed is not None else 0.0
    return pd.Series(mean + noise, index=PAIRS, dtype=float)


def test_measured_claims_need_an_interval_without_zero():
    unlike = series(4.0, seed=1), series(4.0, seed=2)
    assert check("better", {"x": unlike[0], "y": unlike[1]}, than="y").verdict == c.UNDECIDED
    assert check("best", {"x": unlike[0], "y": unlike[1]}).verdict == c.UNDECIDED
    assert check("better", {"x": unlike[0] + 3, "y": unlike[1]}, than="y").verdict == c.HOLDS
    assert check("better", {"x": unlike[0] - 3, "y": unlike[1]}, than="y").verdict == c.FAILS
    assert check("better", {"x": series(5.0)[:1], "y": series(4.0)}, than="y").verdict == c.UNDECIDED, "one pair"


def test_measured_ties_count_as_best_but_not_as_better():
    values = {"x": series(4.0, seed=1), "y": series(4.0, seed=1), "z": series(3.0, seed=1)}
    assert check("best", values).verdict == c.HOLDS
    assert check("better", values, than="y").verdict == c.FAILS


def test_measured_rank_counts_who_is_surely_ahead():
    noise = series(0.0, seed=1)
    values = {"x": noise + 2, "y": noise + 3, "z": noise + 1, "w": series(2.0, seed=5)}
    assert check("rank", values, at_most=3).verdict == c.HOLDS
    found = check("rank", values, rows=9, at_most=2)
    assert (found.verdict, found.detail) == (c.UNDECIDED, "1 better, 1 not told apart; 4 of 9 rows measured")
    assert check("best", values).verdict == c.FAILS


def test_best_of_one_measured_row_says_nothing():
    found = check("best", {"x": series(4.0)}, rows=12)
    assert (found.verdict, found.detail) == (c.NOT_MEASURABLE, "only 1 of 12 rows measured")
    assert check("rank", {"x": series(4.0), "y": series(5.0)}, rows=12, at_most=3).verdict == c.NOT_MEASURABLE


def test_measured_close():
    base = series(10.0, seed=1)
    assert check("close", {"x": base * 1.03, "y": base}, than="y", within=0.05).verdict == c.HOLDS
    assert check("close", {"x": base * 1.2, "y": base}, than="y", within=0.05).verdict == c.FAILS
    wide = series(10.5, seed=9, spread=3)
    assert check("close", {"x": wide, "y": base}, than="y", within=0.05).verdict == c.UNDECIDED


def test_no_direction_no_ranking():
    found = c.check_measured(Claim("t", "best", "EN", "x"), {"x": 1.0, "y": 2.0}, "none", 2)
    assert found.verdict == c.NOT_MEASURABLE


def test_tau_over_rows_with_both_numbers():
    cells = {label: {"EN": text} for label, text in zip("wxyz", ("1", "2", "3", ""), strict=True)}
    ordered = {f"m:{label}": frame(en=mean) for label, mean in zip("wxyz", (4, 5, 6, 1), strict=True)}
    assert build(panel(cells), ordered).tau == {"EN": (1.0, 3)}
    turned = {f"m:{label}": frame(en=-mean) for label, mean in zip("wxy", (4, 5, 6), strict=True)}
    assert build(panel(cells), turned).tau["EN"] == (-1.0, 3)
    two = dict(list(ordered.items())[:2])
    assert build(panel(cells), two).tau == {}
    assert "Kendall's tau between printed and measured order over 3 rows: EN 1.00." in summarise(
        build(panel(cells), ordered)
    )


def test_second_reading_of_a_row():
    rows = {"x": Row("x", method="m:x", relabelled="m:other"), "y": Row("y", method="m:y")}
    claim = Claim("text", "best", "EN", "x")
    cells = {"x": {"EN": "5.00"}, "y": {"EN": "4.00"}}
    measured = {"m:x": frame(en=3), "m:other": frame(en=5), "m:y": frame(en=4)}
    table = build(panel(cells, rows, claims=[claim]), measured)
    assert [row.label for row in table.rows] == ["x", "x (relabelled)", "y"]
    assert table.cells["x", "EN"].verdict == DIFFERS and table.cells["x (relabelled)", "EN"].verdict == MATCH
    assert table.outcomes[0].measured.verdict == c.FAILS
    assert table.outcomes[0].relabelled.verdict == c.HOLDS
    assert "the second is nearer" in summarise(table)


def test_costs_are_counted_without_weights():
    table = build("lightfusionnet/table3", {})
    assert table.cells["Ours", "Param"].mean == pytest.approx(0.004119)
    assert table.cells["Ours", "FLOPS"].verdict == MATCH
    assert table.cells["PCA → CA", "FLOPS"].measured_text == "0.12", "0.117, printed as 0.11"
    assert table.cells["D/W → Conv", "Param"].mean == pytest.approx(0.009969)
    assert table.cells["Ours", "Time"].verdict == NOT_MEASURED


def test_a_row_without_a_method_still_has_a_cost():
    columns = {
        "EN": Column("EN", "higher", metric="en", convention="cddfuse"),
        "Param": Column("Param", "lower", cost="parameters_m"),
        "FLOPS": Column("FLOPS", "lower", cost="gmacs_thop"),
    }
    rows = {
        "here": Row("here", cost="atfuse", cost_options={"complete": True}, missing="no weights"),
        "lean": Row("lean", cost="atfuse", missing="no weights"),
        "lost": Row("lost", missing="no public code"),
    }
    cells = {label: {"EN": "4.01", "Param": "1.051", "FLOPS": "5.40"} for label in rows}
    table = build(panel(cells, rows, columns), {})
    assert (table.cells["here", "EN"].verdict, table.cells["here", "EN"].reason) == (NOT_MEASURED, "no weights")
    assert [table.cells["here", name].verdict for name in ("Param", "FLOPS")] == [MATCH, MATCH]
    assert table.cells["lean", "FLOPS"].mean < table.cells["here", "FLOPS"].mean
    assert table.cells["lost", "Param"].reason == "no public code"


@pytest.mark.parametrize("name", ["lightfusionnet/table1a", "lightfusionnet/table2b", "fusionmamba/table6"])
def test_every_architecture_has_its_cost_beside_the_printed_one(name):
    table = build(name, {})
    columns = [c.label for c in table.columns if c.column.cost and not c.column.not_measured]
    without = {row for row in table.panel.rows for column in columns if table.cells[row, column].mean is None}
    assert without <= {"PSLPT (Wang, Deng, and Vivone 2024)"}, "the one without public code"


def test_cost_uses_the_size_that_the_row_prints():
    columns = {
        "size": Column("size", "none", role="input"),
        "FLOPs": Column("FLOPs", "lower", cost="gmacs_thop", unit="G"),
    }
    rows = {name: Row(name, method="lightfusionnet:pet_mri") for name in ("small", "large")}
    cells = {"small": {"size": "", "FLOPs": "0.287G"}, "large": {"size": "(1,1,512,512)", "FLOPs": "1.148G"}}
    table = build(panel(cells, rows, columns), {})
    assert table.cells["small", "FLOPs"].verdict == table.cells["large", "FLOPs"].verdict == MATCH


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_renders_without_measurements(name):
    table = build(name, {})
    for form in FORMATS:
        text = render(table, form)
        assert text.endswith("\n") and name.split("/")[1] in text.replace("\\_", "_")
        assert "nan" not in text.lower().split()
    lines = pd.read_csv(io.StringIO(render(table, "csv")), dtype=str, keep_default_na=False)
    assert len(lines) == len(table.rows) * len(table.columns)
    assert set(lines["verdict"]) <= {MATCH, CLOSE, DIFFERS, NOT_MEASURED, ""}
    printed = lines[lines["published"] != ""].set_index(["row", "column"])["published"]
    for label, cells in table.panel.published.iterrows():
        assert all(printed.get((label, column), "") == text for column, text in cells.items())


def test_renders_are_equal_and_say_what_is_where():
    cells = {"x|<&>": {"EN": "4.00"}, "y_%": {"EN": "4.00"}}
    claim = Claim("text", "better", "EN", "y_%", than="x|<&>")
    measured = {"m:x|<&>": frame(en=4), "m:y_%": frame(en=7)}
    texts = {form: render(build(panel(cells, claims=[claim]), measured), form) for form in FORMATS}
    assert texts == {form: render(build(panel(cells, claims=[claim]), dict(measured)), form) for form in FORMATS}
    assert "| x\\|<&> | 4.00 → 4.00 ✓<br>[3.9" in texts["md"] and "4.00 → 7.00 ✗" in texts["md"]
    assert "<td>x|&lt;&amp;&gt;" in texts["html"]
    assert "y\\_\\%" in texts["latex"] and "$\\checkmark$" in texts["latex"] and "✓" not in texts["latex"]
    assert "published" in texts["text"] and "✓ match" in texts["text"]
    assert len(to_frame(build(panel(cells), measured))) == 2


def test_unknown_names():
    with pytest.raises(FusionkitError, match="did you mean"):
        render(build("lightfusionnet/table3", {}), "tex")
    with pytest.raises(FusionkitError, match="lightfusionnet/table1a"):
        build("lightfusionnet/table1", {})


def test_a_difference_within_the_seed_spread_is_undecided():
    noise = np.random.default_rng(0).normal(0, 0.01, 30)
    values = {"x": pd.Series(2.0 + noise), "y": pd.Series(1.5 + noise[::-1])}
    for kind, extra in (("better", {"than": "y"}), ("best", {})):
        claim = Claim("t", kind, "EN", "x", **extra)
        assert c.check_measured(claim, values, "higher", 2).verdict == c.HOLDS
        assert c.check_measured(claim, values, "higher", 2, seed_spread=0.6).verdict == c.UNDECIDED
        assert c.check_measured(claim, values, "higher", 2, seed_spread=0.4).verdict == c.HOLDS


def test_seeds_of_a_row_give_its_range():
    panel = get_panel("lightfusionnet/table4b")
    frame = pd.DataFrame({"en@cddfuse": [4.0, 4.2]})
    measured = {"lightfusionnet:pet_mri": frame, "lightfusionnet:pet_mri-seed1": frame + 0.5}
    table = build(panel, measured)
    assert table.seeds["R = 4", "EN"] == pytest.approx((4.1, 4.6))
    assert "Over training seeds R = 4 ranges: EN 4.1 to 4.6" in render(table)
