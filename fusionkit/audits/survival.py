"""Do the claims survive? Rankings of published fused images under every convention of every metric."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.stats import kendalltau

from fusionkit.data.published import is_published
from fusionkit.errors import FusionkitError
from fusionkit.figures.style import FAINT, MUTED, new_figure, styled
from fusionkit.intervals import difference_interval
from fusionkit.metrics import CONVENTIONS, METRICS, get_metric
from fusionkit.survey import load_surveys

FEWEST_PAIRS = 20
COLOURS = colormaps["tab10"]
Surveys = Mapping[str, pd.DataFrame]


def published_surveys(dataset: str) -> dict[str, pd.DataFrame]:
    """Return the surveys on file of published images, cut to the pairs that all methods have.

    Args:
        dataset: ``tno`` or ``vifb``; methods with fewer than 20 fused images are left out.

    Raises:
        FusionkitError: There is none on file.
    """
    found = {
        method.partition(":")[2]: values
        for method, values in load_surveys(dataset, "test").items()
        if is_published(method) and len(values) >= FEWEST_PAIRS
    }
    if not found:
        raise FusionkitError(f"no survey of published images of {dataset} on file; run `fusionkit survey`")
    common = set.intersection(*(set(values.index) for values in found.values()))
    return {method: values.loc[sorted(common)] for method, values in found.items()}


def mean_scores(surveys: Surveys) -> pd.DataFrame:
    """Return the mean over pairs: one row per ``<metric>@<convention>``, one column per method.

    A pair that is undefined for one method is left out for all; a quantity that is undefined everywhere is dropped.
    """
    stacked = pd.concat(dict(surveys), names=["method", "pair"]).replace([np.inf, -np.inf], np.nan)
    rows = {}
    for quantity in stacked:
        table = stacked[quantity].unstack("method").dropna()
        if len(table):
            rows[quantity] = table.mean()
    return pd.DataFrame(rows).T.reindex(columns=list(surveys))


def best_methods(surveys: Surveys) -> pd.DataFrame:
    """Return who is best under every convention of a metric, for metrics with several conventions.

    Returns:
        Indexed by metric, one column per convention (empty where it lacks the metric), then ``different`` (number
        of different winners) and ``clear`` (one convention's winner is clearly behind under another: the 95 %
        bootstrap interval of the difference between the two winners excludes 0 there).
    """
    means = mean_scores(surveys)
    rows = {}
    for metric, conventions in _shared(means).items():
        winners = {c: _best(means.loc[f"{metric}@{c}"], metric) for c in conventions}
        rows[metric] = {
            **{c: winners.get(c, "") for c in CONVENTIONS},
            "different": len(set(winners.values())),
            "clear": any(_clearly_behind(surveys, metric, winners, one, two) for one, two in _ordered_pairs(winners)),
        }
    return pd.DataFrame(rows).T.rename_axis("metric")


def rank_correlations(surveys: Surveys) -> pd.DataFrame:
    """Return Kendall's tau between the orders of methods that two conventions of one metric give.

    Returns:
        ``metric``, ``first``, ``second``, ``tau``; the lowest first.
    """
    means = mean_scores(surveys)
    rows = []
    for metric, conventions in _shared(means).items():
        for first, second in combinations(conventions, 2):
            one, two = (_upward(means.loc[f"{metric}@{c}"], metric) for c in (first, second))
            rows.append((metric, first, second, float(kendalltau(one, two).statistic)))
    table = pd.DataFrame(rows, columns=["metric", "first", "second", "tau"])
    return table.sort_values(["tau", "metric"], ignore_index=True)


def metric_correlations(surveys: Surveys, convention: str = "reference") -> pd.DataFrame:
    """Return Kendall's tau between the orders that the metrics of one convention give, metric by metric."""
    means = mean_scores(surveys)
    quantities = [key for key in means.index if key.endswith(f"@{convention}")]
    orders = pd.DataFrame({key.partition("@")[0]: _upward(means.loc[key], key.partition("@")[0]) for key in quantities})
    return orders.corr(method="kendall")


def survival_verdict(surveys: Surveys, what: str) -> str:
    """Say in words how far the winner depends on the convention, and on the metric."""
    best, taus = best_methods(surveys), rank_correlations(surveys)
    flips = best.index[best["different"] > 1]
    clear = [metric for metric in flips if best.loc[metric, "clear"]]
    low = taus.iloc[0]
    winners = best_by_metric(surveys)
    most = winners.value_counts()
    n_pairs = len(next(iter(surveys.values())))
    return (
        f"{what} ({len(surveys)} methods, {n_pairs} pairs): of {len(best)} metrics with several conventions, the best "
        f"method depends on the convention for {len(flips)} ({', '.join(flips) or 'none'}), clearly so for "
        f"{len(clear)} ({', '.join(clear) or 'none'}). Lowest rank correlation: {low['metric']} under {low['first']} "
        f"and {low['second']}, tau {low['tau']:.2f}. Under the reference convention {most.index[0]} is best in "
        f"{most.iloc[0]} of {len(winners)} metrics, and {len(most)} of {len(surveys)} methods are best in at least one."
    )


def best_by_metric(surveys: Surveys, convention: str = "reference") -> pd.Series:
    """Return the best method of every metric of one convention."""
    means = mean_scores(surveys)
    keys = [key for key in means.index if key.endswith(f"@{convention}")]
    return pd.Series({key.partition("@")[0]: _best(means.loc[key], key.partition("@")[0]) for key in keys})


@styled
def bump_figure(surveys: Surveys, metrics: list[str], title: str) -> Figure:
    """Draw the rank of every method under every convention of some metrics: lines that cross are orders that flip.

    Args:
        surveys: Values by method.
        metrics: Names of metrics, one part of the figure each.
        title: Line above.
    """
    means, shared = mean_scores(surveys), _shared(mean_scores(surveys))
    figure = new_figure(3.6 * len(metrics) + 0.4, 0.27 * len(surveys) + 1.6)
    figure.suptitle(title)
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        conventions = shared[metric]
        ranks = pd.DataFrame(
            {c: _upward(means.loc[f"{metric}@{c}"], metric).rank(ascending=False) for c in conventions}
        )
        moved = ranks.nunique(axis=1) > 1
        for i, (method, places) in enumerate(ranks.iterrows()):
            colour = COLOURS(i % COLOURS.N) if moved[method] else FAINT
            axes.plot(range(len(conventions)), places, "o-", color=colour, lw=2, ms=5)
            ink = colour if moved[method] else MUTED
            axes.annotate(method, (len(conventions) - 1, places.iloc[-1]), (7, 0), textcoords="offset points",
                          va="center", fontsize=7.5, color=ink)  # fmt: skip
        axes.set_xticks(range(len(conventions)), conventions, rotation=30, ha="right")
        axes.set(title=f"{metric}: {get_metric(metric).full_name}", xlim=(-0.2, len(conventions) + 0.6))
        axes.set_yticks(range(1, len(surveys) + 1))
        axes.invert_yaxis()
    figure.axes[0].set_ylabel("rank, 1 is best")
    return figure


@styled
def correlation_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the rank correlation between metrics as a matrix, in the order of its mean.

    Args:
        table: Result of :func:`metric_correlations`.
        title: Line above.
    """
    order = table.mean().sort_values(ascending=False).index
    shown = table.loc[order, order]
    figure = new_figure(0.2 * len(order) + 2.2, 0.2 * len(order) + 1.6)
    axes = figure.subplots()
    drawn = axes.imshow(shown, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(len(order)), order, rotation=90)
    axes.set_yticks(range(len(order)), order)
    axes.set_title(title)
    figure.colorbar(drawn, ax=axes, label="Kendall's tau", shrink=0.7)
    return figure


def _shared(means: pd.DataFrame) -> dict[str, list[str]]:
    """Return the conventions of every metric that has at least two, in the order of the catalogue."""
    found = {name: [c for c in CONVENTIONS if f"{name}@{c}" in means.index] for name in METRICS}
    return {name: conventions for name, conventions in found.items() if len(conventions) > 1}


def _upward(values: pd.Series, metric: str) -> pd.Series:
    return get_metric(metric).gain(values)


def _best(values: pd.Series, metric: str) -> str:
    return str(_upward(values, metric).idxmax())


def _ordered_pairs(winners: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(one, two) for one in winners for two in winners if winners[one] != winners[two]]


def _clearly_behind(surveys: Surveys, metric: str, winners: Mapping[str, str], one: str, two: str) -> bool:
    """Say whether the winner under ``two`` is clearly behind the winner under ``one``, measured under ``one``."""
    key = f"{metric}@{one}"
    low, _ = difference_interval(*(_upward(surveys[winners[c]][key], metric) for c in (one, two)))
    return low > 0
