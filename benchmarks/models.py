"""Latency and memory of every model, beside what its authors' code took where that was timed."""

from typing import Any

from fusionkit import list_models
from fusionkit.cost import measure_cost
from fusionkit.progress import bar

SIZE = (256, 256)
THREADS = None  # as many as torch has taken
PROTOCOL = {
    "size": [*SIZE],
    "authors": "processor seconds of the authors' code, one thread, median of ten runs on another two-core machine; "
    "within about 30 %",
}
# For one pair of SIZE.
AUTHORS_SECONDS = {
    "aitfuse": 0.98, "atfuse": 0.17, "cddfuse": 6.81, "cmtfusion": 0.76, "datfuse": 0.10, "defusion": 0.54,
    "densefuse": 0.10, "didfuse": 0.65, "emma": 0.37, "fusiongan": 0.76, "ifcnn": 0.14, "ift": 3.38, "itfuse": 0.36,
    "lrrnet": 3.75, "matr": 0.58, "reconet": 0.39, "rfnnest": 1.65, "sdnet": 0.06, "swinfusion": 9.26, "tardal": 0.27,
    "u2fusion": 0.77, "ydtr": 1.39,
}  # fmt: skip


def measure(size: tuple[int, int] = SIZE) -> dict[str, list[dict[str, Any]]]:
    """Return one row per registered model but the oracles, which optimise pixels for minutes.

    Args:
        size: Height and width of the images.
    """
    names = [name for name in list_models() if not name.startswith("oracle_")]
    return {"models": [_row(name, size) for name in bar(names, "models", unit="model")]}


def _row(name: str, size: tuple[int, int]) -> dict[str, Any]:
    cost = measure_cost(name, size)
    authors = AUTHORS_SECONDS.get(name) if size == SIZE else None
    return {
        "model": name,
        "parameters": cost.parameters,
        "median_ms": round(cost.latency.median_ms, 3),
        "iqr_ms": round(cost.latency.iqr_ms, 3),
        "repeats": cost.latency.repeats,
        "peak_memory_mb": round(cost.peak_memory_bytes / 2**20, 1),
        "authors_ms": authors and 1000 * authors,
        "authors_over_ours": authors and round(1000 * authors / cost.latency.median_ms, 2),
    }
