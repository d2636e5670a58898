"""Quality against time and size: one disc per method (LightFusionNet, Fig. 1)."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionkit.cost import latency, parameters
from fusionkit.errors import FusionkitError
from fusionkit.figures.labels import place_labels
from fusionkit.figures.style import BLUE, GREEN, INK, MUTED, PURPLE, RED, new_figure, styled
from fusionkit.measure import load_measurement, load_method
from fusionkit.papers import Panel

LARGEST_RADIUS = 46.0
DOT_RADIUS = 2.0
COLUMNS = ("method", "mi", "seconds", "parameters_m")


def bubble_data(panel: Panel) -> pd.DataFrame:
    """Read the printed values behind the chart.

    Args:
        panel: A published panel with the columns MI, Time and Param.

    Returns:
        Columns ``method`` (label without the citation), ``mi`` (as printed), ``seconds`` (whole test set) and
        ``parameters_m`` (millions); rows without all three are left out.

    Raises:
        FusionkitError: The panel lacks one of the three columns.
    """
    missing = [name for name in ("MI", "Time", "Param") if name not in panel.published]
    if missing:
        raise FusionkitError(f"{panel.paper}/{panel.id} has no column {missing[0]}; take a panel that has one")
    numbers = panel.published[["MI", "Time", "Param"]].apply(pd.to_numeric, errors="coerce").dropna()
    numbers.columns = list(COLUMNS[1:])
    numbers.insert(0, "method", [short_label(label) for label in numbers.index])
    return numbers.reset_index(drop=True)


def short_label(label: str) -> str:
    """Return a printed row label without its citation; "Ours(X)" becomes X."""
    ours = re.fullmatch(r"Ours\s*\((.+)\)", label)
    return ours[1] if ours else re.sub(r"\s*\(.*\)$", "", label)


def own_bubble(method: str, panel: Panel, label: str) -> pd.DataFrame:
    """Measure what a chart needs of one of our networks; the time is this machine's and not comparable.

    Args:
        method: Method id.
        panel: The panel whose split is used.
        label: Name in the chart.

    Returns:
        One row as in :func:`bubble_data`, ``seconds`` being the warm median for one pair times the number of pairs;
        no row where the method is not measured.
    """
    measurement = load_measurement(method, str(panel.dataset), str(panel.split))
    if measurement is None:
        return pd.DataFrame(columns=list(COLUMNS))
    model, values = load_method(method), measurement.values
    seconds = latency(model, (256, 256), repeats=5, warmup=2).median_ms / 1000 * len(values)
    mi = panel.columns["MI"]
    row = (label, values[f"{mi.metric}@{mi.convention}"].mean(), seconds, parameters(model) / 1e6)
    return pd.DataFrame([row], columns=list(COLUMNS))


@styled
def bubble_chart(table: pd.DataFrame, highlight: Sequence[str] = (), title: str = "") -> Figure:
    """Draw mutual information over time; the area of a disc is proportional to the number of parameters.

    Args:
        table: Columns ``method``, ``mi``, ``seconds`` and ``parameters_m``.
        highlight: Methods to draw in colours of their own.
        title: Line above the chart.

    Raises:
        FusionkitError: A column is missing or there is no row.
    """
    missing = [name for name in COLUMNS if name not in table]
    if missing or table.empty:
        raise FusionkitError(f"bubble chart: the table has no {missing[0] if missing else 'rows'}; add {COLUMNS}")
    figure = new_figure(8.2, 5.4)
    axes = figure.subplots()
    colours = _colours(table["method"], highlight)
    largest = table["parameters_m"].max()
    radii = LARGEST_RADIUS * np.sqrt(table["parameters_m"] / largest)
    axes.scatter(table["seconds"], table["mi"], s=4 * radii**2, c=colours, alpha=0.35, linewidths=0)
    axes.scatter(table["seconds"], table["mi"], s=4 * DOT_RADIUS**2, c=colours, zorder=3)
    axes.set(xlabel="time for the test set (s), lower is better", ylabel="mutual information, higher is better")
    axes.margins(0.12, 0.14)
    axes.grid(True)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left")
    axes.text(1, 1.015, "area of a disc = parameters", transform=axes.transAxes, ha="right", color=MUTED, fontsize=8)
    names = [f"{row.method}  {_millions(row.parameters_m)}" for row in table.itertuples()]
    ink = [colour if method in highlight else INK for method, colour in zip(table["method"], colours, strict=True)]
    points = list(zip(table["seconds"], table["mi"], strict=True))
    place_labels(axes, points, [max(r, DOT_RADIUS) for r in radii], names, ink)
    return figure


def _colours(methods: Sequence[str], highlight: Sequence[str]) -> list[str]:
    special = dict(zip(highlight, (RED, GREEN, PURPLE) * len(highlight), strict=False))
    return [special.get(method, BLUE) for method in methods]


def _millions(value: float) -> str:
    return f"{value:.3g} M" if value >= 0.1 else f"{value * 1000:.3g} k"
