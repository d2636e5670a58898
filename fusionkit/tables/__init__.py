"""Published tables beside measured values, with verdicts: ``render(build("lightfusionnet/table1a"), "md")``."""

from fusionkit.tables.build import Table, TableColumn, TableRow, build
from fusionkit.tables.cells import Cell
from fusionkit.tables.chart import column_ranges, readings_frame
from fusionkit.tables.claims import Finding, Outcome, describe
from fusionkit.tables.render import FORMATS, render, to_frame
from fusionkit.tables.summary import counts, summarise, verdict_line

__all__ = [
    "FORMATS",
    "Cell",
    "Finding",
    "Outcome",
    "Table",
    "TableColumn",
    "TableRow",
    "build",
    "column_ranges",
    "counts",
    "describe",
    "readings_frame",
    "render",
    "summarise",
    "to_frame",
    "verdict_line",
]
