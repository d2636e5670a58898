"""Equal conditions: networks of several papers, trained here by one protocol and ranked on the same held-out pairs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionkit.data.registry import get_dataset
from fusionkit.figures.style import BLUE, MUTED, new_figure, styled
from fusionkit.intervals import CONFIDENCE, RESAMPLES
from fusionkit.measure import is_here, load_measurement, seeds_of
from fusionkit.metrics import get_metric
from fusionkit.papers import Panel, list_papers, load_paper
from fusionkit.recipes import list_recipes
from fusionkit.tables.cells import printed_number
from fusionkit.tables.claims import SIGNS
from fusionkit.yardstick import TRIVIAL, yardstick

PROTOCOL = "equal_conditions"
HELD_OUT = ("roadscene", "test_s4fusion67")
LOSS = "loss:diffmf:total"
HOLDS, REVERSED, UNDECIDED = "holds", "reversed", "undecided"
BOUNDS = 100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2
Scores = Mapping[str, Sequence[pd.DataFrame]]


def methods() -> dict[str, list[str]]:
    """Return the method ids of the networks of the protocol that have weights: by model, one for each seed."""
    found = {}
    for name in list_recipes():
        protocol, _, model = name.partition("/")
        first = f"{model}:{PROTOCOL}"
        if protocol == PROTOCOL and is_here(first):
            found[model] = [first, *seeds_of(first)]
    return found


def recorded() -> dict[str, list[pd.DataFrame]]:
    """Return what they score on the held-out pairs: by model, a frame of per-image values for each seed on record."""
    found = {}
    for model, ids in methods().items():
        kept = [load_measurement(method, *HELD_OUT) for method in ids]
        found[model] = [measurement.values for measurement in kept if measurement]
    return {model: frames for model, frames in found.items() if frames}


def shares() -> pd.DataFrame:
    """Return how far the first seeds get on the loss they were all trained on, as ``fusionkit.yardstick.yardstick``."""
    ids = [*TRIVIAL, *(seeds[0] for seeds in methods().values()), "oracle_diffmf"]
    kept = {method: load_measurement(method, *HELD_OUT) for method in ids}
    return yardstick(*HELD_OUT, "diffmf", {method: found.values for method, found in kept.items() if found})


def ranks(scores: Scores) -> pd.DataFrame:
    """Rank the networks in every quantity.

    Args:
        scores: Per-image values by model and seed; all frames hold the same pairs and quantities.

    Returns:
        A line per quantity and model: ``quantity model mean seeds rank low high``. ``mean`` is over pairs and seeds,
        ``seeds`` the range of the seeds' means, ``rank`` 1 for the best mean; ``low`` and ``high`` bound the ranks in
        95 % of the resamples, each of which draws pairs and, for every model, one of its seeds.
    """
    lines = []
    for quantity, values in _quantities(scores):
        means = pd.Series({model: float(v.mean()) for model, v in values.items()})
        order = _gain(quantity, means).rank(ascending=False, method="min")
        drawn = pd.DataFrame({model: _gain(quantity, pd.Series(d)) for model, d in _resampled(values).items()})
        low, high = np.percentile(drawn.rank(axis=1, ascending=False, method="min"), BOUNDS, axis=0)
        for i, model in enumerate(means.index):
            seeds = values[model].mean(axis=1)
            lines.append((quantity, model, means[model], np.ptp(seeds), order[model], low[i], high[i]))
    return pd.DataFrame(lines, columns=["quantity", "model", "mean", "seeds", "rank", "low", "high"])


def rank_table(found: pd.DataFrame) -> pd.DataFrame:
    """Lay ranks out as texts such as ``"2 [1, 3]"``: a line per model, a column per quantity, the best mean rank first.

    Args:
        found: Result of :func:`ranks`.
    """
    texts = [f"{r.rank:.0f} [{r.low:.0f}, {r.high:.0f}]" for r in found.itertuples()]
    table = found.assign(text=texts).pivot(index="model", columns="quantity", values="text")
    table.insert(0, "mean rank", found.groupby("model")["rank"].mean().round(1))
    return table.sort_values("mean rank")


def printed_pairs(models: Sequence[str]) -> Iterator[tuple[Panel, str, str, str]]:
    """Yield every order of two networks that a paper prints on infrared-visible pairs: panel, metric, better, worse.

    Args:
        models: Networks of interest. A row belongs to a model if it is measured with one of its weights.
    """
    task = get_dataset(HELD_OUT[0]).task
    for paper in list_papers():
        for panel in load_paper(paper).panels:
            if not panel.dataset or get_dataset(panel.dataset).task != task:
                continue
            rows = {
                label: row.method.partition(":")[0]
                for label, row in panel.rows.items()
                if row.method and row.method.partition(":")[0] in models and label in panel.published.index
            }
            if len(set(rows.values())) < len(rows):
                continue  # an ablation: several rows of one network
            for name, column in panel.columns.items():
                if column.metric and column.better in SIGNS and name in panel.published:
                    yield from _ordered(panel, name, rows)


def what_remains(scores: Scores) -> pd.DataFrame:
    """Say what is left of the papers' orders of networks that are trained alike here.

    A printed order *holds* or is *reversed* if the difference here, in the same metric, excludes zero in 95 % of the
    resamples, and is *undecided* otherwise.

    Returns:
        A line per printed order: ``panel metric better worse outcome``; metrics that are not on record are left out.
    """
    draws = {
        quantity.partition("@")[0]: {m: _gain(quantity, pd.Series(d)) for m, d in _resampled(values).items()}
        for quantity, values in _quantities(scores)
    }
    lines = []
    for panel, metric, better, worse in printed_pairs(list(scores)):
        if metric in draws:
            low, high = np.percentile(draws[metric][better] - draws[metric][worse], BOUNDS)
            outcome = HOLDS if low > 0 else REVERSED if high < 0 else UNDECIDED
            lines.append((f"{panel.paper}/{panel.id}", metric, better, worse, outcome))
    return pd.DataFrame(lines, columns=["panel", "metric", "better", "worse", "outcome"])


def describe(found: pd.DataFrame, remains: pd.DataFrame) -> str:
    """Return the finding in words.

    Args:
        found: Result of :func:`ranks`.
        remains: Result of :func:`what_remains`.
    """
    if found.empty:
        return "no network of this protocol is measured here"
    order = list(rank_table(found).index)
    firsts = found.loc[found["model"] == order[0], "rank"] == 1
    counts = remains["outcome"].value_counts()
    kept, turned, open_ = (int(counts.get(key, 0)) for key in (HOLDS, REVERSED, UNDECIDED))
    return (
        f"{order[0]} has the best mean rank of {len(order)} networks and is first in {firsts.sum()} of {len(firsts)} "
        f"quantities; of {len(remains)} orders in print {kept} hold under equal conditions, {turned} are reversed, "
        f"{open_} undecided"
    )


@styled
def rank_figure(found: pd.DataFrame) -> Figure:
    """Draw the ranks of every network in every quantity with their intervals, one part per quantity.

    Args:
        found: Result of :func:`ranks`.
    """
    order = list(rank_table(found).index)
    quantities = list(dict.fromkeys(found["quantity"]))
    figure = new_figure(1.6 * len(quantities) + 1.4, 0.3 * len(order) + 1.2)
    for axes, quantity in zip(np.atleast_1d(figure.subplots(1, len(quantities), sharey=True)), quantities, strict=True):
        part = found[found["quantity"] == quantity].set_index("model").loc[order]
        places = np.arange(len(order))
        axes.hlines(places, part["low"], part["high"], color=MUTED, lw=2)
        axes.plot(part["rank"], places, "o", color=BLUE, ms=6)
        axes.set(title="loss" if quantity == LOSS else quantity, xlim=(0.5, len(order) + 0.5), xlabel="rank")
        axes.set_xticks([1, len(order)])
        axes.grid(axis="x", visible=False)
    figure.axes[0].set_yticks(places, order)
    figure.axes[0].invert_yaxis()
    return figure


def _quantities(scores: Scores) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield each metric's first convention, and the loss: values (seeds, pairs) by model, pairs without NaN only."""
    if not scores:
        return
    columns = list(next(iter(scores.values()))[0].columns)
    metrics = [name for name in columns if "@" in name and not name.endswith("+stretch")]
    firsts = {name.partition("@")[0]: name for name in reversed(metrics)}
    for quantity in [*(name for name in metrics if name in firsts.values()), *({LOSS} & set(columns))]:
        values = {m: np.stack([frame[quantity].to_numpy(float) for frame in seeds]) for m, seeds in scores.items()}
        finite = np.all([np.isfinite(v).all(axis=0) for v in values.values()], axis=0)
        yield quantity, {model: v[:, finite] for model, v in values.items()}


def _gain(quantity: str, values: pd.Series) -> pd.Series:
    """Return values so that more is better."""
    return -values if quantity == LOSS else get_metric(quantity.partition("@")[0]).gain(values)


def _resampled(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the means (resamples,) of each model in the same resamples of pairs, each with one of its seeds."""
    rng = np.random.default_rng(0)
    pairs = next(iter(values.values())).shape[1]
    counts = rng.multinomial(pairs, np.full(pairs, 1 / pairs), RESAMPLES) / pairs
    found = {}
    for model, seeds in values.items():
        means = counts @ seeds.T
        found[model] = np.take_along_axis(means, rng.integers(len(seeds), size=(RESAMPLES, 1)), 1)[:, 0]
    return found


def _ordered(panel: Panel, column: str, rows: Mapping[str, str]) -> Iterator[tuple[Panel, str, str, str]]:
    known = panel.columns[column]
    printed = {label: printed_number(panel.published.loc[label, column], known.unit) for label in rows}
    printed = {label: SIGNS[known.better] * value for label, value in printed.items() if value is not None}
    for one, two in combinations(printed, 2):
        if printed[one] != printed[two]:
            better, worse = (one, two) if printed[one] > printed[two] else (two, one)
            yield panel, str(known.metric), rows[better], rows[worse]
