"""A table's verdict in words."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fusionkit.tables.build import PUBLISHED, RELABELLED, Table
from fusionkit.tables.cells import CLOSE, DIFFERS, MATCH, NOT_MEASURED, printed_number
from fusionkit.tables.claims import FAILS, HOLDS, NOT_MEASURABLE, UNDECIDED, Finding, describe


def summarise(table: Table) -> str:
    """Return one paragraph: how many printed values were met, which claims hold, how far the orders agree."""
    return " ".join(
        part for part in (_values(table), _readings(table), _seeds(table), _claims(table), _order(table)) if part
    )


def verdict_line(tables: Sequence[Table]) -> str:
    """Return the verdicts on one or more panels in one short line."""
    found = sum((counts(table) for table in tables), Counter())
    outcomes = [outcome for table in tables for outcome in table.outcomes]
    checked = [o for o in outcomes if o.measured.verdict != NOT_MEASURABLE]
    text = ", ".join(f"{found[verdict]} {verdict}" for verdict in (MATCH, CLOSE, DIFFERS, NOT_MEASURED))
    held = sum(o.measured.verdict == HOLDS for o in checked)
    return f"{text}; {held} of {len(checked)} claims hold" if checked else f"{text}; no claim can be checked"


def counts(table: Table, kind: str = PUBLISHED) -> Counter[str]:
    """Return how many printed values have which verdict, in the rows of one kind."""
    return Counter(cell.verdict for cell in table.cells_of(kind) if cell.verdict)


def reasons(table: Table) -> list[str]:
    """Return why printed values are not measured, each reason once, with the rows or columns it is about."""
    subjects: dict[str, dict[str, None]] = {}
    for kind in (PUBLISHED, RELABELLED):
        for cell in table.cells_of(kind):
            if cell.verdict == NOT_MEASURED:
                subjects.setdefault(cell.reason, {})[cell.subject] = None
    return [f"{', '.join(about)}: {reason}" for reason, about in subjects.items()]


def exclusions(table: Table) -> list[str]:
    """Return which means leave out pairs because a value is not finite."""
    return [
        f"{row}, {column}: {cell.excluded} of {cell.pairs + cell.excluded} pairs left out, value not finite"
        for (row, column), cell in table.cells.items()
        if cell.excluded
    ]


def _values(table: Table) -> str:
    found = counts(table)
    where = f" (measured on {table.pairs} pairs of {table.panel.dataset}/{table.panel.split})" if table.pairs else ""
    if found[NOT_MEASURED] == found.total():
        return f"None of the {found.total()} printed values is measured."
    return (
        f"Of {found.total()} printed values{where} {found[MATCH]} match at the printed precision, {found[CLOSE]} are "
        f"close (within 5 %), {found[DIFFERS]} differ and {found[NOT_MEASURED]} are not measured."
    )


def _readings(table: Table) -> str:
    """Say which of two readings of the row labels is nearer, where both are measured."""
    found = counts(table, RELABELLED)
    first, second = _deviation(table, PUBLISHED), _deviation(table, RELABELLED)
    if math.isnan(first) or math.isnan(second):
        return ""
    nearer = "first" if first < second else "second"
    return (
        f"Under the second reading of the row labels {found[MATCH]} match, {found[CLOSE]} are close and "
        f"{found[DIFFERS]} differ; the median relative deviation is {first:.1%} under the first reading and "
        f"{second:.1%} under the second, so the {nearer} is nearer."
    )


def _seeds(table: Table) -> str:
    """Say how far training seeds move a row's columns, and which printed values lie inside."""
    parts = []
    for row in dict.fromkeys(label for label, _ in table.seeds):
        columns = [c for c in table.columns if c.printed and (row, c.label) in table.seeds]
        ranges = [f"{c.label} {low:.3g} to {high:.3g}" for c in columns for low, high in [table.seeds[row, c.label]]]
        inside = [c.label for c in columns if _inside(table, row, c.label, c.column.unit)]
        met = f"; the printed value lies inside for {', '.join(inside)}" if inside else ""
        parts.append(f"Over training seeds {row} ranges: {', '.join(ranges)}{met}.")
    return " ".join(parts)


def _inside(table: Table, row: str, column: str, unit: str | None) -> bool:
    printed = printed_number(table.cells[row, column].published, unit)
    low, high = table.seeds[row, column]
    return printed is not None and low <= printed <= high


def _deviation(table: Table, kind: str) -> float:
    units = [c.column.unit for c in table.columns if c.printed and c.column.role is None]
    apart = []
    for index, cell in enumerate(table.cells_of(kind)):
        printed = printed_number(cell.published, units[index % len(units)])
        if printed and cell.mean is not None:
            apart.append(abs(cell.mean / printed - 1))
    return float(np.median(apart)) if apart else math.nan


def _claims(table: Table) -> str:
    outcomes = table.outcomes
    if not outcomes:
        return "The paper makes no claim about it that can be checked."
    printed = sum(o.published.verdict == HOLDS for o in outcomes)
    texts = [f"Claims that hold on the printed numbers: {printed} of {len(outcomes)}."]
    texts.append(_tally("On the measured ones", [(describe(o.claim), o.measured) for o in outcomes]))
    second = [(describe(o.claim), o.relabelled) for o in outcomes if o.relabelled]
    if second:
        texts.append(_tally("Under the second reading", second))
    return " ".join(texts)


def _tally(start: str, findings: list[tuple[str, Finding]]) -> str:
    found = Counter(finding.verdict for _, finding in findings)
    if found[NOT_MEASURABLE] == len(findings):
        return f"{start}: none can be checked."
    text = (
        f"{start}: {found[HOLDS]} holding, {found[FAILS]} failing, {found[UNDECIDED]} undecided (the interval of the "
        f"difference includes 0, or another seed moves as much), {found[NOT_MEASURABLE]} not to be checked."
    )
    for verdict, word in ((HOLDS, "Holding"), (FAILS, "Failing")):
        named = "; ".join(dict.fromkeys(what for what, finding in findings if finding.verdict == verdict))
        text += f" {word}: {named}." if named else ""
    return text


def _order(table: Table) -> str:
    taus = [f"{label} {'undefined' if math.isnan(tau) else f'{tau:.2f}'}" for label, (tau, _) in table.tau.items()]
    if not taus:
        return ""
    rows = sorted({rows for _, rows in table.tau.values()})
    how_many = f"{rows[0]}" if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"
    return f"Kendall's tau between printed and measured order over {how_many} rows: {', '.join(taus)}."
