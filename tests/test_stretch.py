"""What a stretch does: factors of images that are stretched, places, and what is printed."""

import pandas as pd
import pytest
import torch

from fusionkit.audits import stretch
from fusionkit.measure import measure
from fusionkit.measure import stretch as stretched
from fusionkit.metrics import evaluate


@pytest.fixture
def values(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionkit.paths.results_dir", lambda: tmp_path)
    for method in ("average", "maximum"):
        measure(method, "phantom_ir_vis", "test")
    return stretch.both_ways("phantom_ir_vis", "test")


def test_a_stretch_scales_three_measures_alike(values):
    found = stretch.changes(values)
    assert list(found.index) == ["average", "maximum"]
    assert (found["SD times"] >= 1).all() and (stretch.unevenness(found) < 0.05).all()


def test_one_image_gets_one_factor():
    image = 0.2 + 0.5 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, wide = (evaluate(x, x, x, ["sd", "sf", "ag"], "cddfuse") for x in (image, stretched(image)))
    factors = torch.stack([wide[name] / plain[name] for name in ("sd", "sf", "ag")])
    torch.testing.assert_close(factors, torch.full_like(factors, 2.0), rtol=0.02, atol=0)


def test_places_of_who_is_stretched_alone():
    columns = pd.MultiIndex.from_product([stretch.COLUMNS, (stretch.AS_FUSED, stretch.STRETCHED)])
    rows = {"low": [1.0, 2.5] * 6, "high": [2.0, 3.0] * 6}
    values = pd.DataFrame.from_dict(rows, orient="index").set_axis(columns, axis=1)
    assert stretch.places(values).loc["low"].tolist() == ["2, 2, 1"] * 6
    assert stretch.gained(values).to_numpy().tolist() == [[1] * 6, [0] * 6]


def test_the_printed_ablations_are_all_there():
    printed = stretch.printed_changes()
    assert len(printed) == 11
    row = printed.loc["table5: version 1"]
    assert row["SD times"] == pytest.approx(55.09 / 35.39) and row["EN plus"] == pytest.approx(7.19 - 6.81)
    assert (stretch.unevenness(printed) > 0).all()


def test_the_finding_counts_rows_beyond_any_stretch(values):
    text = stretch.describe([stretch.changes(values)], stretch.printed_changes(), [values])
    assert "2 sets of images" in text and "of 11 rows" in text
    assert stretch.signature_figure([stretch.changes(values)], stretch.printed_changes()).axes
