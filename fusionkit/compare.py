"""What scores per image say: means with their uncertainty, and the paired comparison of two sets of fused images.

Intervals are 95 % bootstrap intervals over images. Values that are not finite are left out and counted.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from tabulate import tabulate

from fusionkit.errors import FusionkitError
from fusionkit.intervals import mean_interval, paired
from fusionkit.metrics import CONVENTIONS, METRICS, Metric, get_metric
from fusionkit.scoring import COLUMNS

ARROWS = {"higher": "↑", "lower": "↓", "zero": "→0"}
# With fewer pairs no outcome of the signed-rank test is below 0.05.
FEWEST_PAIRS = 6
FEW, EQUAL = f"under {FEWEST_PAIRS} pairs", "all equal"


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every metric under every convention.

    Args:
        scores: Table of scores, as `fusionkit.scoring.score_folders` returns it.

    Returns:
        One row per metric and convention: ``metric``, ``convention``, ``better`` (higher, lower or zero), ``unit``,
        ``images`` (with a finite value), ``nan`` and ``infinite`` (images left out), ``mean``, and its interval from
        ``low`` to ``high``, which is infinite for less than two images.

    Raises:
        FusionkitError: Not a table of scores, or an unknown metric.
    """
    rows = []
    for metric, convention, group in _quantities(_checked(scores)):
        values = group["value"].to_numpy()
        finite = values[np.isfinite(values)]
        low, high = mean_interval(finite)
        rows.append(
            {
                "metric": metric,
                "convention": convention,
                "better": get_metric(metric).better,
                "unit": get_metric(metric).variant(convention).unit,
                "images": len(finite),
                "nan": int(np.isnan(values).sum()),
                "infinite": int(np.isinf(values).sum()),
                "mean": finite.mean() if len(finite) else np.nan,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def compare(scores: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Compare two sets of fused images of the same sources, image by image.

    Only images that both tables have count, and only where both values are finite. The test is Wilcoxon's signed-rank
    test, two-sided, as `scipy.stats.wilcoxon` computes it by default (Wilcoxon 1945); ``p_holm`` is corrected for
    testing all metrics of the same convention (Holm 1979).

    Args:
        scores: Scores of the first set.
        other: Scores of the second set.

    Returns:
        One row per metric and convention: ``metric``, ``convention``, ``better``, ``images``, ``left_out`` (a value is
        not finite), ``first`` and ``second`` (means), ``difference`` (first minus second) with its interval from
        ``low`` to ``high``, ``wins`` (share of images on which the first set is better; ties count half), ``p``,
        ``untested`` (why there is no p value), ``p_holm``.

    Raises:
        FusionkitError: Not tables of scores, or they share no image, metric and convention.
    """
    both = _checked(scores).merge(_checked(other), on=COLUMNS[:3], suffixes=("_first", "_second"))
    if both.empty:
        raise FusionkitError("nothing to compare: the tables share no image with the same metric and convention")
    rows = [
        {
            "metric": metric,
            "convention": convention,
            "better": get_metric(metric).better,
            **_compared(*paired(group["value_first"], group["value_second"]), get_metric(metric), len(group)),
        }
        for metric, convention, group in _quantities(both)
    ]
    found = pd.DataFrame(rows)
    found["p_holm"] = found.groupby("convention")["p"].transform(holm)
    return found


def holm(p: pd.Series) -> pd.Series:
    """Return p values corrected for their number by Holm's step-down method; NaN is no test and stays NaN."""
    ascending = p.dropna().sort_values()
    steps = ascending * np.arange(len(ascending), 0, -1)
    return steps.cummax().clip(upper=1).reindex(p.index)


def summary_text(summary: pd.DataFrame) -> str:
    """Return what `summarise` found as text of at most 100 columns."""
    rows = [
        {
            "metric": f"{row.metric} {ARROWS[row.better]}",
            "convention": row.convention,
            "mean": f"{row.mean:.5g}",
            "95 % interval": _interval(row.low, row.high, 4),
            "unit": "" if row.unit == "none" else row.unit,
        }
        for row in summary.itertuples()
    ]
    images = (summary["images"] + summary["nan"] + summary["infinite"]).max()
    title = f"{_count(images, 'image')}, mean and its bootstrap interval over images; arrows show what is better"
    notes = [
        f"{row.metric} ({row.convention}): {row.nan} nan and {row.infinite} infinite values are left out of the mean"
        for row in summary.itertuples()
        if row.nan or row.infinite
    ]
    return "\n".join([title, _table(rows), *notes])


def comparison_text(comparison: pd.DataFrame) -> str:
    """Return what `compare` found as text of at most 100 columns."""
    rows = [
        {
            "metric": f"{row.metric} {ARROWS[row.better]}",
            "convention": row.convention,
            "first": f"{row.first:.4g}",
            "second": f"{row.second:.4g}",
            "diff": f"{row.difference:.3g}",
            "95 % interval": _interval(row.low, row.high, 3),
            "wins": f"{row.wins:.0%}" if row.images else "-",
            "p": row.untested or ("<0.0001" if row.p_holm < 1e-4 else f"{row.p_holm:.4f}"),
        }
        for row in comparison.itertuples()
    ]
    title = (
        f"{_count((comparison['images'] + comparison['left_out']).max(), 'image pair')}; diff: first minus second"
        " with its bootstrap interval;\nwins: share of images on which the first is better, ties count half;"
        "\np: Wilcoxon signed-rank test, Holm-corrected over the metrics of a convention"
    )
    notes = [
        f"{row.metric} ({row.convention}): {row.left_out} pairs with a value that is not finite are left out"
        for row in comparison.itertuples()
        if row.left_out
    ]
    return "\n".join([title, _table(rows), *notes])


def _compared(first: np.ndarray, second: np.ndarray, metric: Metric, pairs: int) -> dict[str, float | int | str]:
    difference = first - second
    low, high = mean_interval(difference)
    gain = metric.gain(first) - metric.gain(second)
    untested = FEW if len(first) < FEWEST_PAIRS else EQUAL if not difference.any() else ""
    found = len(first) > 0
    return {
        "images": len(first),
        "left_out": pairs - len(first),
        "first": first.mean() if found else np.nan,
        "second": second.mean() if found else np.nan,
        "difference": difference.mean() if found else np.nan,
        "low": low,
        "high": high,
        "wins": ((gain > 0) + (gain == 0) / 2).mean() if found else np.nan,
        "p": np.nan if untested else float(stats.wilcoxon(difference).pvalue),
        "untested": untested,
    }


def _checked(scores: pd.DataFrame) -> pd.DataFrame:
    lacking = [name for name in COLUMNS if name not in scores]
    if lacking:
        raise FusionkitError(f"not a table of scores: no column {', '.join(lacking)}")
    twice = scores[scores.duplicated(COLUMNS[:3])]
    if len(twice):
        image, convention, metric = twice.iloc[0][COLUMNS[:3]]
        raise FusionkitError(f"image {image!r} has more than one value of {metric} ({convention}); one set at a time")
    return scores.astype({"value": float})


def _quantities(scores: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield metric, convention and rows; the conventions of a metric stand together."""
    groups = dict(list(scores.groupby(["metric", "convention"])))
    metrics, conventions = list(METRICS), list(CONVENTIONS)
    for metric, convention in groups:
        get_metric(metric).variant(convention)
    for metric, convention in sorted(groups, key=lambda q: (metrics.index(q[0]), conventions.index(q[1]))):
        yield metric, convention, groups[metric, convention]


def _table(rows: Sequence[dict[str, str]]) -> str:
    numbers = ("mean", "first", "second", "diff", "wins", "p")
    sides = ["right" if name in numbers else "left" for name in rows[0]]
    return tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True, colalign=sides)


def _interval(low: float, high: float, digits: int) -> str:
    return f"{low:.{digits}g} to {high:.{digits}g}" if np.isfinite(low) else "-"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
