"""Do a paper's claims hold, on the numbers it printed and on the measured ones?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusionkit.intervals import difference_interval, paired, ratio_interval
from fusionkit.papers import Claim
from fusionkit.tables.cells import Values

HOLDS, FAILS, UNDECIDED, NOT_MEASURABLE, NOT_PRINTED = (
    "holds",
    "fails",
    "undecided",
    "not measurable",
    "not printed",
)
BETTER, WORSE, TIE, UNCLEAR = "better", "worse", "tie", "unclear"
SIGNS = {"higher": 1, "lower": -1}


@dataclass(frozen=True)
class Finding:
    """Whether a claim holds on one set of numbers, and what decides it."""

    verdict: str
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """A claim with what the printed and the measured numbers say about it.

    ``relabelled`` is the finding under the second reading of the row labels, None where there is only one.
    """

    claim: Claim
    published: Finding
    measured: Finding
    relabelled: Finding | None = None


def describe(claim: Claim) -> str:
    """Return a claim as a few words."""
    what = {
        "best": "best",
        "better": f"better than {claim.than}",
        "rank": f"among the best {claim.at_most}",
        "close": f"within {100 * (claim.within or 0):g} % of {claim.than}",
    }[claim.kind]
    return f"{claim.row}: {what} in {claim.column}"


def check_published(claim: Claim, numbers: Mapping[str, float], better: str) -> Finding:
    """Check a claim on printed numbers; ties count as best.

    Args:
        claim: The claim.
        numbers: Printed number per row that has one.
        better: Direction of the column.
    """
    found = check_measured(claim, dict(numbers), better, len(numbers))
    return Finding(NOT_PRINTED) if found.verdict == NOT_MEASURABLE else Finding(found.verdict)


def check_measured(
    claim: Claim, values: Mapping[str, Values], better: str, rows: int, seed_spread: float = 0.0
) -> Finding:
    """Check a claim on measured values of the published rows.

    A difference counts when the 95 % interval of its bootstrap over shared pairs leaves out 0, and when it is larger
    than what another training seed does to the same column.

    Args:
        claim: The claim.
        values: Per-image values or a cost, for each published row that is measured.
        better: Direction of the column.
        rows: Number of published rows, measured or not.
        seed_spread: How far the column's mean moves between training seeds; 0 where that is not known.
    """
    if claim.row not in values or (claim.than and claim.than not in values):
        return Finding(NOT_MEASURABLE, "a row it needs is not measured")
    if claim.kind == "close":
        return _close(values[claim.row], values[str(claim.than)], claim.within or 0.0)
    if better not in SIGNS:
        return Finding(NOT_MEASURABLE, "the column has no better direction")
    if claim.kind == "better":
        return _better(values[claim.row], values[str(claim.than)], SIGNS[better], seed_spread)
    return _rank(claim.row, values, SIGNS[better], claim.at_most or 1, rows, seed_spread)


def compare(first: Values, second: Values, sign: int, seed_spread: float = 0.0) -> str:
    """Return how ``first`` stands to ``second``: ``better``, ``worse``, ``tie`` or ``unclear``."""
    low, high = _difference(first, second)
    if low == high == 0:
        return TIE
    if abs(_mean_difference(first, second)) <= seed_spread:
        return UNCLEAR
    low, high = sorted((sign * low, sign * high))
    return BETTER if low > 0 else WORSE if high < 0 else UNCLEAR


def _rank(row: str, values: Mapping[str, Values], sign: int, at_most: int, rows: int, seed_spread: float) -> Finding:
    detail = f"{len(values)} of {rows} rows measured"
    if len(values) <= at_most:
        return Finding(NOT_MEASURABLE, f"only {detail}")
    against = [compare(values[row], other, sign, seed_spread) for label, other in values.items() if label != row]
    ahead, unclear = against.count(WORSE), against.count(UNCLEAR)
    if ahead >= at_most:
        return Finding(FAILS, f"{ahead} better; {detail}")
    if ahead + unclear >= at_most:
        return Finding(UNDECIDED, f"{ahead} better, {unclear} not told apart; {detail}")
    return Finding(HOLDS, detail)


def _better(first: Values, second: Values, sign: int, seed_spread: float) -> Finding:
    verdict = {BETTER: HOLDS, UNCLEAR: UNDECIDED}.get(compare(first, second, sign, seed_spread), FAILS)
    low, high = _difference(first, second)
    bounds = "" if low == high or not np.isfinite(low) else f" [{low:.3g}, {high:.3g}]"
    seeds = f", seeds move it by {seed_spread:.3g}" if seed_spread else ""
    return Finding(verdict, f"difference {_mean_difference(first, second):+.3g}{bounds}{seeds}")


def _close(first: Values, second: Values, within: float) -> Finding:
    low, high = _relative(first, second)
    # Printed 10.5 and 10 are 5 % apart, whatever binary fractions say.
    within += 1e-9
    verdict = HOLDS if -within <= low and high <= within else FAILS if low > within or high < -within else UNDECIDED
    bounds = f"{100 * low:.3g} %" if low == high else f"[{100 * low:.3g}, {100 * high:.3g}] %"
    return Finding(verdict, f"relative difference {bounds}" if np.isfinite(low) else "too few shared pairs")


def _difference(first: Values, second: Values) -> tuple[float, float]:
    if isinstance(first, pd.Series) and isinstance(second, pd.Series):
        return difference_interval(first, second)
    return float(first - second), float(first - second)


def _mean_difference(first: Values, second: Values) -> float:
    if isinstance(first, pd.Series) and isinstance(second, pd.Series):
        one, two = paired(first, second)
        return float(np.mean(one - two)) if len(one) else float("nan")
    return float(first - second)


def _relative(first: Values, second: Values) -> tuple[float, float]:
    if isinstance(first, pd.Series) and isinstance(second, pd.Series):
        return ratio_interval(first, second)
    apart = float(first / second - 1) if second else float("inf")
    return apart, apart
