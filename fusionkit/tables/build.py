"""Published numbers and measurements joined into one table with verdicts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from fusionkit.measure import load_measurement, panel_methods
from fusionkit.models import MODELS
from fusionkit.papers import Column, Panel, Reading, Row, get_panel
from fusionkit.released import list_released
from fusionkit.tables import claims
from fusionkit.tables.cells import Cell, Values, make_cell, printed_decimals, printed_number
from fusionkit.tables.costs import COUNTED, cost_of

PUBLISHED, RELABELLED, CONTEXT = "published", "relabelled", "context"
Measured = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class TableRow:
    """A row: of the printed table, of its second reading, or measured only, for context."""

    label: str
    kind: str
    method: str | None
    source: Row | None = None


@dataclass(frozen=True)
class TableColumn:
    """A column: a printed one, or another reading of it, which is measured only."""

    label: str
    column: Column
    reading: Reading | None
    printed: bool = True


@dataclass(frozen=True, eq=False)
class Table:
    """One panel with everything that is known about it.

    Attributes:
        panel: The published record.
        rows: Printed rows (a second reading follows the row it belongs to), then context.
        columns: Printed columns, each followed by its other readings.
        cells: By row label and column label.
        outcomes: One per claim of the panel.
        tau: Kendall's tau between printed and measured order and the number of rows, by column label.
        seeds: Lowest and highest mean over training seeds of a row that has several, by (row, column) label.
    """

    panel: Panel
    rows: tuple[TableRow, ...]
    columns: tuple[TableColumn, ...]
    cells: Mapping[tuple[str, str], Cell]
    outcomes: tuple[claims.Outcome, ...] = ()
    tau: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    seeds: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the full name, ``<paper>/<panel>``."""
        return f"{self.panel.paper}/{self.panel.id}"

    @property
    def pairs(self) -> int:
        """Return on how many pairs the printed rows are measured, those without a finite value included; 0 for none."""
        return max((cell.pairs + cell.excluded for cell in self.cells_of(PUBLISHED)), default=0)

    def cells_of(self, kind: str) -> list[Cell]:
        """Return the cells of all rows of a kind in printed columns that are not inputs of the experiment."""
        columns = [c.label for c in self.columns if c.printed and c.column.role is None]
        return [self.cells[row.label, label] for row in self.rows if row.kind == kind for label in columns]


def build(panel: Panel | str, measured: Measured | None = None) -> Table:
    """Set a panel's published numbers beside measured ones.

    Args:
        panel: A panel, or its name such as ``"lightfusionnet/table1a"``.
        measured: Per-image values by method id, columns ``<metric>@<convention>``; None takes the measurements
            on record. Methods that no row names become context rows.

    Raises:
        FusionkitError: There is no such panel.
    """
    panel = get_panel(panel) if isinstance(panel, str) else panel
    if measured is None:
        measured = recorded(panel)
    rows, columns = _rows(panel, measured), _columns(panel)
    values = {(r.label, c.label): _values(panel, r, c, measured) for r in rows for c in columns}
    cells = {(r.label, c.label): _cell(panel, r, c, values[r.label, c.label], measured) for r in rows for c in columns}
    seeds = _seeds(rows, columns, cells)
    return Table(panel, rows, columns, cells, _outcomes(panel, rows, values, seeds), _tau(rows, columns, cells), seeds)


def recorded(panel: Panel) -> dict[str, pd.DataFrame]:
    """Return the measurements on record that a panel shows, by method id; none where it prints no metric."""
    if not panel.dataset or not panel.split or not any(column.metric for column in panel.columns.values()):
        return {}
    found = {method: load_measurement(method, panel.dataset, panel.split) for method in panel_methods(panel)}
    return {method: measurement.values for method, measurement in found.items() if measurement}


def _rows(panel: Panel, measured: Measured) -> tuple[TableRow, ...]:
    rows: list[TableRow] = []
    for row in panel.rows.values():
        rows.append(TableRow(row.label, PUBLISHED, row.method, row))
        if row.relabelled:
            rows.append(TableRow(f"{row.label} (relabelled)", RELABELLED, row.relabelled, row))
    shown = {row.method for row in rows}
    return (*rows, *(TableRow(method, CONTEXT, method) for method in measured if method not in shown))


def _columns(panel: Panel) -> tuple[TableColumn, ...]:
    columns: list[TableColumn] = []
    for column in panel.columns.values():
        own = Reading(column.metric, column.convention or "", column.scale) if column.metric else None
        columns.append(TableColumn(column.name, column, own))
        for reading in column.also:
            what = reading.convention if reading.metric == column.metric else f"{reading.metric}, {reading.convention}"
            label = f"{column.name} [{what}]" if reading.scale == 1 else f"{column.name} [{reading.scale:g} x {what}]"
            columns.append(TableColumn(label, column, reading, printed=False))
    return tuple(columns)


def _values(panel: Panel, row: TableRow, column: TableColumn, measured: Measured) -> Values | None:
    """Return per-image values or a cost, None where nothing is measured."""
    if column.column.not_measured:
        return None
    if column.reading and row.method:
        key = _key(column.reading)
        frame = measured.get(row.method)
        return None if frame is None or key not in frame else frame[key] * column.reading.scale
    counted = row.source and (row.source.cost or row.method)
    if column.column.cost and counted:
        return cost_of(counted, column.column.cost, _size(panel, row.source.label), row.source.cost_options)
    return None


def _cell(panel: Panel, row: TableRow, column: TableColumn, values: Values | None, measured: Measured) -> Cell:
    printed = panel.published[column.column.name]
    text = str(printed[row.source.label]) if row.source and column.printed else ""
    if column.column.role:
        return Cell(text)
    unit = column.column.unit
    decimals = max((printed_decimals(t, unit) for t in printed if printed_number(t, unit) is not None), default=3)
    return make_cell(text, column.column, values, _reason(panel, row, column, measured), decimals)


def _reason(panel: Panel, row: TableRow, column: TableColumn, measured: Measured) -> tuple[str, str]:
    """Return why nothing is measured and the row or column that this is about."""
    source, where = column.column, f"{panel.dataset}/{panel.split}"
    if source.not_measured:
        return source.not_measured, source.name
    if row.source and row.source.missing:
        return row.source.missing, row.label
    if row.source and row.source.status == "planned" and row.method not in measured:
        return "planned: no model and no measurement yet", row.label
    if source.cost:
        unknown = "no weights and no training recipe say what its model looks like"
        return (unknown, row.label) if source.cost in COUNTED else ("not counted by fusionkit", source.name)
    if not source.metric:
        return "not a quantity that fusionkit measures", source.name
    if row.method not in measured:
        name = row.method.partition(":")[0]
        others = name in MODELS and list_released(name)
        hint = " (not measured, or weights missing: `fusionkit models` says where they belong)" if others else ""
        return f"no measurement on {where} is on record{hint}", row.label
    return f"the measurement on {where} lacks {_key(column.reading)}", column.label


def _key(reading: Reading | None) -> str:
    return f"{reading.metric}@{reading.convention}" if reading else ""


def _size(panel: Panel, label: str) -> tuple[int, int]:
    """Return the image size that a row prints among its inputs, else 256x256."""
    inputs = [str(panel.published.loc[label, c.name]) for c in panel.columns.values() if c.role == "input"]
    found = next((match for text in inputs if (match := re.search(r"(\d+),\s*(\d+)\)$", text))), None)
    return (int(found[1]), int(found[2])) if found else (256, 256)


def _seeds(
    rows: tuple[TableRow, ...], columns: tuple[TableColumn, ...], cells: Mapping[tuple[str, str], Cell]
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the range of means over the seeds of each row, in either reading, of which several are measured."""
    found = {}
    for row in (r for r in rows if r.kind != CONTEXT and r.method):
        others = [r.label for r in rows if (r.method or "").startswith(f"{row.method}-seed")]
        for column in columns if others else ():
            means = [cells[label, column.label].mean for label in (row.label, *others)]
            known = [mean for mean in means if mean is not None]
            if len(known) > 1:
                found[row.label, column.label] = (min(known), max(known))
    return found


def _outcomes(
    panel: Panel,
    rows: tuple[TableRow, ...],
    values: Mapping[tuple[str, str], Values | None],
    seeds: Mapping[tuple[str, str], tuple[float, float]],
) -> tuple[claims.Outcome, ...]:
    twice = any(row.kind == RELABELLED for row in rows)
    outcomes = []
    for claim in panel.claims:
        column = panel.columns[claim.column]
        printed = {
            label: number
            for label, text in panel.published[claim.column].items()
            if (number := printed_number(text, column.unit)) is not None
        }
        spread = max((high - low for (_, label), (low, high) in seeds.items() if label == claim.column), default=0.0)
        found = [
            claims.check_measured(
                claim, _by_label(rows, values, claim.column, kind), column.better, len(panel.rows), spread
            )
            for kind in ((PUBLISHED, RELABELLED) if twice else (PUBLISHED,))
        ]
        outcomes.append(claims.Outcome(claim, claims.check_published(claim, printed, column.better), *found))
    return tuple(outcomes)


def _by_label(
    rows: tuple[TableRow, ...], values: Mapping[tuple[str, str], Values | None], column: str, kind: str
) -> dict[str, Values]:
    """Return a column's values by printed label; the second reading falls back on the first where it has none."""
    found: dict[str, Values] = {}
    for row in rows:
        value = values[row.label, column]
        if row.source and row.kind in (PUBLISHED, kind) and value is not None and np.isfinite(value).any():
            found[row.source.label] = value
    return found


def _tau(
    rows: tuple[TableRow, ...], columns: tuple[TableColumn, ...], cells: Mapping[tuple[str, str], Cell]
) -> dict[str, tuple[float, int]]:
    """Return Kendall's tau of each printed column with at least three rows that are both printed and measured."""
    found = {}
    for column in (c for c in columns if c.printed and not c.column.role):
        mine = [cells[row.label, column.label] for row in rows if row.kind == PUBLISHED]
        both = [
            (printed_number(c.published, column.column.unit), c.mean) for c in mine if c.verdict and c.mean is not None
        ]
        if len(both) >= 3:
            found[column.label] = (float(stats.kendalltau(*zip(*both, strict=True)).statistic), len(both))
    return found
