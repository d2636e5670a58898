"""Do the numbers on file come out again? Each measurement is computed anew from weights and images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusionkit.data.pairs import present
from fusionkit.data.published import is_published
from fusionkit.data.registry import split_names
from fusionkit.errors import FusionkitError
from fusionkit.measure import agreement, awaits_weights, compute, is_here, list_measurements, load_measurement

TOLERANCE = 2e-3
SLOW = "oracle_"


def verify(slow: bool = False, wanted: str = "", pairs: int = 0) -> pd.DataFrame:
    """Compute the measurements on file again and compare, image by image.

    A network's floats differ in the last bits between machines; now and then that moves one pixel by one grey
    level after rounding, so values may differ by ``TOLERANCE`` of their mean.

    Args:
        slow: Also measure the pixel oracles again (minutes each).
        wanted: Only methods whose id contains this text.
        pairs: At most so many pairs of each measurement, spread over the split; 0 takes all.

    Returns:
        Columns ``method dataset split state deviation why``; ``state`` is ``agrees``, ``differs`` or ``skipped``.
    """
    rows = [_verify_one(*item, slow, pairs) for item in list_measurements() if wanted in item[0]]
    return pd.DataFrame(rows, columns=["method", "dataset", "split", "state", "deviation", "why"])


def _verify_one(method: str, dataset: str, split: str, slow: bool, pairs: int) -> tuple[str, str, str, str, float, str]:
    def row(state: str, deviation: float = float("nan"), why: str = "") -> tuple[str, str, str, str, float, str]:
        return method, dataset, split, state, deviation, why

    if not present(dataset, split):
        return row("skipped", why="images are not here")
    if method.startswith(SLOW) and not slow:
        return row("skipped", why="takes minutes; ask with --slow")
    if awaits_weights(method):
        return row("skipped", why="weights missing")
    if is_published(method) and not is_here(method, dataset):
        return row("skipped", why="the released images are not here")
    try:
        fresh = compute(method, dataset, split, _spread(split_names(dataset, split), pairs))
    except FusionkitError as error:
        return row("differs", why=str(error))
    kept = load_measurement(method, dataset, split)
    missing = fresh.values.columns.difference(kept.values.columns).union(
        fresh.values.index.difference(kept.values.index)
    )
    if len(missing):
        return row("differs", why=f"not on file: {', '.join(missing[:3])}; run `fusionkit measure`")
    deviation = agreement(kept.values, fresh.values)
    if deviation <= TOLERANCE:
        return row("agrees", deviation)
    return row("differs", deviation, "values changed; run `fusionkit measure` and look at what changed")


def _spread(names: Sequence[str], pairs: int) -> list[str]:
    """Return so many names at equal distances, the first and the last among them where there are two or more."""
    if not pairs or pairs >= len(names):
        return list(names)
    return [names[i] for i in np.linspace(0, len(names) - 1, pairs).round().astype(int)]
