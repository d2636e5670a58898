"""The time of metrics, beside plain implementations."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.peers import PEERS
from fusionkit.data.phantoms import phantom
from fusionkit.metrics import METRICS, evaluate
from fusionkit.progress import bar

SIZE = (480, 640)
REPEATS = 5
TASK = "ir-vis"
CONVENTION, REFERENCE = "cddfuse", "reference"
THREADS = None  # as many as torch has taken
PROTOCOL = {"size": [*SIZE], "repeats": REPEATS, "data": f"phantom {TASK}"}


def measure(size: tuple[int, int] = SIZE) -> dict[str, list[dict[str, Any]]]:
    """Return one row per metric, and one per set of metrics in one call of ``evaluate``.

    Args:
        size: Height and width of the one pair, the height not above the width.
    """
    images = _triple(size)
    sets = {"the ten most used": (list(PEERS), CONVENTION), "every metric": (None, REFERENCE)}
    return {
        "metrics": [_metric(name, images) for name in bar(METRICS, "metrics", unit="metric")],
        "sets": [_set(title, *chosen, images) for title, chosen in sets.items()],
    }


def _metric(name: str, images: list[torch.Tensor]) -> dict[str, Any]:
    """Time one metric, beside a plain implementation where there is one.

    The ten most used metrics follow the convention of the plain ones, the others the reference definitions, or the
    only toolbox that has them.
    """
    variants = METRICS[name].variants
    convention = CONVENTION if name in PEERS else next(c for c in (REFERENCE, *variants) if c in variants)
    ours, mine = _timed(lambda: evaluate(*images, [name], convention)[name].numpy())
    row = {"metric": f"{name}@{convention}", "ms": round(ours, 2)}
    if name in PEERS:
        arrays = [x[0, 0].numpy().astype(np.float64) for x in images]
        plain, theirs = _timed(lambda: np.array([PEERS[name](*arrays)]))
        difference = float(f"{np.abs(mine - theirs).max():.1e}")
        row |= {"plain_ms": round(plain, 2), "plain_over_ours": round(plain / ours, 2), "difference": difference}
    return row


def _set(title: str, names: list[str] | None, convention: str, images: list[torch.Tensor]) -> dict[str, Any]:
    time_ms, values = _timed(lambda: np.array([*evaluate(*images, names, convention)]))
    return {"set": title, "convention": convention, "metrics": len(values), "ms": round(time_ms, 1)}


def _triple(size: tuple[int, int]) -> list[torch.Tensor]:
    """Return a fused image and its two sources, (1, 1, H, W)."""
    height, width = size
    pair = phantom(TASK, 0, width)
    a, b = (torch.from_numpy(np.atleast_3d(x)[:height, :, :1]).movedim(-1, 0)[None] for x in (pair.a, pair.b))
    return [torch.maximum(a, b), a, b]


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the median time in milliseconds and the result."""
    times, result = [], work()
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = work()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), result
