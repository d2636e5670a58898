"""A built table as numbers for a chart."""

import re

import pandas as pd

from fusionkit.tables.build import Table
from fusionkit.tables.cells import printed_number

CITATION = re.compile(r" \([^()]+ \d{4}[a-z]?\)$")


def comparison_frame(table: Table) -> pd.DataFrame:
    """Return the printed quality columns of a table as numbers, one line per cell that has any.

    Args:
        table: What ``build`` returned.

    Returns:
        Columns ``method`` (row label without its citation), ``column``, ``published``, ``measured``, ``low`` and
        ``high``, the 95 % interval of ``measured``; NaN where there is no number.
    """
    lines = []
    for column in (c for c in table.columns if c.printed and c.column.metric):
        for row in table.rows:
            cell = table.cells[row.label, column.label]
            published, (low, high) = printed_number(cell.published, column.column.unit), cell.interval or (None, None)
            if published is not None or cell.mean is not None:
                lines.append((CITATION.sub("", row.label), column.label, published, cell.mean, low, high))
    names = ["method", "column", "published", "measured", "low", "high"]
    return pd.DataFrame(lines, columns=names).astype(dict.fromkeys(names[2:], float))
