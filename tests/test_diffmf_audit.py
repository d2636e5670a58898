"""The audit of DIFF-MF's Table VII: counts against pencil and paper, and times from a file."""

import json

import pandas as pd
import pytest
import torch

from fusionkit import paths
from fusionkit.audits import diffmf_cost as audit
from fusionkit.models.diffmf import DiffMF
from fusionkit.tables import build

PLACES = 512 * 512
# Full-size blocks: 16 in the stages, 2 in the channel exchange, and at each of three scales two on twice as wide maps
# and one.
LINEAR = 16 + 2 + 5 * (1 + 1 / 4 + 1 / 16)
QUADRATIC = 16 + 2 + 9 * (1 + 1 / 16 + 1 / 256)


def test_the_three_rows():
    table = audit.three_rows()
    assert table["counted"].tolist() == pytest.approx([393.40, 146.93, 242_898], rel=1e-4)
    assert table["parameters"][:2].tolist() == [649_601, 511_463]
    assert table["printed"][audit.SCAN] == 393.871
    assert table["printed"][audit.QUADRATIC] == 336_852.764
    assert pd.isna(table["printed"][audit.RESTORMER])
    assert table["scan or attention"][audit.QUADRATIC] == pytest.approx(QUADRATIC * 4 * PLACES**2 * 32 / 1e9)
    assert table["scan or attention"][audit.RESTORMER] == pytest.approx(LINEAR * 2 * PLACES * 32**2 / 16 / 1e9)


def test_attention_runs_once_per_block_on_maps_of_the_sizes_drawn():
    maps = audit.attention_maps()
    assert len(maps) == 4 * 3 + 2 + 3 * 3
    assert set(maps["heads"]) == {16} and set(maps["channels"]) == {32}
    assert (maps["images"] * maps["places"]).sum() == pytest.approx(LINEAR * PLACES)
    assert (maps["images"] * maps["places"] ** 2).sum() == pytest.approx(QUADRATIC * PLACES**2)


def test_one_block_by_hand():
    table = audit.one_block()
    assert table["per_place"][audit.SCAN] == pytest.approx(53_056)
    assert table["per_place"][audit.RESTORMER] == pytest.approx(14_778)
    assert table["per_place"][audit.QUADRATIC] == pytest.approx(14_650 + 4 * PLACES * 32)


def test_kinds_of_work_add_up_to_the_counts():
    sums = audit.kinds().sum(axis=1)
    assert sums[audit.SCAN] == pytest.approx(audit.three_rows()["counted"][audit.SCAN])
    assert sums[audit.RESTORMER] == pytest.approx(audit.three_rows()["counted"][audit.RESTORMER])
    assert audit.kinds().loc[audit.SCAN, "products of tensors"] == pytest.approx(LINEAR * (8_704 + 512) * PLACES / 1e9)


def test_only_tools_that_miss_the_scan_find_scans_lower():
    lower = audit.conventions()["lower"]
    assert set(lower.index[lower == audit.SCAN]) == {"thop", "fvcore"}


def test_an_attention_map_of_all_places_takes_terabytes():
    assert audit.map_bytes(PLACES) == pytest.approx(4.4e12, rel=1e-3)


def test_the_table_says_that_the_claim_fails():
    table = build("diffmf/table7")
    counted = {row: table.cells[row, "FLOPs"].mean for row in audit.PRINTED.values()}
    scan, restormer = counted.values()
    assert restormer == pytest.approx(146.93, rel=1e-4)
    skips = LINEAR * 4 * 64 * PLACES / 1e9
    assert scan == pytest.approx(393.40 - skips, rel=1e-4)
    assert [outcome.measured.verdict for outcome in table.outcomes] == ["fails"]


def test_times_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path)
    assert audit.times_here().empty
    assert "make bench" in audit.time_verdict()
    rows = [
        {"network": block, "threads": 1, "side": 128, "time": {"median_ms": ms}, "peak_mb": 9.0}
        for block, ms in (("vss", 3000.0), ("restormer", 1500.0))
    ]
    metadata = {"device": "cpu", "threads": 1, "code": "v1"}
    (tmp_path / "bench").mkdir()
    content = {"metadata": metadata, "results": {"networks": [], "inference": rows}}
    (tmp_path / "bench" / "blocks--cpu-1threads.json").write_text(json.dumps(content))
    assert audit.times_here().set_index("network")["processor seconds"].to_dict() == {
        audit.SCAN: 3.0,
        audit.RESTORMER: 1.5,
    }
    assert "3.0 s with scans and 1.5 s with Restormer's blocks at 128x128 on 1 thread." in audit.time_verdict()


def test_verdict_has_three_sentences_with_the_counts():
    verdict = audit.cost_verdict()
    for words in ("38.3 attentions", "4.4 TB", "146.9 G against 393.4 G", "2.68 times less", "154.4 G"):
        assert words in verdict


def test_operations_are_counted_on_a_network_with_values_too():
    with torch.random.fork_rng():
        model = DiffMF("tiny").eval()
    assert sum(audit.operations(model)) == pytest.approx(32.2, abs=0.05)


def test_the_figure_shows_every_kind_and_total():
    axes = audit.kinds_figure().axes[0]
    assert [text.get_text() for text in axes.texts] == ["393.4", "146.9"]
    assert len(axes.containers) == len(audit.COLOURS)
