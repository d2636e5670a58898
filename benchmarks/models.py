"""Latency and memory of every model."""

from typing import Any

from fusionkit import list_models
from fusionkit.cost import measure_cost
from fusionkit.progress import bar

SIZE = (256, 256)
THREADS = None  # as many as torch has taken
PROTOCOL = {"size": [*SIZE]}
# The slowest networks take several seconds for one pair.
REPEATS, WARMUP = 5, 1


def measure(size: tuple[int, int] = SIZE) -> dict[str, list[dict[str, Any]]]:
    """Return one row per registered model but the oracles, which optimise pixels for minutes.

    Args:
        size: Height and width of the images.
    """
    names = [name for name in list_models() if not name.startswith("oracle_")]
    return {"models": [_row(name, size) for name in bar(names, "models", unit="model")]}


def _row(name: str, size: tuple[int, int]) -> dict[str, Any]:
    cost = measure_cost(name, size, REPEATS, WARMUP)
    return {
        "model": name,
        "parameters": cost.parameters,
        "median_ms": round(cost.latency.median_ms, 3),
        "iqr_ms": round(cost.latency.iqr_ms, 3),
        "repeats": cost.latency.repeats,
        "peak_memory_mb": round(cost.peak_memory_bytes / 2**20, 1),
    }
