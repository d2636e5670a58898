"""Rows printed twice: rows of the record that share more digits than chance gives, and which of two is genuine."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from fusionkit.audits.columns import printed_column, rounding
from fusionkit.audits.table4_found import PAIRS, subset_bounds
from fusionkit.figures.style import BLUE, MUTED, ORANGE, RED, new_figure, styled
from fusionkit.measure import load_measurement
from fusionkit.papers import Panel, get_panel, list_papers, load_paper

LEAST = 3
# How many pairs of rows of the whole record may be expected to agree as much by chance.
SURPRISING = 0.01
SAME, OTHER_PAIRS, OTHER_METHOD, UNRELATED = (
    "same experiment", "same method, other pairs", "other method, same pairs", "nothing in common",
)  # fmt: skip
ROW = "SDNet [2]"


class Place(NamedTuple):
    """Where a printed row of SDNet stands, and what its network gives on pairs of that task."""

    panel: str
    method: str
    dataset: str


PLACES = {
    "Table 4": Place("fusionmamba/table4", "sdnet:ir_vis", "tno21_256"),
    "Table 3": Place("fusionmamba/table3", "sdnet:medical", "harvard_spect_mri"),
}


@dataclass(frozen=True)
class Line:
    """One printed row: numbers by column, with the unit of the last digit and the spread over its panel's rows."""

    name: str
    label: str
    method: str | None
    pairs: tuple[str | None, str | None]
    numbers: pd.Series
    units: pd.Series
    spreads: pd.Series


def printed_lines(panels: Iterable[Panel] | None = None) -> list[Line]:
    """Return the printed rows with their columns that measure something: no costs and no inputs.

    Args:
        panels: Some panels; None takes all of the record.
    """
    every = (panel for paper in list_papers() for panel in load_paper(paper).panels)
    return [line for panel in (every if panels is None else panels) for line in _lines(panel)]


def repeats(lines: Sequence[Line], least: int = LEAST) -> pd.DataFrame:
    """Find pairs of rows that share more digits than chance gives.

    Two unrelated values of a column agree with the probability that two normal variables of the two panels' spreads
    and one mean fall together at the printed precision; columns count as independent. Both are rough: columns go
    together, and means differ.

    Args:
        lines: Printed rows.
        least: Smallest number of equal values.

    Returns:
        The ``first`` and the ``second`` row, ``kind`` (what they have in common), ``equal`` values ``of`` those that
        both print, in ``columns``, and ``expected``: how many of all compared pairs would agree in as many values by
        chance. Only pairs below ``SURPRISING``, fewest expected first.
    """
    rows, compared = [], 0
    for one, other in combinations(lines, 2):
        shared = one.numbers.index.intersection(other.numbers.index)
        compared += len(shared) >= least
        equal = [name for name in shared if one.numbers[name] == other.numbers[name]]
        if len(equal) >= least:
            chance = at_least(len(equal), [_chance(one, other, name) for name in shared])
            row = (one.name, other.name, _kind(one, other), len(equal), len(shared), ", ".join(equal), chance)
            rows.append(row)
    table = pd.DataFrame(rows, columns=["first", "second", "kind", "equal", "of", "columns", "expected"])
    table["expected"] *= compared
    return table[table["expected"] < SURPRISING].sort_values("expected", ignore_index=True)


def at_least(count: int, chances: Sequence[float]) -> float:
    """Return the probability that at least so many of independent events happen.

    Args:
        count: A number of events.
        chances: The probability of each.
    """
    exactly = [1.0]
    for chance in chances:
        exactly = [
            (1 - chance) * stay + chance * step for stay, step in zip([*exactly, 0.0], [0.0, *exactly], strict=True)
        ]
    return sum(exactly[count:])


def suspicious(found: pd.DataFrame) -> pd.DataFrame:
    """Return the repeats of rows that are not one experiment, which a paper may print as often as it likes."""
    return found[found["kind"] != SAME].reset_index(drop=True)


def repeats_verdict(found: pd.DataFrame, lines: Sequence[Line]) -> str:
    """Say in words what was compared and found.

    Args:
        found: Result of :func:`repeats`.
        lines: The rows that were compared.
    """
    odd = suspicious(found)
    texts = [
        f"{len(lines)} printed rows compared: {len(found)} pairs share more digits than chance gives, "
        f"{len(found) - len(odd)} of them one experiment printed again, {len(odd)} not:"
    ]
    for row in odd.itertuples():
        texts.append(
            f"- {row.first} and {row.second} ({row.kind}): {row.equal} of {row.of} values equal, where "
            f"{row.expected:.0e} pairs of the record are expected to."
        )
    return "\n".join(texts)


def both_measured() -> pd.DataFrame:
    """Measure SDNet where its row stands in Table 4 and where it stands in Table 3.

    Returns:
        Per table and column: ``printed``, ``measured`` (mean of all pairs, NaN where not on record), ``low`` and
        ``high`` (bounds of the mean of any 21 of the pairs) and whether the printed value lies ``inside`` them.
    """
    lines = {}
    for name, place in PLACES.items():
        panel = get_panel(place.panel)
        found = load_measurement(place.method, place.dataset, "test")
        for label, column in panel.columns.items():
            printed, unit = printed_column(panel, label)[ROW], 2 * rounding(panel, label)
            values = (
                found.values[[f"{column.metric}@{column.convention}"]] if found else pd.DataFrame({label: [math.nan]})
            )
            low, high = subset_bounds(values, PAIRS if found else 1).iloc[0]
            inside = low - unit <= printed <= high + unit
            lines[name, label] = (printed, values.iloc[:, 0].mean(), low, high, inside)
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["printed", "measured", "low", "high", "inside"])
    table.index = pd.MultiIndex.from_tuples(lines, names=["table", "column"])
    return table


def genuine_verdict(measured: pd.DataFrame) -> str:
    """Say in words which of the two printed rows SDNet gives.

    Args:
        measured: Result of :func:`both_measured`.
    """
    lines = []
    for name, cells in measured.groupby(level="table", sort=False):
        place = PLACES[name]
        if cells["measured"].isna().all():
            lines.append(f"{name}: {place.method} is not measured on {place.dataset}.")
            continue
        apart = (cells["measured"] / cells["printed"] - 1).abs().droplevel("table")
        outside = list(apart.index[~cells["inside"].droplevel("table")])
        lines.append(
            f"{name}: {place.method} on {place.dataset} is {apart.max():.2%} from the printed row at most (median "
            f"{apart.median():.2%}); no {PAIRS} of the pairs give {', '.join(outside) or 'less than all columns'}."
            if outside
            else f"{name}: {place.method} on {place.dataset} is {apart.max():.2%} from the printed row at most."
        )
    return "\n".join(lines)


@styled
def genuine_figure(measured: pd.DataFrame) -> Figure:
    """Draw both printed rows over what SDNet gives: the mean, and what any 21 pairs can give.

    Args:
        measured: Result of :func:`both_measured`.
    """
    labels, names = measured.index.unique("column"), measured.index.unique("table")
    figure = new_figure(11.5, 2.6)
    figure.suptitle(f"SDNet. Bars: means that any {PAIRS} pairs can have; line: mean of all; crosses: printed")
    for number, (axes, label) in enumerate(zip(figure.subplots(1, len(labels)), labels, strict=True)):
        for place, (name, colour) in enumerate(zip(names, (BLUE, ORANGE), strict=True)):
            cell = measured.loc[(name, label)]
            axes.plot(
                [cell["low"], cell["high"]], [place, place], color=colour, lw=8, alpha=0.45, solid_capstyle="butt"
            )
            axes.plot(cell["measured"], place, "|", color=MUTED, ms=11, mew=2)
            axes.plot(cell["printed"], place, "x", color=RED, ms=7, mew=2)
        axes.set(title=label, ylim=(len(names) - 0.5, -0.5))
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=3)
        axes.set_yticks(range(len(names)), [f"{name}\n{PLACES[name].dataset}" for name in names] if not number else [])
    return figure


def _lines(panel: Panel) -> list[Line]:
    names = [name for name, column in panel.columns.items() if column.role is None and column.cost is None]
    numbers = pd.DataFrame({name: printed_column(panel, name) for name in names}, panel.published.index)
    units = pd.Series({name: 2 * rounding(panel, name) for name in names}, dtype=float)
    spreads = numbers.std()
    return [
        Line(
            f"{panel.paper}/{panel.id}: {label}",
            label,
            row.method,
            (panel.dataset, panel.split),
            numbers.loc[label].dropna(),
            units,
            spreads,
        )
        for label, row in panel.rows.items()
    ]


def _chance(one: Line, other: Line, name: str) -> float:
    """Return the probability that two normal variables of one mean fall together at the printed precision."""
    spread = math.hypot(one.spreads[name], other.spreads[name])
    unit = max(one.units[name], other.units[name])
    return min(1.0, unit / (math.sqrt(2 * math.pi) * spread)) if spread > 0 else 1.0


def _kind(one: Line, other: Line) -> str:
    same_pairs = one.pairs == other.pairs and one.pairs[0] is not None
    same_method = _stem(one.label) == _stem(other.label) or (one.method is not None and one.method == other.method)
    if same_pairs:
        return SAME if same_method else OTHER_METHOD
    return OTHER_PAIRS if same_method else UNRELATED


def _stem(label: str) -> str:
    """Return a method's name without the reference, the year or the word that claims it."""
    return label.partition(" [")[0].partition(" (")[0].strip()
