"""Processor time of the published baselines beside what their authors' code took; weights do not matter for it."""

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
    "ratio": "the authors' time over ours is to be at least `least_ratio`",
}
AUTHORS_SECONDS = {
    "aitfuse": 0.98, "atfuse": 0.17, "cddfuse": 6.81, "cmtfusion": 0.76, "datfuse": 0.10, "defusion": 0.54,
    "densefuse": 0.10, "didfuse": 0.65, "emma": 0.37, "fusiongan": 0.76, "ifcnn": 0.14, "ift": 3.38, "itfuse": 0.36,
    "lrrnet": 3.75, "matr": 0.58, "reconet": 0.39, "rfnnest": 1.65, "sdnet": 0.06, "swinfusion": 9.26, "tardal": 0.27,
    "u2fusion": 0.77, "ydtr": 1.39,
}  # fmt: skip
TWICE_AS_FAST = ("lrrnet", "ydtr")


def measure(
    seconds: Mapping[str, float] = AUTHORS_SECONDS, size: tuple[int, int] = SIZE
) -> dict[str, list[dict[str, Any]]]:
    """Return one row per baseline.

    Args:
        seconds: What the authors' code took, by model.
        size: Height and width of the images.
    """
    rows = []
    for name in bar(seconds, "baselines", unit="network"):
        model, pair = build_model(name), example_pair(size, "cpu")
        with torch.inference_mode(), evaluating(model):
            taken, _ = timed(lambda model=model, pair=pair: model(*pair), clock=time.process_time)
        ratio, least = 1e3 * seconds[name] / taken["median_ms"], 2 if name in TWICE_AS_FAST else 1
        rows.append(
            {
                **{"model": name, "time": taken, "authors_ms": 1e3 * seconds[name]},
                **{"authors_over_ours": round(ratio, 2), "least_ratio": least, "kept": ratio >= least},
            }
        )
    return {"baselines": rows}
