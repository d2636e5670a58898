"""FusionMamba's Table 4 found again: bounds of subsets, cells to the digit, ways of writing images."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from fusionkit.audits import table4_found as audit
from fusionkit.models.rules import Average


@pytest.mark.parametrize("count", [1, 3, 6, 7])
def test_no_choice_of_images_leaves_the_bounds_and_two_reach_them(count):
    values = pd.DataFrame(np.random.default_rng(count).normal(size=(7, 2)), columns=["SF", "VIF"])
    bounds = audit.subset_bounds(values, count)
    means = pd.DataFrame([values.iloc[list(chosen)].mean() for chosen in combinations(range(7), count)])
    pd.testing.assert_series_equal(means.min(), bounds["low"], check_names=False)
    pd.testing.assert_series_equal(means.max(), bounds["high"], check_names=False)


def test_three_rows_come_out_but_for_two_cells():
    found = audit.found_rows()
    assert found["digits"].sum() == 16
    assert list(found.index[~found["digits"]]) == [("DATF [12]", "SF"), ("IFT [11]", "VIF")]
    tolerance = np.where(found.index.get_level_values("column") == "SF", 2e-3, 4e-4)
    assert (found["deviation"].abs() < tolerance).all()
    assert "16 of 18 cells" in audit.found_verdict(found)


def test_a_row_that_is_not_measured_is_left_out_of_the_verdict():
    found = audit.found_rows(("IFT [11]", "RfN [30]"))
    assert found.loc["RfN [30]", "measured"].isna().all()
    assert "1 rows (IFT [11]): 5 of 6" in audit.found_verdict(found)


def test_released_images_cannot_give_the_printed_rows():
    table = audit.reach_of_subsets()
    assert (table["low"] <= table["all"]).all() and (table["all"] <= table["high"]).all()
    ruled_out = {row: set(cells.index[~cells["possible"]].get_level_values(1)) for row, cells in table.groupby("row")}
    assert ruled_out["SDNet [2]"] == {"SF"}
    assert {"MS-SSIM", "FMI"} <= ruled_out["FGAN [8]"]
    assert {"VIF", "Qabf", "SF", "MS-SSIM"} <= ruled_out["U2F [4]"]
    assert {"SCD", "Qabf", "SF", "MS-SSIM", "FMI"} <= ruled_out["RfN [30]"]
    assert (table["possible"] == (table["most"] >= audit.PAIRS)).all(), "bounds narrow with more images"
    audit.reach_figure(table)
    assert audit.reach_verdict(table).count("\n") == 3


def test_ways_of_writing_are_measured_apart(monkeypatch):
    class Dim(Average):
        raw = Average.forward

        def image(self, raw):
            return raw / 4

    monkeypatch.setattr(audit, "is_here", lambda method: method.startswith("sdnet"))
    monkeypatch.setattr(audit, "load_method", lambda method: Dim())
    table, note = audit.writings("smoke")
    assert table.index.tolist() == [("SDNet [2]", "clip_round"), ("SDNet [2]", "minmax")]
    assert table.loc[("SDNet [2]", "minmax"), "SF"] > 3 * table.loc[("SDNet [2]", "clip_round"), "SF"]
    assert "2 pairs of phantom" in note and "weights missing: U2F [4]" in note


def test_nothing_is_written_without_weights(monkeypatch):
    monkeypatch.setattr(audit, "is_here", lambda method: False)
    table, note = audit.writings("smoke")
    assert table.empty and list(table.columns) == list(audit.columns())
    assert "weights missing: SDNet [2], U2F [4]" in note
