"""``python -m benchmarks``: latency and memory of every model, metrics beside plain implementations.

The result, ``results/bench/bench--<device>-<threads>threads.json``, has two parts: ``metadata`` and ``results``.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.peers import PEERS
from fusionkit import list_models, paths
from fusionkit.cost import measure_cost
from fusionkit.data.phantoms import phantom
from fusionkit.files import write_json
from fusionkit.metrics import METRICS, evaluate
from fusionkit.provenance import code_version, environment

SIZE = (256, 256)
HEIGHT, WIDTH = 480, 640
REPEATS = 5
TASK = "ir-vis"
CONVENTION, REFERENCE = "cddfuse", "reference"


def bench_models() -> list[dict[str, Any]]:
    """Return latency and memory of every registered model but the oracles, which optimise pixels for minutes."""
    rows = []
    for name in (name for name in list_models() if not name.startswith("oracle_")):
        cost = measure_cost(name, SIZE)
        rows.append(
            {
                "model": name,
                "parameters": cost.parameters,
                "median_ms": round(cost.latency.median_ms, 3),
                "iqr_ms": round(cost.latency.iqr_ms, 3),
                "peak_memory_mb": round(cost.peak_memory_bytes / 2**20, 1),
            }
        )
    return rows


def bench_metrics() -> list[dict[str, Any]]:
    """Return the time of every metric on one pair of 640x480, beside a plain implementation where there is one.

    The ten most used metrics follow the convention of the plain ones, the others the reference definitions, or the
    only toolbox that has them.
    """
    fused, a, b = _triple()
    images = [x[0, 0].numpy().astype(np.float64) for x in (fused, a, b)]
    rows = []
    for name, metric in METRICS.items():
        convention = (
            CONVENTION if name in PEERS else next(c for c in (REFERENCE, *metric.variants) if c in metric.variants)
        )
        ours, mine = _timed(lambda m=name, c=convention: evaluate(fused, a, b, [m], c)[m].numpy())
        row = {"metric": f"{name}@{convention}", "ms": round(ours, 2)}
        if name in PEERS:
            plain, theirs = _timed(lambda peer=PEERS[name]: np.array([peer(*images)]))
            difference = float(f"{np.abs(mine - theirs).max():.1e}")
            row |= {"plain_ms": round(plain, 2), "plain_over_ours": round(plain / ours, 2), "difference": difference}
        rows.append(row)
    return rows


def bench_sets() -> list[dict[str, Any]]:
    """Return the time of sets of metrics in one call of ``evaluate`` on one pair of 640x480."""
    images = _triple()
    sets = {"the ten most used": (list(PEERS), CONVENTION), "every metric": (None, REFERENCE)}
    rows = []
    for title, (names, convention) in sets.items():
        time_ms, values = _timed(lambda n=names, c=convention: np.array([*evaluate(*images, n, c)]))
        rows.append({"set": title, "convention": convention, "metrics": len(values), "ms": round(time_ms, 1)})
    return rows


def _triple() -> list[torch.Tensor]:
    pair = phantom(TASK, 0, WIDTH)
    a, b = (torch.from_numpy(np.atleast_3d(x)[:HEIGHT, :, :1]).movedim(-1, 0)[None] for x in (pair.a, pair.b))
    return [torch.maximum(a, b), a, b]


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the median time in milliseconds and the result."""
    times, result = [], work()
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = work()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), result


def main() -> None:
    """Run both benchmarks, print them as tables and write them as JSON."""
    results = {"models": bench_models(), "metrics": bench_metrics(), "sets": bench_sets()}
    for rows in results.values():
        print(tabulate(rows, "keys", "simple"), end="\n\n")
    threads = torch.get_num_threads()
    protocol = {"models": SIZE, "metrics": (HEIGHT, WIDTH), "repeats": REPEATS, "data": f"phantom {TASK}"}
    metadata = {"code": code_version(), "protocol": protocol, **environment()}
    path = paths.results_dir() / "bench" / f"bench--cpu-{threads}threads.json"
    write_json(path, {"metadata": metadata, "results": results})
    print(f"written to {path.relative_to(paths.root())}")


if __name__ == "__main__":
    main()
