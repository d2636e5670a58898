"""The yardstick for trained networks: how far from the better trivial rule to the floor of their own loss."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fusionkit.intervals import bootstrap, paired
from fusionkit.losses import measured_preset
from fusionkit.measure import list_measurements, load_measurement

TRIVIAL = ("average", "maximum")


def yardstick(dataset: str, split: str, paper: str, measured: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Compare networks with trivial rules and with the floor, on a paper's own loss.

    The floor is the loss of images whose pixels were optimised on it. The share of the way is
    (best trivial - network) / (best trivial - floor), of means over pairs: 1 at the floor, 0 where the better of
    average and maximum is, negative for a network that is worse than that.

    Args:
        dataset: Dataset name.
        split: Split name.
        paper: Whose loss it is; also the name of the networks and of the floor, ``oracle_<paper>``.
        measured: Per-image values by method id; None takes the measurements on record.

    Returns:
        One row per method (trivial rules, networks from the lowest loss to the highest, floor) with the mean of
        each term and of ``total``, ``share``, its 95 % bootstrap interval ``low`` and ``high`` (NaN but for
        networks), and ``pairs``. Empty unless both trivial rules and the floor are measured.
    """
    prefix = f"loss:{measured_preset(paper)}:"
    if measured is None:
        measured = _recorded(dataset, split, paper)
    frames = {method: frame for method, frame in measured.items() if f"{prefix}total" in frame}
    floor = f"oracle_{paper}"
    if any(method not in frames for method in (*TRIVIAL, floor)):
        return pd.DataFrame()
    means = pd.DataFrame({m: f.filter(like=prefix).mean() for m, f in frames.items()}).T
    means.columns = means.columns.str.removeprefix(prefix)
    totals = {method: frame[f"{prefix}total"] for method, frame in frames.items()}
    best = min(TRIVIAL, key=lambda method: float(means.loc[method, "total"]))
    networks = sorted((m for m in frames if m not in (*TRIVIAL, floor)), key=lambda m: float(means.loc[m, "total"]))
    table = means.loc[[*TRIVIAL, *networks, floor]]
    for method in networks:
        shares = _share(totals[best], totals[method], totals[floor])
        table.loc[method, ["share", "low", "high"]] = shares
    table["pairs"] = [len(frames[method]) for method in table.index]
    return table.reindex(columns=[*means.columns, "share", "low", "high", "pairs"]).rename_axis("method")


def _recorded(dataset: str, split: str, paper: str) -> dict[str, pd.DataFrame]:
    wanted = (*TRIVIAL, f"oracle_{paper}")
    found = {}
    for method, *where in list_measurements():
        if where == [dataset, split] and (method in wanted or method.partition(":")[0] == paper):
            measurement = load_measurement(method, dataset, split)
            if measurement:
                found[method] = measurement.values
    return found


def _share(trivial: pd.Series, network: pd.Series, floor: pd.Series) -> tuple[float, float, float]:
    """Return the share of the way and its interval."""
    samples = paired(trivial, network, floor)
    return float(_of_means(*samples, axis=0)), *bootstrap(_of_means, *samples)


def _of_means(trivial: np.ndarray, network: np.ndarray, floor: np.ndarray, axis: int) -> np.ndarray:
    best = np.mean(trivial, axis=axis)
    return (best - np.mean(network, axis=axis)) / (best - np.mean(floor, axis=axis))
