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
from fusionkit.data import load_pair
from fusionkit.data.registry import split_names
from fusionkit.files import write_json
from fusionkit.metrics import evaluate
from fusionkit.provenance import code_version, environment

SIZE = (256, 256)
PAIRS = 8
REPEATS = 5
DATASET = ("phantom_pet_mri", "test")
CONVENTION = "cddfuse"


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
    """Return the time per image of each metric, ours and the plain one, and how far their values differ."""
    pairs = [load_pair(*DATASET, name) for name in split_names(*DATASET)[:PAIRS]]
    a, b = (torch.stack([getattr(pair, side) for pair in pairs]).mul(255).round().byte() for side in "ab")
    fused = torch.maximum(a, b)
    images = [[x[0].numpy().astype(np.float64) for x in triple] for triple in zip(fused, a, b, strict=True)]
    rows = []
    for name, peer in PEERS.items():
        ours, mine = _timed(lambda name=name: evaluate(fused, a, b, [name], CONVENTION)[name].numpy())
        plain, theirs = _timed(lambda peer=peer: np.array([peer(*image) for image in images]))
        rows.append(
            {
                "metric": f"{name}@{CONVENTION}",
                "ms_per_image": round(ours / len(pairs), 3),
                "plain_ms_per_image": round(plain / len(pairs), 3),
                "plain_over_ours": round(plain / ours, 2),
                "largest_difference": float(f"{np.abs(mine - theirs).max():.1e}"),
            }
        )
    return rows


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
    results = {"models": bench_models(), "metrics": bench_metrics()}
    for rows in results.values():
        print(tabulate(rows, "keys", "simple"), end="\n\n")
    threads = torch.get_num_threads()
    protocol = {"size": SIZE, "pairs": PAIRS, "repeats": REPEATS, "data": "/".join(DATASET)}
    metadata = {"code": code_version(), "protocol": protocol, **environment()}
    path = paths.results_dir() / "bench" / f"bench--cpu-{threads}threads.json"
    write_json(path, {"metadata": metadata, "results": results})
    print(f"written to {path.relative_to(paths.root())}")


if __name__ == "__main__":
    main()
