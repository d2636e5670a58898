"""Where measured rows stand: among the printed rows, in the printed order, and against the plain rules."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from fusionkit.errors import unknown
from fusionkit.measure import load_measurement, panel_methods
from fusionkit.tables.build import PUBLISHED, Measured, Table, TableColumn, build, recorded
from fusionkit.tables.cells import printed_number
from fusionkit.tables.claims import FAILS, HOLDS, SIGNS, UNDECIDED, compare
from fusionkit.yardstick import TRIVIAL


def row_order(table: Table) -> pd.DataFrame:
    """Return the rank of each printed row in each column: in print, and as measured.

    Args:
        table: A built table whose rows are variants of one network.

    Returns:
        Texts such as ``"2 → 3"``, 1 being the best of its column; ``·`` for a row that is not measured, whose
        absence moves the measured ranks of the others.
    """
    rows = [row.label for row in table.rows if row.kind == PUBLISHED]
    found = {}
    for column in _columns(table):
        cells = [table.cells[row, column.label] for row in rows]
        sign = SIGNS[column.column.better]
        printed = pd.Series([printed_number(cell.published, column.column.unit) for cell in cells], rows, dtype=float)
        measured = pd.Series([cell.mean for cell in cells], rows, dtype=float)
        ranks = [(sign * values).rank(ascending=False, method="min") for values in (printed, measured)]
        found[column.label] = [" → ".join(map(_rank, pair)) for pair in zip(*ranks, strict=True)]
    return pd.DataFrame(found, index=pd.Index(rows, name="row"))


def places(table: Table, row: str) -> pd.DataFrame:
    """Return the place that each measured mean would take among the printed rows.

    Args:
        table: A built table that compares methods.
        row: Label of the proposed network's row. What it prints competes with the plain rules and the floor, not with
            the network that is measured here or its seeds.

    Returns:
        One line per measured row: texts such as ``"3 of 8"``, 1 being the best of the column.

    Raises:
        FusionkitError: The table has no such row.
    """
    columns = _columns(table)
    measured = [r for r in table.rows if any(table.cells[r.label, c.label].mean is not None for c in columns)]
    own = _method_of(table, row)
    found: dict[str, dict[str, str]] = {}
    for line in measured:
        ours = (line.method or "").partition("-seed")[0] == own
        left_out = {line.label, row} if ours else {line.label}
        others = [r.label for r in table.rows if r.kind == PUBLISHED and r.label not in left_out]
        found[line.label] = {column.label: _place(table, line.label, column, others) for column in columns}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("measured here")


def _place(table: Table, row: str, column: TableColumn, others: Sequence[str]) -> str:
    sign, mean = SIGNS[column.column.better], table.cells[row, column.label].mean
    if mean is None:
        return ""
    printed = [printed_number(table.cells[other, column.label].published, column.column.unit) for other in others]
    numbers = [number for number in printed if number is not None]
    return f"{1 + sum(sign * number > sign * mean for number in numbers)} of {1 + len(numbers)}"


def describe_places(found: pd.DataFrame) -> str:
    """Say in words which plain rules are ahead of every printed row, and in which columns.

    Args:
        found: Result of :func:`places`.
    """
    rules = [rule for rule in TRIVIAL if rule in found.index]
    if not rules:
        return "The plain rules are not measured yet."
    first = found.loc[rules].apply(lambda column: column.str.startswith("1 of"))
    parts = [f"the {rule} in {', '.join(first.columns[first.loc[rule]])}" for rule in rules if first.loc[rule].any()]
    return f"Ahead of every printed row: {'; '.join(parts) or 'no plain rule in any column'}."


def printed_places(table: Table) -> pd.DataFrame:
    """Return the place of each printed row in each column that has a better direction; 1 is the best, ties share it."""
    rows = [row.label for row in table.rows if row.kind == PUBLISHED]
    found = {}
    for column in (c for c in table.columns if c.printed and c.column.better in SIGNS):
        numbers = [printed_number(table.cells[row, column.label].published, column.column.unit) for row in rows]
        values = SIGNS[column.column.better] * pd.Series(numbers, rows, dtype=float)
        found[column.label] = values.rank(ascending=False, method="min").astype("Int64")
    return pd.DataFrame(found, index=pd.Index(rows, name="row"))


def measured_means(table: Table, dataset: str, split: str) -> pd.DataFrame:
    """Return what a table's methods score on other pairs than the table's, from the measurements on record.

    Args:
        table: A built table.
        dataset: Dataset name.
        split: Split name.

    Returns:
        Mean over pairs of each printed column; one line per method of the table, plain rule or floor that is
        measured there, by method id.
    """
    lines = {}
    for method in panel_methods(table.panel):
        measurement = load_measurement(method, dataset, split)
        if measurement:
            lines[method] = {
                column.label: column.reading.scale * measurement.values[key].mean()
                for column in _columns(table)
                if (key := f"{column.reading.metric}@{column.reading.convention}") in measurement.values
            }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(f"on {dataset}/{split}")


def on_other_pairs(table: Table, others: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Check a table's claims and its order on other pairs, too, from the measurements on record.

    Args:
        table: A built table.
        others: Datasets and splits.

    Returns:
        One line per dataset and split with measurements, the table's own first: ``pairs``, how many claims hold, fail
        and are undecided, and Kendall's tau between printed and measured order of each printed column.
    """
    panels = [replace(table.panel, dataset=dataset, split=split) for dataset, split in others]
    lines = {}
    for found in (table, *(build(panel, recorded(panel)) for panel in panels)):
        verdicts = Counter(outcome.measured.verdict for outcome in found.outcomes)
        if found.pairs:
            lines[f"{found.panel.dataset}/{found.panel.split}"] = {
                "pairs": found.pairs,
                **{verdict: verdicts[verdict] for verdict in (HOLDS, FAILS, UNDECIDED)},
                **{f"tau {label}": tau for label, (tau, _) in found.tau.items()},
            }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("on")


def against_rules(table: Table, row: str, measured: Measured | None = None) -> pd.DataFrame:
    """Compare a network with the plain average and maximum in each printed column, pair by pair.

    Args:
        table: A built table.
        row: Label of the network's row.
        measured: Per-image values by method id; None takes the measurements on record.

    Returns:
        Per column and rule ``better``, ``worse``, ``tie`` or ``unclear`` with the mean difference. A difference
        counts if its 95 % bootstrap interval leaves out 0 and further seeds of the network do not move as much.
        Empty where the network or a rule is not measured.

    Raises:
        FusionkitError: The table has no such row.
    """
    measured, method = recorded(table.panel) if measured is None else measured, _method_of(table, row)
    found: dict[str, dict[str, str]] = {}
    for column in _columns(table) if measured.keys() >= {method, *TRIVIAL} else ():
        key, sign = f"{column.reading.metric}@{column.reading.convention}", SIGNS[column.column.better]
        low, high = table.seeds.get((row, column.label), (0.0, 0.0))
        own = column.reading.scale * measured[method][key]
        for rule in TRIVIAL:
            plain = column.reading.scale * measured[rule][key]
            verdict = compare(own, plain, sign, high - low)
            found.setdefault(column.label, {})[rule] = f"{verdict} ({(own - plain).mean():+.3g})"
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("column")


def rows_side_by_side(tables: Sequence[Table], row: str) -> pd.DataFrame:
    """Return what several tables print in a row of the same label, one line per table.

    Raises:
        FusionkitError: A table has no such row.
    """
    for table in tables:
        if row not in table.panel.rows:
            raise unknown(f"row of {table.name}", row, table.panel.rows)
    lines = [table.panel.published.loc[row].rename(table.name) for table in tables]
    return pd.DataFrame(lines).rename_axis(row)


def _method_of(table: Table, row: str) -> str | None:
    methods = {r.label: r.method for r in table.rows}
    if row not in methods:
        raise unknown(f"row of {table.name}", row, methods)
    return methods[row]


def _columns(table: Table) -> list[TableColumn]:
    """Return the printed quality columns that have a better direction."""
    return [c for c in table.columns if c.printed and c.reading and c.column.better in SIGNS]


def _rank(value: float) -> str:
    return "·" if pd.isna(value) else f"{value:.0f}"
