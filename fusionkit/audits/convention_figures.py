"""Pictures of how well conventions explain printed numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fusionkit.audits.conventions import way
from fusionkit.figures.style import BLUE, INK, MUTED, ORANGE, RED, new_figure, styled
from fusionkit.metrics import CONVENTIONS


@styled
def agreement_figure(found: pd.DataFrame, title: str) -> Figure:
    """Draw relative deviations of every convention from printed numbers as a matrix; a frame marks equal digits.

    Args:
        found: Result of :func:`candidates`.
        title: What the printed numbers are.
    """
    plain = found[(found["factor"] == 1) & (found["candidate"] == found["metric"])]
    names = [name for name in CONVENTIONS if name in set(plain["convention"])]
    metrics = list(dict.fromkeys(plain["metric"]))
    figure = new_figure(1.15 * len(names) + 2.2, 0.5 * len(metrics) + 1.4)
    axes = figure.subplots()
    matrix = np.full((len(metrics), len(names)), np.nan)
    for item in plain.itertuples():
        row, column = metrics.index(item.metric), names.index(item.convention)
        matrix[row, column] = np.log10(max(item.deviation, 1e-5))
        weight = "bold" if item.digits else "normal"
        dark = matrix[row, column] > -1.5
        axes.text(
            column, row, f"{item.measured:.6g}", ha="center", va="center", color="white" if dark else INK, weight=weight
        )
        if item.digits:
            axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, ec=RED, lw=1.8))
    drawn = axes.imshow(matrix, cmap="cividis_r", vmin=-5, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    texts = plain.drop_duplicates("metric").set_index("metric")["printed"]
    axes.set_yticks(range(len(metrics)), [f"{metric}  {texts[metric]}" for metric in metrics])
    axes.set_title(title)
    bar = figure.colorbar(drawn, ax=axes, ticks=[-5, -3, -1, 1])
    bar.ax.set_yticklabels(["1e-5", "0.1 %", "10 %", "x 10"])
    bar.set_label("relative deviation")
    return figure


@styled
def reach_figure(tables: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> Figure:
    """Draw the range of printed values beside the ranges that own images give under the nearest conventions.

    Args:
        tables: Results of ``reach`` by name of the panel, one row of the figure each.
        columns: Printed columns to show.
    """
    figure = new_figure(2.9 * len(columns), 1.75 * len(tables) + 0.3)
    grid = figure.subplots(len(tables), len(columns), squeeze=False)
    for row, (name, table) in zip(grid, tables.items(), strict=True):
        for axes, column in zip(row, columns, strict=True):
            found = table[table["column"] == column].drop_duplicates(["candidate", "low", "high"]).head(5)
            first = found.iloc[0]
            axes.axvspan(first["printed low"], first["printed high"], color=ORANGE, alpha=0.35, lw=0)
            for place, item in enumerate(found.to_dict("records")):
                colour = BLUE if item["within reach"] > 0.5 else MUTED
                axes.plot([item["low"], item["high"]], [place, place], "|-", color=colour, lw=3, ms=8)
            axes.set_yticks(range(len(found)), [way(item) for item in found.to_dict("records")], fontsize=7)
            axes.set(ylim=(len(found) - 0.5, -0.5), xlim=(0, None) if first["low"] >= 0 else None)
            axes.set_title(f"{name}: {column}" if axes is row[0] else column, loc="left")
    return figure
