"""A built table as text, Markdown, CSV, HTML or LaTeX."""

import pandas as pd

from fusionkit.errors import unknown
from fusionkit.tables.build import Table, TableColumn, TableRow
from fusionkit.tables.cells import CLOSE, DIFFERS, MATCH, NOT_MEASURED, Cell
from fusionkit.tables.claims import HOLDS, NOT_MEASURABLE, Finding, describe
from fusionkit.tables.markup import Block, Grid, Heading, Items, Text, render_blocks
from fusionkit.tables.summary import exclusions, reasons, summarise

FORMATS = ("text", "md", "csv", "html", "latex")
MARKS = {MATCH: "✓", CLOSE: "≈", DIFFERS: "✗", NOT_MEASURED: "·", "": ""}
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
LEGEND = (
    "Cells: printed → measured, with the 95 % bootstrap interval of the mean over pairs. ✓ equal at the printed "
    "precision, ≈ within 5 %, ✗ differs, · not measured. Rows without printed values are measured "
    "for context."
)


def render(table: Table, format: str = "text", level: int = 3) -> str:
    """Return a table with its verdicts, claims and summary.

    Args:
        table: What ``build`` returned.
        format: One of ``FORMATS``; ``csv`` has one line per cell and no prose.
        level: Depth of the heading.

    Raises:
        FusionkitError: The format is unknown.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if format == "csv":
        return to_frame(table).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    main = _long(table) if format == "text" else [_compact(table)]
    legend = [Text(LEGEND)] if any(cell.mean is not None for cell in table.cells.values()) else []
    about = [Text(table.panel.data_note)] if table.panel.data_note else []
    notes = [Text("Notes on the printed table:"), Items(table.panel.notes)] if table.panel.notes else []
    return render_blocks([Heading(_title(table), level), *about, *main, *legend, *_verdicts(table), *notes], format)


def to_frame(table: Table) -> pd.DataFrame:
    """Return one line per cell: labels, what the column means, printed text, measured values and verdict."""
    lines = [_line(table, row, column) for row in table.rows for column in table.columns]
    return pd.DataFrame(lines)


def _line(table: Table, row: TableRow, column: TableColumn) -> dict[str, object]:
    cell, reading = table.cells[row.label, column.label], column.reading
    low, high = cell.interval or (None, None)
    return {
        "table": table.name,
        "row": row.label,
        "kind": row.kind,
        "method": row.method,
        "column": column.label,
        "quantity": f"{reading.metric}@{reading.convention}" if reading else column.column.cost,
        "scale": reading.scale if reading else None,
        "published": cell.published,
        "measured": cell.mean,
        "low": low,
        "high": high,
        "pairs": cell.pairs,
        "excluded": cell.excluded,
        "verdict": cell.verdict,
        "reason": cell.reason if cell.verdict == NOT_MEASURED else "",
    }


def _title(table: Table) -> str:
    return f"{table.name}: {table.panel.caption}"


def _header(column: TableColumn) -> str:
    unit = f" ({column.column.unit})" if column.column.unit and column.printed else ""
    return f"{column.label}{unit}{ARROWS[column.column.better]}"


def _compact(table: Table) -> Grid:
    """One line per row and one cell per column, without other readings that nothing was measured under."""
    filled = {column for (_, column), cell in table.cells.items() if cell.mean is not None}
    columns = [column for column in table.columns if column.printed or column.label in filled]
    rows = [[row.label, *(_compact_cell(table.cells[row.label, c.label]) for c in columns)] for row in table.rows]
    return Grid(["method", *(_header(column) for column in columns)], rows)


def _compact_cell(cell: Cell) -> str:
    if cell.mean is None:
        return " ".join(part for part in (cell.published, MARKS[cell.verdict]) if part)
    start = f"{cell.published} → " if cell.published else ""
    end = f" {MARKS[cell.verdict]}" if cell.verdict else ""
    return f"{start}{cell.measured_text}{end}" + (f"\n{cell.interval_text}" if cell.interval else "")


def _long(table: Table) -> list[Block]:
    """Measured rows with one line per cell, and a small table of the rows of which only the print is known."""
    measured = {
        row.label for row in table.rows for c in table.columns if table.cells[row.label, c.label].mean is not None
    }
    lines = []
    for row in (r for r in table.rows if r.label in measured):
        cells = [(c, table.cells[row.label, c.label]) for c in table.columns]
        shown = [(c, cell) for c, cell in cells if cell.published or cell.mean is not None]
        for index, (column, cell) in enumerate(shown):
            verdict = f"{MARKS[cell.verdict]} {cell.verdict}".strip()
            values = (cell.published, cell.measured_text, cell.interval_text, verdict)
            lines.append(["" if index else row.label, _header(column), *values])
    columns = [column for column in table.columns if column.printed]
    others = [
        [row.label, *(table.cells[row.label, column.label].published for column in columns)]
        for row in table.rows
        if row.label not in measured
    ]
    return [
        Grid(["method", "column", "published", "measured", "95 % interval", "verdict"], lines),
        *([Text("Printed only, not measured:")] if others else []),
        Grid(["method", *(_header(column) for column in columns)], others),
    ]


def _verdicts(table: Table) -> list[Block]:
    blocks: list[Block] = [Text(summarise(table)), *_claims(table)]
    why, left_out = reasons(table), exclusions(table)
    if why:
        blocks += [Text("Not measured:"), Items(why)]
    if left_out:
        blocks += [Text("Left out of means:"), Items(left_out)]
    return blocks


def _claims(table: Table) -> list[Block]:
    """Return one line per claim about which there is more to say than that it holds in print."""
    telling = [o for o in table.outcomes if o.published.verdict != HOLDS or o.measured.verdict != NOT_MEASURABLE]
    twice = any(outcome.relabelled for outcome in telling)
    lines = [
        [
            o.claim.text,
            describe(o.claim),
            o.published.verdict,
            _found(o.measured),
            *([_found(o.relabelled)] if twice else []),
        ]
        for o in telling
    ]
    second = ["second reading"] if twice else []
    blocks: list[Block] = [Grid(["claim", "read as", "on printed numbers", "on measured numbers", *second], lines)]
    others = len(table.outcomes) - len(telling)
    if telling and others:
        blocks.append(Text(f"Not listed: {others} more, which hold on the printed numbers and cannot be checked here."))
    return blocks


def _found(finding: Finding | None) -> str:
    if finding is None:
        return ""
    return f"{finding.verdict} ({finding.detail})" if finding.detail else finding.verdict
