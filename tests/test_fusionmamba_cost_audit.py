"""The audit of FusionMamba's printed costs, and its Table 6."""

import json

import numpy as np
import pytest
import torch

from fusionkit import cost, paths
from fusionkit.audits import fusionmamba_cost as audit
from fusionkit.audits import fusionmamba_parts as parts
from fusionkit.audits import fusionmamba_table6 as table6
from fusionkit.models import build_model
from fusionkit.papers import get_panel
from fusionkit.tables import build
from fusionkit.tables.costs import cost_of

FIRST, PRESENT, EQUATIONS = audit.RELEASES
ROW = "FusionMamba (Ours)"
# Multiply-adds of the parts of the authors' network, counted by torch with the scan taken out.
COUNTED = {
    "patch embeddings": 2 * 6_291_456,
    **{"encoder 1/4": 3_790_621_824, "encoder 1/8": 3_726_190_848},
    **{"encoder 1/16": 16_095_285_504, "encoder 1/32": 3_527_943_168},
    **{"fusion 1/4": 1_105_723_680, "fusion 1/8": 1_086_063_168},
    **{"fusion 1/16": 1_076_233_344, "fusion 1/32": 1_071_319_296},
    **{"decoder 1/32": 1_763_971_584, "decoder 1/16": 8_047_642_752},
    **{"decoder 1/8": 1_863_095_424, "decoder 1/4": 1_895_310_912},
    "head": 150_994_944 + 1_572_864,
}
STATE_UPDATES = 231_211_008


def test_printed_numbers_keep_their_digits():
    assert audit.printed_counts() == {"fusionmamba/table6": "16.50", "lightfusionnet/table1a": "26.48"}


@pytest.mark.parametrize("release", [FIRST, EQUATIONS])
def test_sum_over_blocks_is_the_count_of_the_whole_network(release):
    layout = (1, 2, 1, 3)
    model = parts.shapes_only(**audit.RELEASES[release], depths=layout)
    whole = [cost.gmacs(model, audit.SIZE, name) for name in audit.CONVENTIONS] + [cost.parameters(model) / 1e9]
    np.testing.assert_allclose(audit.layout_costs(release, np.array([layout])).loc["1-2-1-3"], whole, rtol=1e-12)


def test_two_of_all_candidates_give_the_printed_numbers():
    table = audit.rebuilt()
    assert table.shape == (9, 5)
    hits = audit.matching_cells(table).set_index("printed")
    columns = ["release", "blocks", "convention"]
    assert hits.loc["16.50", columns].tolist() == [FIRST, "2-2-2-2", "thop"]
    assert hits.loc["26.48", columns].tolist() == [PRESENT, "2-2-9-2", "thop"]
    assert len(hits) == 2


def test_counts_of_the_two_networks_digit_by_digit():
    counts = audit.direct_counts()
    assert counts["thop"].tolist() == [16_499_918_016, 26_477_486_784]
    assert counts["parameters"].tolist() == [158_646_685, 225_419_541]


def test_search_knows_how_many_layouts_would_have_fitted():
    search = audit.layout_search()
    assert (search["layouts"] == 9**4).all() and len(search) == 12
    assert search["16.50"].sum() == search.at[(FIRST, "thop"), "16.50"] == 1
    assert search["26.48"].sum() == search.at[(PRESENT, "thop"), "26.48"] == 12
    found = audit.layouts_that_give("26.48", PRESENT)
    printed = found[found["parameters"].map(lambda count: f"{1e3 * count:.2f}") == "225.42"]
    assert len(found) == 12 and printed.index.tolist() == ["2-2-9-2"]
    assert audit.layouts_that_give("26.48", EQUATIONS).empty


def test_parts_are_those_of_the_authors_network():
    table = parts.parts()
    found = (1e9 * table.drop(columns="scan").sum(axis=1)).round().astype(int)
    assert found.to_dict() == COUNTED
    assert round(1e9 * table["scan"].sum()) == 9 * STATE_UPDATES
    assert table.at["patch embeddings", "scan"] == table.at["head", "descriptive convolutions"] == 0


def test_reconciliation_leads_from_thop_to_the_true_count():
    work = parts.reconciliation()
    kinds = work.drop([parts.MULTIPLY_ADDS, parts.EVERYTHING])
    np.testing.assert_allclose(kinds.sum(), work.loc[parts.EVERYTHING])
    assert round(1e9 * work.at[parts.MULTIPLY_ADDS, "true"]) == 45_214_552_224
    assert round(1e9 * work.at[parts.MULTIPLY_ADDS, "thop"]) == 26_477_486_784
    assert work.at[parts.NORMS, "thop"] > 0 == work.at[parts.NORMS, "true"]


def test_idle_parameters_are_found_by_their_gradients():
    idle = parts.idle_parameters()
    released, repaired = idle["as released"], idle["with its own gate"]
    masks, finest, never_called, gate, other = parts.IDLE
    assert released[parts.STORED] - released[masks] == 164_538_645
    assert released[finest] == 331_445
    assert released[parts.STORED] - released[[masks, finest, never_called]].sum() == 163_819_456
    assert (released[gate], repaired[gate]) == (1_548_288, 0)
    assert released[other] == repaired[other] == 0
    assert released[parts.USED] == 163_819_456 - 1_548_288


def test_numbers_without_a_gradient_do_not_move_the_image():
    torch.manual_seed(0)
    model = build_model("fusionmamba", **parts.NARROW).eval()
    pair = torch.rand(2, 1, 1, 64, 64)
    with torch.no_grad():
        before = model.reconstruct(*pair)
        for name, value in model.named_parameters():
            if name.startswith("fusion.0.") or ".unused." in name:
                value.normal_()
            elif ".in_proj2." in name:
                value[len(value) // 2 :].normal_()
        assert torch.equal(model.reconstruct(*pair), before)
        model.fusion[1].cmfm.in_proj2.weight[0].normal_()
        assert not torch.equal(model.reconstruct(*pair), before)


def test_figure_stacks_the_parts_and_hatches_the_unused_one():
    table = parts.parts()
    axes = parts.parts_figure(table).axes[0]
    assert [bar.get_width() for bar in axes.containers[1]] == table["descriptive convolutions"].tolist()
    hatched = {round(bar.get_y() + bar.get_height() / 2) for bar in axes.patches if bar.get_hatch()}
    assert hatched == {table.index.get_loc(parts.UNUSED)}


def test_verdict_has_three_sentences_with_the_numbers():
    words = audit.cost_verdict()
    assert words.count(". ") == 2 and words.endswith(".")
    tried = ("Of 36", " 2 give", "16.4999", "26.4775", "78732", "16.50 from 1 ", "26.48 from 12")
    for number in (*tried, "45.21", "1.71", "225.42 M", "162.27 M", "72.0%"):
        assert number in words


def test_table6_counts_the_full_network_and_shows_no_trivial_rules():
    table = build("fusionmamba/table6")
    cell = table.cells[ROW, "Flops (G)"]
    assert (cell.measured_text, cell.verdict) == ("26.48", "differs")
    assert table.cells[ROW, "Run Time (s)"].reason.startswith("timed on one RTX 3090")
    assert [row.label for row in table.rows] == list(table.panel.rows)


def test_options_of_a_row_take_the_place_of_the_models_own():
    row = get_panel("fusionmamba/table6").rows[ROW]
    full = cost_of(row.method, "parameters_m", (256, 256), row.cost_options)
    assert full == pytest.approx(225.419541)
    assert cost_of(row.method, "parameters_m", (256, 256)) == pytest.approx(115.788117)
    assert cost_of("fusionmamba:of_nobody", "parameters_m", (256, 256), {"size": "tiny"}) == pytest.approx(1.349938)
    assert cost_of("fusionmamba:of_nobody", "parameters_m", (256, 256)) is None


def test_under_the_rule_of_its_row_u2fusion_gets_its_number_and_the_lead_shrinks():
    rows = table6.one_rule()
    theirs, default, likely = rows.index
    assert f"{rows.at[theirs, 'counted']:.2f}" == rows.at[theirs, "printed"] == "345.75"
    small = cost.gmacs(parts.shapes_only(**parts.PRESENT), audit.SIZE, "flops")
    assert rows.at[default, "counted"] == pytest.approx(4 * small, rel=1e-3)
    shares = rows["counted share"]
    assert rows.at[default, "printed share"] < 0.05 < shares[likely] < 1 < shares[default]
    assert f"{shares[default]:.2f} for the {default}" in table6.rule_verdict()


def test_times_come_from_the_files_of_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path)
    assert table6.times_here().empty
    metadata = {"device": "cpu (x86_64)", "threads": 1, "code": "v1"}
    time = {"median_ms": 250.0, "iqr_ms": 1.0, "repeats": 3}
    inference = [
        {"network": name, "threads": 2, "side": side, "time": time, "peak_mb": 90.0}
        for name, side in (("scan", 128), ("scan", 256), ("global", 256))
    ]
    models = [{"model": name, "median_ms": 4000.0, "peak_memory_mb": 500.0} for name in ("average", "fusionmamba")]
    results = {"models": {"models": models}, "scaling": {"inference": inference}, "metrics": {"metrics": []}}
    (tmp_path / "bench").mkdir()
    for suite, found in results.items():
        file = tmp_path / "bench" / f"{suite}--cpu-1threads.json"
        file.write_text(json.dumps({"metadata": metadata, "results": found}))
    times = table6.times_here()
    assert times[["threads", "seconds", "peak MB"]].to_numpy().tolist() == [[1, 4.0, 500.0], [2, 0.25, 90.0]]
    assert times["network"].str.contains("full|tiny").all()
