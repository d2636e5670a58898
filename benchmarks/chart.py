"""The cost of a scan and of attention against the length of the sequence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.figures.style import BLUE, GREEN, MUTED, PURPLE, RED, new_figure, save, styled

COLOURS = (BLUE, GREEN, PURPLE)
TITLES = {"forward": "Forward", "forward+backward": "Forward and backward"}


def draw(file: Path) -> None:
    """Draw the chart of a result file of the suite ``scan`` beside it, as ``scan.png``."""
    content = json.loads(file.read_text())
    save(scan_chart(content["results"]), file.with_name("scan.png"), content["metadata"])


@styled
def scan_chart(results: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw time against length, both logarithmic: a straight line's slope is the power of L with which cost grows.

    Args:
        results: The part ``results`` of a result file; what was skipped there is left out.

    Returns:
        The figure; the legend gives each line's slope between its last two points.
    """
    figure = new_figure(7.2, 3.4)
    panels = figure.subplots(1, len(TITLES), sharey=True)
    for axes, (kind, title) in zip(panels, TITLES.items(), strict=True):
        scans, attention = _times(results["scan"], "numba", kind), _times(results["attention"], "attention", kind)
        for (channels, rows), colour in zip(scans.groupby("channels"), COLOURS, strict=False):
            _line(axes, rows, f"scan, D = {channels}", colour, "-")
        _line(axes, attention, f"attention, width {attention['width'].iloc[0]}", RED, "--")
        lengths = sorted(set(scans["length"]) | set(attention["length"]))
        axes.set(title=title, xlabel="length L", xscale="log", yscale="log")
        axes.set_xticks(lengths, [str(length) for length in lengths], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(True, color=MUTED, alpha=0.2)
        axes.legend(loc="lower right")
    panels[0].set_ylabel("milliseconds")
    return figure


def _times(rows: list[dict[str, Any]], method: str, kind: str) -> pd.DataFrame:
    chosen = [row for row in rows if row["pass"] == kind and "median_ms" in row[method]]
    return pd.DataFrame([row | {"ms": row[method]["median_ms"]} for row in chosen])


def _line(axes: Axes, rows: pd.DataFrame, label: str, colour: str, style: str) -> None:
    length, ms = rows["length"].to_numpy(), rows["ms"].to_numpy()
    if len(rows) > 1:
        slope = np.log(ms[-1] / ms[-2]) / np.log(length[-1] / length[-2])
        label += f" (slope {slope:.1f})"
    axes.plot(length, ms, style, marker="o", markersize=3.5, color=colour, label=label)
