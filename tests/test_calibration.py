"""Golden values of the metrics, values published per image, and the page that reports them."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch

from fusionkit import FusionkitError, metrics, paths
from fusionkit.calibration import (
    PUBLISHED,
    calibration_table,
    golden_values,
    published_table,
    published_values,
)
from fusionkit.calibration_page import calibration_markdown
from fusionkit.data.images import read_image
from fusionkit.metrics import METRICS

# One window of this triple, flat in one source and in the fused image, has the quotient of two rounding errors as
# its similarity: no rule gives the value of the file, 4.9e-8 away where 1e-8 is allowed.
NOISE = ("q_y", "tno41_PIAFusion")


@pytest.fixture(scope="module")
def values(golden):
    return golden_values(golden / "metrics")


def test_every_golden_value_comes_out(values):
    sound = values[~values["degenerate"]]
    distance = (sound["measured"] - sound["expected"]).abs()
    same = (distance <= sound["allowed"]) | (sound["measured"] == sound["expected"])
    same |= sound["measured"].isna() & sound["expected"].isna()
    noise = (sound["metric"] == NOISE[0]) & (sound["image"] == NOISE[1])
    assert distance[noise].item() < 6e-8
    same |= noise
    assert sound[~same].empty, sound[~same].to_string()
    assert len(sound) > 1400


def test_every_golden_quantity_is_compared(values):
    compared = set(zip(values["metric"], values["convention"], strict=True))
    for convention in ("tang", "tang2022", "vifb", "liu", "han", "cddfuse", "cddfuse-uint8"):
        expected = {(m.name, convention) for m in METRICS.values() if convention in m.variants}
        # Scale-free features: the driver of 2022 computes the same numbers, the file lists them once.
        allowed = {(name, "tang2022") for name in ("ms_ssim", *(m for m in METRICS if m.startswith("fmi_")))}
        assert expected - compared <= allowed, convention


def test_degenerate_values_do_not_crash(values):
    noise = values[values["degenerate"]]
    assert len(noise) > 30
    assert noise["measured"].map(lambda x: isinstance(x, float)).all()


@pytest.mark.parametrize(("dataset", "method", "file"), [
    ("tno", "DenseFuse", "08.png"),
    ("tno", "SeAFusion", "07.png"),
    ("vifb", "GTF", "manWalking.jpg"),
    ("vifb", "ADF", "carLight.jpg"),
])  # fmt: skip
def test_published_values_of_single_images(real_data, dataset, method, file):
    """One image each, measured here; all others are surveyed once and kept."""
    source, table = PUBLISHED[dataset], published_table(dataset)
    fused = real_data / "published_fusions" / dataset / method / file
    if not fused.is_file():
        pytest.skip(f"published image {method}/{file} absent")
    images = [fused, *(real_data / dataset / "test" / side / file for side in ("ir", "vi"))]
    tensors = [(255 * read_image(path)).round().to(torch.uint8)[None] for path in images]
    found = metrics.evaluate(*tensors, list(source.columns.values()), source.convention)
    # VIFB prints five digits; the spreadsheet all of a double, of which VIF and MI keep fewer.
    tight = {"vif": 1e-8, "mi": 1e-11}
    for column, metric in source.columns.items():
        printed = float(table.loc[(method, file), column])
        relative = 5e-5 if dataset == "vifb" else tight.get(metric, 1e-12)
        assert found[metric].item() == pytest.approx(printed, rel=relative), (method, file, metric)


def test_published_values_as_surveyed(real_data):
    """All images that are here, as measured once: the spreadsheet to 1e-7, VIFB's files to their five digits."""
    for dataset, source in PUBLISHED.items():
        table = published_values(dataset)
        if table.empty:
            pytest.skip(f"no survey of {dataset} on file")
        sound = table[table["source"] == source.about]
        distance = (sound["measured"] - sound["expected"]).abs()
        assert (distance <= sound["allowed"] * (1 + 1e-9)).all(), sound[distance > sound["allowed"]]
        others = table[table["source"] != source.about]
        assert set(others["image"].str.split("/").str[0]) <= set(source.other_images)
        entropy = others[others["metric"] == "en"]
        wrong = (entropy["measured"] - entropy["expected"]).abs() > entropy["allowed"]
        assert wrong.mean() > 0.9 or entropy.empty, "these images are the measured ones after all"


def rows(*items):
    columns = ["source", "metric", "convention", "image", "expected", "measured", "allowed", "degenerate"]
    return pd.DataFrame([("file", "en", "tang", *item) for item in items], columns=columns)


def test_the_table_counts_what_agrees():
    table = calibration_table(
        rows(
            ("one", 1.0, 1.0, 1e-9, False),
            ("two", 2.0, 2.2, 1e-9, False),
            ("three", math.nan, math.nan, 0.0, False),
            ("four", math.nan, 1.0, 0.0, False),
            ("five", 1.0, 9.0, 1e-9, True),
        )
    )
    row = table.iloc[0]
    assert (row["values"], row["undefined"], row["noise"], row["where"]) == (4, 1, 1, "two")
    assert row["equal"] == 0.5
    assert row["largest deviation"] == pytest.approx(0.1)


def test_the_page_names_everything_that_was_not_compared():
    text = calibration_markdown(rows(("one", 1.0, 1.0, 1e-9, False)))
    assert "1 of 1 values" in text
    assert "en@vifb" in text
    assert " en@tang," not in text


def test_committed_page_covers_the_catalogue():
    text = (paths.results_dir() / "calibration.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\| (\w+) +\| ([\w-]+) ", text)) | set(re.findall(r"(\w+)@([\w-]+)", text))
    assert {(m.name, c) for m in METRICS.values() for c in m.variants} <= named


def test_missing_reference_file(tmp_path):
    with pytest.raises(FusionkitError, match="no reference values"):
        golden_values(tmp_path)


def test_published_list_is_empty_without_data(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    assert published_table("tno").empty
    assert published_values("vifb").empty
    assert np.isnan(calibration_table(rows(("x", 1.0, 1.0, 0.1, True))).iloc[0]["equal"])
