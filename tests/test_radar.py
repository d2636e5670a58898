"""Radar charts: axes from worst to best printed value, and what the enclosed area depends on."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit import FusionkitError
from fusionkit.figures.radar import MARGIN, radar_areas, radar_chart, radar_data, radii
from fusionkit.papers import Column, Panel, Row
from fusionkit.tables import build

PRINTED = {"U2F [4]": ("0.4", "10", "9"), "X (Ours)": ("0.8", "30", "3"), "SwinF [13]": ("0.6", "20", "5")}
COLUMNS = {
    "VIF": Column("VIF", "higher", metric="vif", convention="tang"),
    "SF": Column("SF", "higher", metric="sf", convention="tang"),
    "RMSE": Column("RMSE", "lower", metric="rmse", convention="tang"),
}


def table(printed=PRINTED, columns=COLUMNS, **measured):
    published = pd.DataFrame.from_dict(printed, orient="index", columns=list(columns))
    rows = {label: Row(label, method="x" if "Ours" in label else label) for label in published.index}
    panel = Panel("net", "table1", "table1", "", published, columns, rows, "tno", "test")
    values = {name: frame(*numbers) for name, numbers in measured.items()}
    return build(panel, values)


def frame(vif, sf, rmse):
    return pd.DataFrame({"vif@tang": [vif] * 2, "sf@tang": [sf] * 2, "rmse@tang": [rmse] * 2}, index=["1", "2"])


def points(*positions):
    names = [f"c{i}" for i in range(len(positions))]
    lines = {"method": "m", "source": "printed", "column": names, "value": 1.0, "worst": 0.0, "best": 1.0}
    return pd.DataFrame(lines | {"position": positions})


def test_axes_run_from_the_worst_to_the_best_printed_value():
    data = radar_data(table(x=(0.5, 30, 3)), ["X (Ours)", "SwinF [13]"])
    found = {key: part["position"].tolist() for key, part in data.groupby(["method", "source"])}
    assert found["X", "printed"] == [1, 1, 1]
    assert found["SwinF [13]", "printed"] == pytest.approx([0.5, 0.5, 2 / 3])
    assert found["X", "measured"] == pytest.approx([0.25, 1, 1])
    assert data.query("column == 'RMSE'")[["worst", "best"]].drop_duplicates().values.tolist() == [[9, 3]]


def test_measured_values_may_leave_the_printed_range_and_rows_that_are_not_there_are_left_out():
    data = radar_data(table(average=(0.0, 60, 3)), ["average", "maximum"])
    assert data["method"].unique().tolist() == ["average"] and data["source"].unique().tolist() == ["measured"]
    np.testing.assert_allclose(data["position"], [-1, 2.5, 1])
    np.testing.assert_allclose(radii(data["position"].to_numpy()), [0, 1 + 2 * MARGIN, 1 + MARGIN])


def test_chart_draws_a_line_per_row_and_source_and_crosses_for_what_lies_outside():
    data = radar_data(table(x=(0.5, 30, 3), average=(0.0, 60, 3)), ["X (Ours)", "average"])
    figure = radar_chart({"first": data, "second": data.query("method == 'X'")})
    figure.draw_without_rendering()
    first, second = figure.axes
    assert (len(first.lines), len(second.lines)) == (3, 2)
    assert sum(len(crosses.get_offsets()) for crosses in first.collections) == 2
    assert sum(len(crosses.get_offsets()) for crosses in second.collections) == 0
    assert "VIF\n0.4 to 0.8" in [label.get_text() for label in first.get_xticklabels()]


def test_a_value_that_is_not_there_leaves_a_gap():
    data = radar_data(table(x=(0.5, 30, 3)), ["X (Ours)"]).drop(index=1)
    line = radar_chart({"": data}).axes[0].lines[1]
    assert len(line.get_ydata()) == 4
    gapped = pd.concat([data, points(0.5).assign(method="y", column="VIF")])
    assert np.isnan(radar_chart({"": gapped}).axes[0].lines[2].get_ydata()).sum() == 2


@given(st.lists(st.floats(-0.5, 1.5), min_size=3, max_size=6))
def test_the_area_stays_between_its_extremes_over_all_orders_of_the_axes(positions):
    areas = radar_areas(points(*positions)).iloc[0]
    tiny = 1e-9
    assert areas["smallest"] - tiny <= areas["as drawn"] <= areas["largest"] + tiny
    turned = radar_areas(points(*positions[::-1])).iloc[0]
    np.testing.assert_allclose(turned.to_numpy(), areas.to_numpy(), atol=1e-9)


def test_areas_by_hand():
    alternating = radar_areas(points(1.0, 0.0, 1.0, 0.0)).iloc[0]
    inner, outer = MARGIN, 1 + MARGIN
    assert alternating["as drawn"] == pytest.approx(inner / outer)
    assert alternating["smallest"] == alternating["as drawn"]
    assert alternating["largest"] == pytest.approx((inner + outer) ** 2 / 4 / outer**2)
    assert alternating["worst in the centre"] == 0
    full = radar_areas(points(1.0, 1.0, 1.0)).iloc[0]
    np.testing.assert_allclose(full.to_numpy(), 1)
    corners = [(math.cos(t), math.sin(t)) for t in np.arange(3) * 2 * math.pi / 3]
    triangle = sum(x * v - u * y for (x, y), (u, v) in zip(corners, corners[1:] + corners[:1], strict=True)) / 2
    assert triangle == pytest.approx(3 / 2 * math.sin(2 * math.pi / 3)), "areas are relative to this polygon"


def test_orders_are_all_distinct_ones():
    positions = (0.0, 0.2, 0.5, 1.0)
    radius = radii(np.array(positions))
    areas = [float((r * np.roll(r, 1)).mean()) / (1 + MARGIN) ** 2 for r in map(np.array, permutations(radius))]
    found = radar_areas(points(*positions)).iloc[0]
    assert (found["smallest"], found["largest"]) == pytest.approx((min(areas), max(areas)))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(FusionkitError, match="3 quality columns, not 2"):
        two = {name: COLUMNS[name] for name in ("VIF", "SF")}
        radar_data(table({label: row[:2] for label, row in PRINTED.items()}, two), ["X (Ours)"])
    same = {label: ("0.4", *row[1:]) for label, row in PRINTED.items()}
    with pytest.raises(FusionkitError, match="column VIF: fewer than two"):
        radar_data(table(same), ["X (Ours)"])
    with pytest.raises(FusionkitError, match="no table"):
        radar_chart({})
    with pytest.raises(FusionkitError, match="radar chart CT: the table has no rows"):
        radar_chart({"CT": radar_data(table(), ["average"])})
