import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from fusionkit import paths
from fusionkit.cost import peak_memory
from fusionkit.errors import FusionkitError
from fusionkit.models import MODELS
from fusionkit.models.fusionmamba import configure
from fusionkit.models.fusionmamba.blocks import WindowTransformerBlock
from fusionkit.ops import selective_scan

sys.path.insert(0, str(paths.root()))  # the benchmarks are no part of what is installed
from benchmarks import __main__ as entry  # noqa: E402
from benchmarks import baselines, blocks, bounds, chart, metrics, models, scaling, scan, schema  # noqa: E402
from benchmarks.scaling_peers import GlobalBlock, global_attention  # noqa: E402
from benchmarks.scan_peers import CHUNK, exponential_limit, parallel_scan  # noqa: E402

METRIC = {"metric": "en@cddfuse", "ms": 1.0}
SET = {"set": "every metric", "convention": "reference", "metrics": 3, "ms": 2.0}


def committed():
    command = ["git", "-C", str(paths.root()), "ls-files", "results/bench/*.json"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def content(suite, results):
    return {"metadata": entry._metadata(entry.SUITES[suite]), "results": results}


def refuse(name, given, match):
    with pytest.raises(FusionkitError, match=match):
        schema.check(name, given)


@pytest.fixture
def good():
    given = content("metrics", {"metrics": [METRIC], "sets": [SET]})
    return schema.name_of("metrics", given["metadata"]), given


@pytest.fixture(scope="module")
def scanned():
    given = content("scan", scan.measure((32, 64), (32,)))
    return schema.name_of("scan", given["metadata"]), given


@pytest.mark.parametrize("file", committed())
def test_committed_results_follow_the_schema(file):
    path = paths.root() / file
    schema.check(path.stem, json.loads(path.read_text()))


def test_models(monkeypatch):
    monkeypatch.setattr(models, "list_models", lambda: ["average", "oracle_anything"])
    given = content("models", models.measure((16, 16)))
    schema.check(schema.name_of("models", given["metadata"]), given)
    assert [row["model"] for row in given["results"]["models"]] == ["average"]


def test_baselines():
    given = content("baselines", baselines.measure({"ifcnn": 1.0, "ydtr": 1e-6, "lrrnet": 1e6}, (16, 16)))
    schema.check(schema.name_of("baselines", given["metadata"]), given)
    rows = given["results"]["baselines"]
    assert [(row["least"], row["kept"]) for row in rows] == [(None, None), (2, False), (2, True)]
    assert rows[0]["relative"] == 1
    assert rows[0]["authors_over_ours"] == given["results"]["machines"][0]["authors_over_ours"]
    assert {*baselines.CONVOLUTIONS, *baselines.TWICE_AS_FAST} <= set(baselines.AUTHORS_SECONDS) <= set(MODELS)


def test_metrics(monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 1)
    monkeypatch.setattr(metrics, "METRICS", {name: metrics.METRICS[name] for name in ("en", "vif", "nmi")})
    given = content("metrics", metrics.measure((176, 192)))
    schema.check(schema.name_of("metrics", given["metadata"]), given)
    entropy, fidelity, information = given["results"]["metrics"]
    assert entropy["difference"] < 1e-9 and fidelity["difference"] < 1e-9
    assert "plain_ms" not in information


def test_scan(scanned):
    name, given = scanned
    schema.check(name, given)
    rows = given["results"]["scan"]
    expected = [(length, kind) for length in (32, 64) for kind in ("forward", "forward+backward")]
    assert [(row["length"], row["pass"]) for row in rows] == expected
    assert all(row["difference"] < 1e-5 for row in rows)
    for row in rows:
        ratio = row["reference"]["median_ms"] / row["numba"]["median_ms"]
        assert row["reference_over_numba"] == pytest.approx(ratio, rel=1e-3)
    assert len(given["results"]["memory"]) == 2 and len(given["results"]["attention"]) == 4


def test_memory_holds_results_but_not_all_states():
    row = scan.memory_row(64, 8192)
    assert row["u_mb"] == 2
    assert 3 < row["numba_over_u"] < scan.STATES / 2  # the output and the gradients of u and delta are three
    assert row["torch_over_u"] > 3


def test_what_takes_too_long_is_left_out():
    forecast = scan.Forecast(power=2)
    forecast.seen["a", "forward"] = 100, 1.0
    times, result = forecast.timed("a", "forward", 200, lambda: 7)
    assert times["repeats"] >= scan.LEAST and result == 7
    forecast.seen["a", "forward"] = 100, 1.5
    times, result = forecast.timed("a", "forward", 200, pytest.fail)
    assert times == {"skipped": "6 s expected, more than 5 s"} and result is None


def test_a_row_with_something_left_out_is_valid_and_not_drawn(scanned):
    name, given = scanned
    given = json.loads(json.dumps(given))
    last = given["results"]["scan"][2]
    last["numba"] = {"skipped": "9 s expected, more than 5 s"}
    last |= {"reference_over_numba": None, "torch_over_numba": None, "numba_over_limit": None, "difference": None}
    schema.check(name, given)
    forward, both = chart.scan_chart(given["results"]).axes
    assert [len(line.get_xdata()) for line in forward.lines] == [1, 2]
    assert [len(line.get_xdata()) for line in both.lines] == [2, 2]


def test_chart_draws_what_was_measured(scanned, tmp_path):
    name, given = scanned
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(given))
    chart.draw(file)
    assert (tmp_path / "scan.png").stat().st_size > 10_000
    axes = chart.scan_chart(given["results"]).axes[0]
    rows = [row for row in given["results"]["scan"] if row["pass"] == "forward"]
    assert [*axes.lines[0].get_ydata()] == [row["numba"]["median_ms"] for row in rows]
    assert axes.get_xscale() == axes.get_yscale() == "log"


@pytest.fixture(scope="module")
def scaled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "peak_memory", lambda model, size, threads: 2**20 * size[0] ** 2)
        for name, value in {"LARGEST_GLOBAL": 32, "TRAINING_SIDE": 16, "BATCH": 2}.items():
            patch.setattr(scaling, name, value)
        given = content("scaling", scaling.measure((16, 32, 64)))
    return schema.name_of("scaling", given["metadata"]), given


def test_scaling(scaled):
    name, given = scaled
    schema.check(name, given)
    results, most = given["results"], given["metadata"]["threads"]
    sides = {(network, most): [16, 32, 64] for network in ("scan", "windows")} | {("global", most): [16, 32]}
    expected = {("scan", 1): [16, 32, 64]} | sides
    found = {}
    for row in results["inference"]:
        found.setdefault((row["network"], row["threads"]), []).append(row["side"])
    assert found == expected
    assert [row["parameters"] for row in results["networks"]][0] == 1_349_938
    assert [row["memory_growth"] for row in results["inference"][:3]] == [None, 1, 1]
    assert [row["what"] for row in results["bounds"]] == ["training at 16x16, batch 2"]


def test_blocks(monkeypatch):
    monkeypatch.setattr(scaling, "peak_memory", lambda model, size, threads: 2**20 * size[0] ** 2)
    given = content("blocks", blocks.measure((16, 32), "tiny"))
    schema.check(schema.name_of("blocks", given["metadata"]), given)
    found = [(row["network"], row["side"]) for row in given["results"]["inference"]]
    assert found == [("vss", 16), ("vss", 32), ("restormer", 16), ("restormer", 32)]
    assert [row["parameters"] for row in given["results"]["networks"]][0] == 331_137


def test_bounds(monkeypatch):
    monkeypatch.setattr(bounds, "peak_memory", lambda model, size, threads: 2**20 * size[0] * size[1])
    small = [
        dataclasses.replace(kept, side=side, batch=1) for kept, side in zip(bounds.NETWORKS, (25, 16), strict=True)
    ]
    given = content("bounds", bounds.measure(small, (16, 20)))
    schema.check(schema.name_of("bounds", given["metadata"]), given)
    assert [row["parameters"] for row in given["results"]["networks"]] == [979_555, 331_137]
    found = {row["what"]: row for row in given["results"]["bounds"]}
    assert list(found)[0] == "s4fusion, inference at 20x16" and len(found) == 4
    assert [row["measured"] for row in given["results"]["bounds"] if row["unit"] == "MB"] == [320, 320]


def test_a_bound_is_kept_up_to_its_edge():
    assert [bounds.below("", "s", x, 3)["kept"] for x in (2.99, 3.0)] == [True, False]
    assert [bounds.at_least("", "1/s", x, 3)["kept"] for x in (2.99, 3.0)] == [False, True]


def test_growth_is_one_where_cost_follows_the_pixels():
    before = {"side": 128, "time": {"median_ms": 10.0}, "peak_mb": 4.0}
    now = {"side": 256, "time": {"median_ms": 40.0}, "peak_mb": 64.0}
    assert scaling.growth(before, now) == {"time_growth": 1, "memory_growth": 4}


@pytest.mark.parametrize(("ms", "mb", "speed"), [(399.0, 599.0, 3.0), (400.0, 600.0, 2.99)])
def test_bounds_are_those_of_the_most_threads(ms, mb, speed):
    def row(threads, network="scan", side=256):
        time = {"median_ms": ms * threads, "iqr_ms": 0.0, "repeats": 3}
        return {"network": network, "threads": threads, "side": side, "time": time, "peak_mb": mb}

    inference = [row(2), row(1), row(9, "global"), row(9, side=512)]
    found = scaling.bounds(inference, [{"iterations_per_s": 0.1}, {"iterations_per_s": speed}])
    assert [item["measured"] for item in found] == [ms / 1e3, mb, speed]
    assert [item["kept"] for item in found] == 3 * [speed >= 3]


def test_global_attention_is_that_of_one_window_without_bias():
    torch.manual_seed(0)
    config = configure("tiny")
    windowed, everywhere = (kind(24, config, drop=0.0) for kind in (WindowTransformerBlock, GlobalBlock))
    torch.nn.init.zeros_(windowed.position)
    everywhere.load_state_dict(windowed.state_dict())
    small, large = torch.randn(2, 8, 8, 24), torch.randn(1, 16, 16, 24, requires_grad=True)
    torch.testing.assert_close(everywhere(small), windowed(small))
    for block, seen in ((windowed, False), (everywhere, True)):
        (grad,) = torch.autograd.grad(block(large)[0, 0, 0].sum(), large)
        assert grad[0, -1, -1].any().item() is seen


def test_memory_of_the_peer_can_be_measured():
    model = global_attention()
    assert all(isinstance(block, GlobalBlock) for stage in (*model.encoder, *model.decoder) for block in stage.blocks)
    assert peak_memory(model, (64, 64)) > 2**16


def test_scaling_chart_draws_time_and_memory(scaled, tmp_path):
    name, given = scaled
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(given))
    chart.draw(file)
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    rows = [row for row in given["results"]["inference"] if (row["network"], row["threads"]) == ("scan", 1)]
    time, memory = chart.scaling_chart(given["results"]).axes
    assert [*time.lines[0].get_ydata()] == [row["time"]["median_ms"] / 1e3 for row in rows]
    assert [*memory.lines[0].get_ydata()] == [row["peak_mb"] for row in rows]


@pytest.mark.parametrize("length", [1, 7, CHUNK, CHUNK + 48, 2 * CHUNK + 5])
def test_parallel_scan_is_the_selective_scan(length):
    torch.manual_seed(length)
    shapes = [(2, 3, length), (2, 3, length), (3, 4), (2, 4, length), (2, 4, length), (3,), (3,)]
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    inputs[2] = -inputs[2].exp()
    inputs, grad = [x.requires_grad_() for x in inputs], torch.randn(shapes[0], dtype=torch.float64)
    y = parallel_scan(*inputs)
    expected = selective_scan(*inputs[:6], None, inputs[6], True, backend="reference")
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    ours, theirs = (torch.autograd.grad(x, inputs, grad) for x in (y, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_exponential_limit_evaluates_every_exponential():
    step, rates = torch.rand(2, 5, 96), -3 * torch.rand(5, 7)
    expected = torch.exp(step.double()[..., None] * rates[:, None]).sum((2, 3))
    torch.testing.assert_close(exponential_limit(step, rates).double(), expected, rtol=1e-5, atol=0)


def test_threads_stay_as_they_were():
    before = torch.get_num_threads()
    exponential_limit(torch.rand(1, 2, 32), torch.rand(2, 3))
    assert torch.get_num_threads() == before


def test_steps_of_the_case_are_those_of_a_fresh_block():
    inputs, grad = scan.case(64, 32)
    steps = F.softplus(inputs[-1])
    assert steps.min() > 0.99e-3 and steps.max() < 0.101
    assert grad.shape == inputs[0].shape == (1, 64, 32)


def test_refused_what_is_missing_or_unknown(good):
    name, given = good
    schema.check(name, given)
    refuse(name, {"metadata": given["metadata"]}, "'results' is a required property")
    refuse(name, given | {"metadata": given["metadata"] | {"host": "here"}}, "'host' was unexpected")
    refuse(name, given | {"results": given["results"] | {"sets": []}}, r"results\.sets")
    refuse(name, given | {"metadata": given["metadata"] | {"code": "/home/me"}}, r"metadata\.code")
    refuse(name, given | {"results": given["results"] | {"metrics": [METRIC | {"ms": "fast"}]}}, r"metrics\[0\]")


def test_refused_wrong_name(good):
    name, given = good
    refuse("metrics--cpu-99threads", given, f"was measured as {name}")
    refuse("metric--cpu-1threads", given, "did you mean metrics")


def test_file_is_written_without_the_machines_paths(good, monkeypatch, tmp_path, capsys):
    name, given = good
    suite = SimpleNamespace(THREADS=None, PROTOCOL=metrics.PROTOCOL, measure=lambda: given["results"])
    monkeypatch.setitem(entry.SUITES, "metrics", suite)
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path / "results")
    entry.main(["metrics"])
    text = (tmp_path / "results" / "bench" / f"{name}.json").read_text()
    schema.check(name, json.loads(text))
    assert str(paths.root()) not in text
    printed = capsys.readouterr().out
    assert "en@cddfuse" in printed and f"written to results/bench/{name}.json" in printed


def test_unknown_benchmark():
    with pytest.raises(FusionkitError, match="did you mean scan"):
        entry.main(["scam"])
