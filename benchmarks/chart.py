"""Charts of results: what a scan, attention, and networks of them cost against the size of their input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.figures.style import BLUE, GREEN, MUTED, PURPLE, RED, new_figure, save, styled

COLOURS = (BLUE, GREEN, PURPLE)
TITLES = {"forward": "Forward", "forward+backward": "Forward and backward"}
NETWORKS = {"scan": ("scan", BLUE), "windows": ("attention in windows", GREEN), "global": ("attention to all", RED)}


def draw(file: Path) -> None:
    """Draw the chart of a result file beside it, named after its suite, a key of ``CHARTS``."""
    content, suite = json.loads(file.read_text()), file.stem.split("--")[0]
    save(CHARTS[suite](content["results"]), file.with_name(f"{suite}.png"), content["metadata"])


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
            _line(axes, rows["length"], rows["ms"], f"scan, D = {channels}", colour, "-")
        label = f"attention, width {attention['width'].iloc[0]}"
        _line(axes, attention["length"], attention["ms"], label, RED, "--")
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


@styled
def scaling_chart(results: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw time and memory of networks against the number of pixels, both logarithmic; slope 1 is linear growth.

    Args:
        results: The part ``results`` of a result file.

    Returns:
        The figure; the legend gives each line's slope between its last two points.
    """
    rows = pd.DataFrame(results["inference"])
    rows = rows.assign(pixels=rows["side"] ** 2, seconds=[time["median_ms"] / 1e3 for time in rows["time"]])
    figure = new_figure(7.6, 4.2)
    panels = zip(figure.subplots(1, 2), ("seconds", "peak_mb"), ("seconds", "peak memory (MB)"), strict=True)
    for axes, value, words in panels:
        for (network, threads), line in rows.groupby(["network", "threads"], sort=False):
            label, colour = NETWORKS[network]
            style = "-" if threads == rows["threads"].max() else ":"
            counted = f"{label}, {threads} thread{'s' * (threads > 1)}"
            _line(axes, line["pixels"], line[value], counted, colour, style)
        sides = sorted(set(rows["side"]))
        axes.set(xlabel="pixels", ylabel=words, xscale="log", yscale="log")
        axes.set_xticks([side**2 for side in sides], [f"{side}²" for side in sides])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(True, color=MUTED, alpha=0.2)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18))
    return figure


def _line(axes: Axes, xs: pd.Series, ys: pd.Series, label: str, colour: str, style: str) -> None:
    x, y = xs.to_numpy(), ys.to_numpy()
    if len(x) > 1:
        label += f" (slope {np.log(y[-1] / y[-2]) / np.log(x[-1] / x[-2]):.1f})"
    axes.plot(x, y, style, marker="o", markersize=3.5, color=colour, label=label)


CHARTS: dict[str, Callable[[dict[str, list[dict[str, Any]]]], Figure]] = {"scan": scan_chart, "scaling": scaling_chart}
