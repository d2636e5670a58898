"""Built tables as numbers, to look at some of their columns closely."""

from collections.abc import Iterator, Sequence

import pandas as pd

from fusionkit.tables.build import PUBLISHED, Table
from fusionkit.tables.cells import printed_number


def readings_frame(tables: Sequence[Table]) -> pd.DataFrame:
    """Return the columns that have two readings, for printed rows that are measured.

    Returns:
        One line per row and column: the printed number, the measured one under the reading that explains the printed
        numbers, the measured one under another reading, and what the two readings are.
    """
    return pd.DataFrame([line for table in tables for line in _two_readings(table)])


def column_ranges(tables: Sequence[Table], column: str) -> pd.DataFrame:
    """Return the range of a column over all rows, printed and measured, one line per table.

    Args:
        tables: Built tables.
        column: A printed column that all of them have.
    """
    lines = {}
    for table in tables:
        cells = [table.cells[row.label, column] for row in table.rows]
        unit = table.panel.columns[column].unit
        printed = pd.Series([printed_number(cell.published, unit) for cell in cells], dtype=float)
        measured = pd.Series([cell.mean for cell in cells], dtype=float)
        numbers = (printed.min(), printed.max(), measured.min(), measured.max())
        lines[f"{table.panel.id}: {table.panel.caption}"] = [*numbers, measured.count()]
    names = ["printed, lowest", "printed, highest", "measured, lowest", "measured, highest", "rows measured"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=names).round(3)


def _two_readings(table: Table) -> Iterator[dict[str, str | float | None]]:
    rows = [row for row in table.rows if row.kind == PUBLISHED]
    for column in (c for c in table.columns if not c.printed and c.reading):
        name, printed, other = column.column.name, column.column, column.reading
        for row in rows:
            first, second = table.cells[row.label, name], table.cells[row.label, column.label]
            if first.mean is not None and second.mean is not None:
                yield {
                    "table": table.panel.id,
                    "row": row.label,
                    "column": name,
                    "published": printed_number(first.published, printed.unit),
                    "measured as printed": round(first.mean, 2),
                    "which is": _words(printed.metric, printed.convention, printed.scale),
                    "measured otherwise": round(second.mean, 2),
                    "that is": _words(other.metric, other.convention, other.scale),
                }


def _words(metric: str | None, convention: str | None, scale: float) -> str:
    return f"{metric}, {convention}" if scale == 1 else f"{scale:g} x {metric}, {convention}"
