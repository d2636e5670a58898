"""Radar charts of a table's columns, every axis from the worst to the best value that the table prints."""

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.projections.polar import PolarAxes

from fusionkit.errors import FusionkitError
from fusionkit.figures.bubble import short_label
from fusionkit.figures.charts import require
from fusionkit.figures.style import CYCLE, FAINT, MUTED, new_figure, styled
from fusionkit.tables import Table
from fusionkit.tables.build import PUBLISHED
from fusionkit.tables.cells import printed_number

# The centre lies half a printed range below the worst printed value, the rim as far above the best one.
MARGIN = 0.5
RIM = 1 + 2 * MARGIN
FEWEST_AXES = 3
IN_PRINT, HERE = "printed", "measured"
COLUMNS = ("method", "source", "column", "value", "worst", "best", "position")


def radar_data(table: Table, rows: Sequence[str]) -> pd.DataFrame:
    """Return the numbers of some rows on axes that the printed values span.

    Args:
        table: Result of ``fusionkit.tables.build``; columns without a metric are left out.
        rows: Labels of rows; those of context rows are method ids. One that the table does not have is left out,
            as a rule that is not measured yet.

    Returns:
        One line per row, source (``"printed"`` or ``"measured"``) and column that has a value: ``method``,
        ``source``, ``column``, ``value``, the ``worst`` and ``best`` value printed in that column, and ``position``,
        0 at the worst and 1 at the best; measured values may lie outside.

    Raises:
        FusionkitError: A column prints one value only, or the table has fewer than three columns to draw.
    """
    known = {row.label: row for row in table.rows}
    printed_rows = [row.label for row in table.rows if row.kind == PUBLISHED]
    columns = [c for c in table.columns if c.printed and c.reading]
    if len(columns) < FEWEST_AXES:
        raise FusionkitError(f"{table.name}: a radar chart needs {FEWEST_AXES} quality columns, not {len(columns)}")
    lines = []
    for column in columns:
        printed = {label: _printed(table, label, column.label) for label in printed_rows}
        worst, best = _range(printed, column.column.better, f"{table.name}, column {column.label}")
        for label in (row for row in rows if row in known):
            values = {IN_PRINT: printed.get(label), HERE: table.cells[label, column.label].mean}
            for source, value in values.items():
                if value is not None:
                    position = (value - worst) / (best - worst)
                    lines.append((short_label(label), source, column.label, value, worst, best, position))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _printed(table: Table, row: str, column: str) -> float | None:
    return printed_number(table.cells[row, column].published, table.panel.columns[column].unit)


def _range(printed: Mapping[str, float | None], better: str, what: str) -> tuple[float, float]:
    numbers = [number for number in printed.values() if number is not None]
    if len(set(numbers)) < 2:
        raise FusionkitError(f"{what}: fewer than two different values are printed; an axis needs a range")
    ends = (min(numbers), max(numbers))
    return ends[::-1] if better == "lower" else ends


@styled
def radar_chart(charts: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Draw radar charts side by side, a line per row and source; nothing is filled, since areas mean nothing.

    The inner ring is the worst and the outer ring the best printed value of each axis, whose ends stand below the
    column's name. Values beyond the rim or the centre are drawn there as a cross. Solid lines are measured, dashed
    ones printed.

    Args:
        charts: Results of :func:`radar_data` by title.
        title: Line above all charts.

    Raises:
        FusionkitError: There is no chart, or one without rows.
    """
    if not charts:
        raise FusionkitError("radar chart: there is no table; give at least one")
    for name, data in charts.items():
        require(data, COLUMNS, f"radar chart {name}")
    methods = list(dict.fromkeys(method for data in charts.values() for method in data["method"]))
    colours = {method: CYCLE[i % len(CYCLE)] for i, method in enumerate(methods)}
    across = min(len(charts), 3)
    down = -(-len(charts) // across)
    figure = new_figure(3.8 * across, 3.5 * down + 0.6)
    figure.suptitle(title)
    handles: dict[str, Line2D] = {}
    for i, (name, data) in enumerate(charts.items()):
        axes = figure.add_subplot(down, across, i + 1, projection="polar")
        _frame(axes, data.drop_duplicates("column"))
        axes.set_title(name, pad=16)
        for (method, source), positions in _lines(data).items():
            handles[f"{method}, {source}"] = _line(axes, positions, colours[method], dashed=source == IN_PRINT)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure


def _frame(axes: PolarAxes, columns: pd.DataFrame) -> None:
    """Draw spokes, the two rings and the names of the axes."""
    names = [f"{c.column}\n{c.worst:.3g} to {c.best:.3g}" for c in columns.itertuples()]
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_ylim(0, RIM)
    axes.set_yticks([MARGIN, 1 + MARGIN], ["", ""])
    axes.set_xticks(_angles(len(names)), names, fontsize=7)
    for label, angle in zip(axes.get_xticklabels(), _angles(len(names)), strict=True):
        side = np.sin(angle)  # angles run clockwise from the top
        label.set_horizontalalignment("left" if side > 0.1 else "right" if side < -0.1 else "center")
    axes.tick_params(axis="x", pad=1)
    axes.yaxis.grid(color=MUTED, lw=0.8)
    axes.xaxis.grid(color=FAINT, lw=0.8)
    axes.spines["polar"].set_color(FAINT)


def _line(axes: PolarAxes, positions: pd.Series, colour: str, dashed: bool) -> Line2D:
    """Draw one line: ``positions`` per axis, NaN where there is no value."""
    angles, radius = _angles(len(positions)), radii(positions.to_numpy())
    style = {"ls": "--", "markerfacecolor": "white"} if dashed else {"ls": "-"}
    closed = np.append(angles, angles[0]), np.append(radius, radius[0])
    (line,) = axes.plot(*closed, color=colour, lw=1.3, marker="o", ms=3.5, clip_on=False, **style)
    outside = ((positions < -MARGIN) | (positions > 1 + MARGIN)).to_numpy()
    axes.scatter(angles[outside], radius[outside], marker="x", s=45, color=colour, zorder=5, clip_on=False)
    return line


def radii(position: np.ndarray) -> np.ndarray:
    """Return distances from the centre: 0 to ``RIM``, values beyond are drawn at these."""
    return np.clip(np.asarray(position) + MARGIN, 0, RIM)


def _lines(data: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """Return the positions on all axes of each row and source, NaN where there is none."""
    names = data["column"].drop_duplicates()
    groups = data.groupby(["method", "source"], sort=False)
    return {key: part.set_index("column")["position"].reindex(names) for key, part in groups}


def _angles(count: int) -> np.ndarray:
    return np.arange(count) * 2 * np.pi / count


def radar_areas(data: pd.DataFrame) -> pd.DataFrame:
    """Return what area each line of a radar chart encloses, under every order of its axes and with another centre.

    Args:
        data: Result of :func:`radar_data`.

    Returns:
        One line per row and source that has a value on every axis. Areas are relative to the ring of the best printed
        values: ``as drawn``, the ``smallest`` and ``largest`` over the orders of the axes, and ``worst in the
        centre``, with the axes in the order drawn, but starting at the worst printed value.
    """
    rows = {}
    whole = (1 + MARGIN) ** 2
    for (method, source), positions in _lines(data).items():
        if positions.notna().all():
            drawn = radii(positions.to_numpy())
            orders = [_area(drawn[[0, *order]]) / whole for order in permutations(range(1, len(drawn)))]
            centred = _area(np.clip(positions.to_numpy(), 0, None))
            rows[f"{method}, {source}"] = [_area(drawn) / whole, min(orders), max(orders), centred]
    names = ["as drawn", "smallest", "largest", "worst in the centre"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("line")


def _area(radius: np.ndarray) -> float:
    """Return the area of a polygon in units of the regular one with radius 1."""
    return float((radius * np.roll(radius, -1)).mean())
