"""Charts of what is measured here: beside the published values, and on a network's own loss."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit import losses
from fusionkit.errors import FusionkitError
from fusionkit.figures.bubble import short_label
from fusionkit.figures.charts import require
from fusionkit.figures.style import BLUE, CYCLE, INK, RED, new_figure, styled
from fusionkit.tables import Table, TableRow
from fusionkit.tables.build import RELABELLED
from fusionkit.tables.cells import printed_number
from fusionkit.yardstick import TRIVIAL


def comparison_data(table: Table) -> pd.DataFrame:
    """Return the numbers of a table, one line per cell that has one.

    Args:
        table: Result of ``fusionkit.tables.build``.

    Returns:
        Columns ``method``, ``column``, ``published``, ``measured``, ``low`` and ``high`` (95 % interval of the
        measured mean), NaN where there is none. Left out are inputs of the experiment, costs, other readings of a
        column, and columns without any measured value.
    """
    lines = []
    wanted = [c for c in table.columns if c.printed and c.column.role is None and c.column.cost is None]
    for row in table.rows:
        for column in wanted:
            cell = table.cells[row.label, column.label]
            published = printed_number(cell.published, column.column.unit)
            if published is not None or cell.mean is not None:
                interval = cell.interval or (None, None)
                lines.append((_label(row), column.label, published, cell.mean, *interval))
    names = ["method", "column", "published", "measured", "low", "high"]
    frame = pd.DataFrame(lines, columns=names).astype({name: float for name in names[2:]})
    return frame[frame.groupby("column")["measured"].transform("count") > 0].reset_index(drop=True)


def _label(row: TableRow) -> str:
    """Return a row's label without its citation; a second reading keeps its mark."""
    return row.label if row.kind == RELABELLED else short_label(row.label)


@styled
def published_vs_measured(data: pd.DataFrame, title: str = "") -> Figure:
    """Draw the published and the measured value of each row, one part of the figure per column of the table.

    Args:
        data: Result of :func:`comparison_data`, or a part of it.
        title: Line above the chart.

    Raises:
        FusionkitError: A column is missing, or there is no row: nothing is measured yet.
    """
    require(data, ("method", "column", "published", "measured", "low", "high"), "published beside measured")
    methods, columns = list(data["method"].unique()), list(data["column"].unique())
    longest = max(len(method) for method in methods)
    figure = new_figure(1.6 * len(columns) + 0.075 * longest, 0.27 * len(methods) + 1.3)
    figure.suptitle(title)
    row = np.atleast_1d(figure.subplots(1, len(columns), sharey=True))
    for axes, column in zip(row, columns, strict=True):
        _dots(axes, data[data["column"] == column], methods)
        axes.set_title(column)
    row[0].set_ylim(len(methods) - 0.5, -0.5)
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _dots(axes: Axes, part: pd.DataFrame, methods: list[str]) -> None:
    height = [methods.index(method) for method in part["method"]]
    axes.hlines(height, part["published"], part["measured"], color="#CCCCCC", lw=1.2, zorder=1)
    axes.hlines(height, part["low"], part["high"], color=BLUE, lw=2.6, alpha=0.45, zorder=2)
    axes.scatter(part["measured"], height, s=26, color=BLUE, zorder=3, label="measured, bar: 95 % interval")
    ring = {"facecolors": "none", "edgecolors": RED, "lw": 1.4}
    axes.scatter(part["published"], height, s=34, zorder=4, label="published", **ring)
    axes.set_yticks(range(len(methods)), methods)
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=4)


def weighted_terms(table: pd.DataFrame, paper: str) -> pd.DataFrame:
    """Return the terms of a yardstick times their weights, which sum to the total.

    Args:
        table: Result of ``fusionkit.yardstick.yardstick``.
        paper: Name of the loss.
    """
    weights = losses.preset(losses.measured_preset(paper)).weights
    return pd.DataFrame({term: table[term] * weight for term, weight in weights.items()}, index=table.index)


@styled
def yardstick_chart(tables: Mapping[str, pd.DataFrame], paper: str, title: str = "") -> Figure:
    """Draw a paper's own loss for trivial rules, networks and the floor, one part of the figure per dataset.

    Each bar is made of the weighted terms. Networks carry the share of the way from the better trivial rule to
    the floor that they cover; dotted lines mark these two.

    Args:
        tables: Result of ``fusionkit.yardstick.yardstick`` by title of the dataset.
        paper: Whose loss it is.
        title: Line above the chart.

    Raises:
        FusionkitError: There is no dataset, or one without measurements.
    """
    if not tables:
        raise FusionkitError("yardstick: there is no dataset; measure one first")
    for dataset, table in tables.items():
        require(table, ("total", "share"), f"yardstick of {dataset}")
    tallest = max(len(table) for table in tables.values())
    figure = new_figure(max(4.2 * len(tables), 6.5), 0.3 * tallest + 1.6)
    figure.suptitle(title)
    row = np.atleast_1d(figure.subplots(1, len(tables)))
    for axes, (dataset, table) in zip(row, tables.items(), strict=True):
        _stack(axes, weighted_terms(table, paper))
        _annotate(axes, table)
        axes.set_title(dataset)
        axes.set_xlabel("loss, lower is better; dotted: better rule and floor")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _stack(axes: Axes, terms: pd.DataFrame) -> None:
    left = np.zeros(len(terms))
    for (term, values), colour in zip(terms.items(), CYCLE, strict=False):
        axes.barh(range(len(terms)), values, left=left, color=colour, alpha=0.85, height=0.7)
        axes.plot([], [], color=colour, lw=6, alpha=0.85, label=str(term).replace("_", " "))
        left = left + values.to_numpy()
    axes.set_yticks(range(len(terms)), terms.index)
    axes.invert_yaxis()


def _annotate(axes: Axes, table: pd.DataFrame) -> None:
    better = min(table.at[rule, "total"] for rule in TRIVIAL if rule in table.index)
    for value in (better, table["total"].iloc[-1]):
        axes.axvline(value, color=INK, lw=0.8, ls=":", zorder=3)
    patch = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    for i, (total, share) in enumerate(zip(table["total"], table["share"], strict=True)):
        note, colour = ("", INK) if np.isnan(share) else (f"   {share:+.0%} of the way", RED)
        text = f"{total:.1f}{note}"
        axes.annotate(
            text, (total, i), (4, 0), textcoords="offset points", va="center", fontsize=8, color=colour, bbox=patch
        )
    axes.set_xlim(0, table["total"].max() * 1.45)
