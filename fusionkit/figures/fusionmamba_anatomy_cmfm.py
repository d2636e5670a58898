"""The cross-modality mixing of FusionMamba on one pair: hybrid features, gates and attention (Fig. 5)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.figures.anatomy_draw import draw_bars, draw_maps, draw_sorted
from fusionkit.figures.anatomy_run import Maps, Run, telling_channels
from fusionkit.figures.fusionmamba_anatomy import cmfm_anatomy, modalities
from fusionkit.figures.style import BLUE, GREEN, ORANGE, new_figure, styled

BINS = 80
VALUES = {"C1": "C1", "C2": "C2", "product": "C1 x C2", "hybrid": "hybrid"}
GATED = {"scanned": "scanned, norm", "gate1": "gate 1", "gate2": "gate 2", "H1": "H1", "H2": "H2", "Hf": "Hf = H1 + H2"}
ENDS = {"mixed": "linear of Hf", "kept": "ECA", "X": "X"}


@styled
def cmfm_figure(run: Run, level: int = 0, rank: int = 1) -> Figure:
    """Draw the maps of the CMFM of a level, its attention, its gates, and the sizes of what it adds up.

    Args:
        run: A run.
        level: From 0, the finest.
        rank: Which channel to show: 1 varies most over the image, 2 second most. It is one of X, and in the code's
            form, which is twice as wide inside, one of the hybrid map for what happens there.

    Raises:
        FusionkitError: As ``cmfm_anatomy``.
    """
    maps, (first, second) = cmfm_anatomy(run, level), modalities(run.pair)
    outer = int(telling_channels(maps["X"])[rank - 1])
    wider = "mixed" in maps
    inner = int(telling_channels(maps["hybrid"])[rank - 1]) if wider else outer
    maps["product"] = maps["C1"] * maps["C2"]
    figure = new_figure(11.5, 7.2)
    inside = f", inside {inner}" if wider else ""
    figure.suptitle(f"{run.title}: CMFM of level {level}, channel {outer}{inside}")
    parts = figure.subfigures(2, 1, height_ratios=(2, 1.1))
    upper, lower = parts[0].subplots(2, 6)
    draw_maps(upper[:2], {f"D1, {first}": maps["D1"], f"D2, {second}": maps["D2"]}, outer)
    draw_maps(upper[2:], {title: maps[name] for name, title in VALUES.items()}, inner)
    draw_maps(lower, {title: maps[name] for name, title in GATED.items()}, inner)
    ends = {title: maps[name] for name, title in ENDS.items() if name in maps}
    charts = parts[1].subplots(1, len(ends) + 3, width_ratios=[1] * len(ends) + [1.2, 1.2, 1.4])
    draw_maps(charts[: len(ends)], ends, outer)
    draw_sorted(charts[-3], {"weight": (maps["weights"], BLUE)}, "weight")
    charts[-3].set_title("ECA: weight of each channel", fontsize=8.5)
    draw_gates(charts[-2], maps["gate1"], maps["gate2"])
    sizes = {title: np.linalg.norm(maps[name]) for name, title in _summands(maps).items()}
    draw_bars(charts[-1], sizes, [ORANGE] + [GREEN] * (len(sizes) - 2) + [BLUE], "{:.0f}")
    charts[-1].set_title("norm of what is added up", fontsize=8.5)
    return figure


def _summands(maps: Maps) -> dict[str, str]:
    """Return which maps are shown by their norm: the product and the others of eq. 6, then what X is made of."""
    if "mixed" in maps:
        return {"product": "C1 x C2", "C1": "C1", "C2": "C2", "F1": "F1", "F2": "F2", "mixed": "linear", "kept": "ECA"}
    return {"product": "C1 x C2", "D1": "D1", "D2": "D2", "kept": "ECA"}


def draw_gates(axes: Axes, one: np.ndarray, other: np.ndarray, names: tuple[str, str] = ("gate 1", "gate 2")) -> None:
    """Draw how often two gates have which values at one place, and their correlation."""
    axes.hist2d(one.ravel(), other.ravel(), bins=BINS, norm="log", cmap="viridis", rasterized=True)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.set_title(f"gates: correlation {correlation(one, other):.3f}", fontsize=8.5)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two stacks of maps over all channels and places."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@styled
def gates_figure(runs: Sequence[Run], level: int = 0) -> Figure:
    """Draw the two gates against each other: as they run and, where the code's form runs, as they were meant.

    Args:
        runs: Runs of one network each.
        level: From 0, the finest.
    """
    panels = []
    for run in runs:
        maps = cmfm_anatomy(run, level)
        panels.append((run.title, maps["gate1"], maps["gate2"], "gate 2"))
        if "own_gate2" in maps:
            panels.append((f"{run.title}, not used", maps["gate1"], maps["own_gate2"], "gate 2 from modality 2"))
    figure = new_figure(3.5 * len(panels), 3.1)
    for axes, (title, one, other, name) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_gates(axes, one, other, ("gate 1", name))
        axes.set_title(f"{title}: {axes.get_title().removeprefix('gates: ')}", fontsize=9)
    return figure


def cmfm_facts(run: Run, level: int) -> dict[str, float]:
    """Return what the CMFM of a level does on this pair.

    Returns:
        Norm of the ``product`` in eq. 6 relative to the hybrid map; correlation of the ``gates``; ECA weights
        ``eca_low``, ``eca_high``, ``eca_std``; ``mixed``: norm of what the mixing adds to X, relative to the features
        that bypass it. Where the code's second gate runs also ``gates_own``, the correlation with the gate that the
        second modality would have, and ``error``, the largest deviation of gate 2 from SiLU of gate 1.

    Raises:
        FusionkitError: As ``cmfm_anatomy``.
    """
    maps = cmfm_anatomy(run, level)
    gates = {"gates": correlation(maps["gate1"], maps["gate2"])}
    bypass, added = maps["D1"] + maps["D2"], maps["kept"]
    if "mixed" in maps:
        bypass, added = maps["F1"] + maps["F2"], maps["mixed"] + maps["kept"]
    if "own_gate2" in maps:
        silu = maps["gate1"] / (1 + np.exp(-maps["gate1"]))
        gates["gates_own"] = correlation(maps["gate1"], maps["own_gate2"])
        gates["error"] = float(np.abs(maps["gate2"] - silu).max())
    return {
        "product": float(np.linalg.norm(maps["C1"] * maps["C2"]) / np.linalg.norm(maps["hybrid"])),
        **gates,
        "eca_low": float(maps["weights"].min()),
        "eca_high": float(maps["weights"].max()),
        "eca_std": float(maps["weights"].std()),
        "mixed": float(np.linalg.norm(added) / np.linalg.norm(bypass)),
    }


def cmfm_table(run: Run) -> pd.DataFrame:
    """Return :func:`cmfm_facts` of every level, one row each."""
    rows = {f"level {level}": cmfm_facts(run, level) for level in range(len(run.model.fusion))}
    return pd.DataFrame.from_dict(rows, orient="index")


def cmfm_words(run: Run) -> str:
    """Return in words what :func:`cmfm_table` says, finest level first."""
    table = cmfm_table(run)
    gates = f"correlation of the two gates: {_list(table['gates'])}"
    if "error" in table:
        gates += (
            f"; gate 2 is SiLU of gate 1 within {table['error'].max():.0e}; a gate from the second modality would "
            f"correlate by {_list(table['gates_own'])}"
        )
    return "\n".join(
        [
            f"norm of the product relative to the hybrid map: {_list(table['product'])}",
            gates,
            f"ECA: weights between {table['eca_low'].min():.3f} and {table['eca_high'].max():.3f}; standard deviation "
            f"over the channels {_list(table['eca_std'])}",
            f"norm of what the mixing adds, relative to the features that bypass it: {_list(table['mixed'])}",
        ]
    )


def gates_verdict(runs: Sequence[Run]) -> str:
    """Return in one line how the two gates of each network correlate, finest level first."""
    found = (f"{run.title} {_list(cmfm_table(run)['gates'])}" for run in runs)
    return "correlation of the gates: " + "; ".join(found)


def _list(values: pd.Series) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
