"""Processor time of the published baselines beside what their authors' code took; weights do not matter for it.

The authors' code was timed on another machine. Networks of plain convolutions whose authors use PyTorch call the same
functions there and here: the median of their ratios is that of the machines, by which all ratios are divided.
"""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.scan import timed
from fusionkit.cost.probe import evaluating, example_pair
from fusionkit.models import build_model
from fusionkit.progress import bar

SIZE = (256, 256)
THREADS = 1
PROTOCOL = {
    "size": [*SIZE],
    "time": "processor time of one pair, inference mode, one run before the timed ones",
    "authors": "median of ten runs of the authors' code, the same clock, one thread, another shared two-core machine; "
    "within about 30 %",
    "machines": "median of authors_over_ours over the rows without `least`, plain convolutions in PyTorch",
    "relative": "authors_over_ours over that of the machines, to be at least `least`; not judged without",
}
AUTHORS_SECONDS = {
    "aitfuse": 0.98, "atfuse": 0.17, "cddfuse": 6.81, "cmtfusion": 0.76, "datfuse": 0.10, "defusion": 0.54,
    "densefuse": 0.10, "didfuse": 0.65, "emma": 0.37, "fusiongan": 0.76, "ifcnn": 0.14, "ift": 3.38, "itfuse": 0.36,
    "lrrnet": 3.75, "matr": 0.58, "reconet": 0.39, "rfnnest": 1.65, "sdnet": 0.06, "swinfusion": 9.26, "tardal": 0.27,
    "u2fusion": 0.77, "ydtr": 1.39,
}  # fmt: skip
CONVOLUTIONS = ("densefuse", "didfuse", "ifcnn", "rfnnest", "tardal")
TWICE_AS_FAST = ("lrrnet", "ydtr")


def measure(
    seconds: Mapping[str, float] = AUTHORS_SECONDS, size: tuple[int, int] = SIZE
) -> dict[str, list[dict[str, Any]]]:
    """Return two tables: the ratio of the machines, and one row per baseline.

    Args:
        seconds: What the authors' code took, by model; at least one of ``CONVOLUTIONS`` among them.
        size: Height and width of the images.
    """
    times = {}
    for name in bar(seconds, "baselines", unit="network"):
        model, pair = build_model(name), example_pair(size, "cpu")
        with torch.inference_mode(), evaluating(model):
            times[name], _ = timed(lambda model=model, pair=pair: model(*pair), clock=time.process_time)
    ratios = {name: 1e3 * seconds[name] / taken["median_ms"] for name, taken in times.items()}
    machines = statistics.median(ratios[name] for name in CONVOLUTIONS if name in ratios)
    rows = [_row(name, times[name], 1e3 * seconds[name], ratios[name], machines) for name in seconds]
    return {"machines": [{"authors_over_ours": round(machines, 2)}], "baselines": rows}


def _row(name: str, taken: dict[str, Any], authors_ms: float, ratio: float, machines: float) -> dict[str, Any]:
    least = None if name in CONVOLUTIONS else 2 if name in TWICE_AS_FAST else 1
    return {
        **{"model": name, "time": taken, "authors_ms": authors_ms, "authors_over_ours": round(ratio, 2)},
        **{"relative": round(ratio / machines, 2), "least": least, "kept": least and ratio / machines >= least},
    }
