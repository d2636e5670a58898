"""One cell of a table: what is printed, what is measured, and how far apart the two are."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusionkit.intervals import mean_interval
from fusionkit.papers import Column

MATCH, CLOSE, DIFFERS, NOT_MEASURED = "match", "close", "differs", "not measured"
CLOSE_WITHIN = 0.05
Values = pd.Series | float


@dataclass(frozen=True)
class Cell:
    """A printed value beside the measured one.

    Attributes:
        published: As printed; empty where nothing is printed.
        mean: Mean over pairs, or a cost; None where nothing is measured.
        interval: 95 % bootstrap interval of the mean over pairs; None for costs and single pairs.
        pairs: Number of pairs in the mean; 0 for costs.
        excluded: Number of pairs left out because their value is not a finite number.
        verdict: ``match``, ``close``, ``differs``, ``not measured``, or empty where there is nothing to compare.
        reason: Why nothing is measured.
        subject: What the reason is about: a row's or a column's label.
        decimals: Decimals to show of measured numbers.
    """

    published: str = ""
    mean: float | None = None
    interval: tuple[float, float] | None = None
    pairs: int = 0
    excluded: int = 0
    verdict: str = ""
    reason: str = ""
    subject: str = ""
    decimals: int = 3

    @property
    def measured_text(self) -> str:
        """Return the measured mean with as many decimals as are printed, or an empty string."""
        return "" if self.mean is None else f"{self.mean:.{self.decimals}f}"

    @property
    def interval_text(self) -> str:
        """Return the interval in brackets, or an empty string."""
        if self.interval is None:
            return ""
        return "[" + ", ".join(f"{bound:.{self.decimals}f}" for bound in self.interval) + "]"


def printed_number(text: str, unit: str | None = None) -> float | None:
    """Return a printed value as a number, without the column's unit; None where it is not a number."""
    try:
        return float(_bare(text, unit))
    except ValueError:
        return None


def printed_decimals(text: str, unit: str | None = None) -> int:
    """Return how many decimals a printed value has."""
    return len(_bare(text, unit).partition(".")[2])


def judge(published: float, decimals: int, measured: float, truncated: bool = False) -> str:
    """Compare a measured number with a printed one.

    Args:
        published: The printed number.
        decimals: With how many decimals it is printed.
        measured: The measured number.
        truncated: The paper cuts digits off instead of rounding.

    Returns:
        ``match`` if the measured number is printed like that, ``close`` if the two are at most 5 % of the printed
        number apart, else ``differs``.
    """
    shown = math.trunc(measured * 10**decimals) / 10**decimals if truncated else float(f"{measured:.{decimals}f}")
    if shown == published:
        return MATCH
    # The small term: 4.2 is 5 % above 4, whatever binary fractions say.
    return CLOSE if abs(measured - published) <= (CLOSE_WITHIN + 1e-9) * abs(published) else DIFFERS


def make_cell(published: str, column: Column, values: Values | None, reason: tuple[str, str], decimals: int) -> Cell:
    """Build a cell.

    Args:
        published: Printed text; may be empty.
        column: The printed column: its unit may follow the number, its digits may be cut off.
        values: Per-image values, a cost, or None where nothing is measured.
        reason: Why nothing is measured, and the row or column that this is about.
        decimals: Decimals to show where nothing is printed.
    """
    number = printed_number(published, column.unit)
    if number is not None:
        decimals = printed_decimals(published, column.unit)
    finite = _finite(values)
    if finite is None or not len(finite):
        text, subject = reason if finite is None else ("no pair has a finite value", reason[1])
        verdict = NOT_MEASURED if published else ""
        return Cell(published, verdict=verdict, reason=text, subject=subject, decimals=decimals)
    mean = float(finite.mean())
    verdict = "" if number is None else judge(number, decimals, mean, column.truncated)
    if not isinstance(values, pd.Series):
        return Cell(published, mean, verdict=verdict, decimals=decimals)
    interval = mean_interval(finite) if len(finite) > 1 else None
    return Cell(published, mean, interval, len(finite), len(values) - len(finite), verdict, decimals=decimals)


def _finite(values: Values | None) -> np.ndarray | None:
    if values is None:
        return None
    array = np.atleast_1d(np.asarray(values, dtype=float))
    return array[np.isfinite(array)]


def _bare(text: str, unit: str | None) -> str:
    return text.strip().removesuffix(unit or "").strip()
