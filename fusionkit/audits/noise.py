"""Metrics that reward noise: sources, plain rules and spoilt images under every metric."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fusionkit.data import Pair
from fusionkit.figures.panels import show
from fusionkit.figures.style import INK, new_figure, styled
from fusionkit.metrics import METRICS, evaluate, get_metric
from fusionkit.profiles import Profile, as_profile, example_pairs

PAIRS = {Profile.SMOKE: 1, Profile.STANDARD: 6, Profile.PAPER: 42}
NOISE_LEVELS, SHARPEN_SIGMA, SHARPEN_AMOUNT = 15.0, 2.0, 1.5
# Rounding to 8 bits moves every metric a little; less than this part of the value is no difference.
MARGIN = 1e-3
BASE = "average"
SPOILT = ("average + noise", "average, sharpened", "average, stretched")
NOTHING = "noise alone"


def versions(pair: Pair, seed: int = 0) -> dict[str, Tensor]:
    """Return images that are fused by no method worth the name.

    The sources themselves, their average and maximum, three changes to the average (white noise of 15 grey levels,
    unsharp masking, stretching to the full range), and uniform noise that has seen neither source.

    Args:
        pair: The sources.
        seed: Decides the noise.

    Returns:
        uint8 (1, H, W) by name.
    """
    a, b = (255 * image[0].double().numpy() for image in (pair.a, pair.b))
    average = (a + b) / 2
    generator = np.random.default_rng(seed)
    sharper = average + SHARPEN_AMOUNT * (average - gaussian_filter(average, SHARPEN_SIGMA))
    span = max(average.max() - average.min(), 1.0)
    images = {
        "first source": a,
        "second source": b,
        BASE: average,
        "maximum": np.maximum(a, b),
        SPOILT[0]: average + generator.normal(0, NOISE_LEVELS, average.shape),
        SPOILT[1]: sharper,
        SPOILT[2]: (average - average.min()) * 255 / span,
        NOTHING: generator.uniform(0, 255, average.shape),
    }
    return {name: torch.from_numpy(image.round().clip(0, 255).astype(np.uint8))[None] for name, image in images.items()}


def version_scores(dataset: str, profile: str, convention: str = "reference") -> tuple[pd.DataFrame, str]:
    """Measure the versions of some pairs under every metric of a convention.

    Args:
        dataset: A dataset with a split ``test``.
        profile: Name of a profile; it decides how many pairs.
        convention: Name of a convention.

    Returns:
        Values by metric (columns), indexed by pair and version; and a line on the pairs.
    """
    pairs, note = example_pairs(dataset, "test", PAIRS[as_profile(profile)], profile)
    tables = {}
    for seed, pair in enumerate(pairs):
        images = versions(pair, seed)
        fused = torch.stack(list(images.values()))
        a, b = ((255 * x).round().byte().expand(len(fused), -1, -1, -1) for x in (pair.a, pair.b))
        side = min(fused.shape[-2:])
        names = [m.name for m in METRICS.values() if convention in m.variants and m.smallest(convention) <= side]
        found = evaluate(fused, a, b, names, convention)
        tables[pair.name] = pd.DataFrame({name: values.numpy() for name, values in found.items()}, index=list(images))
    return pd.concat(tables, names=["pair", "version"]), note


def version_ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean rank of every version (1 best) per metric, over the pairs on which all are finite.

    Args:
        scores: Result of :func:`version_scores`.
    """
    ranks = {}
    for name in scores:
        table = scores[name].unstack("version").replace([np.inf, -np.inf], np.nan).dropna(axis=1, how="all").dropna()
        if len(table):
            ranks[name] = get_metric(name).gain(table).rank(axis=1, ascending=False).mean()
    order = [version for version in scores.index.unique("version")]
    return pd.DataFrame(ranks).T.reindex(columns=order).rename_axis("metric")


def beats(scores: pd.DataFrame, better: str, worse: str) -> pd.Series:
    """Return per metric the share of pairs on which one version clearly scores better than another.

    Args:
        scores: Result of :func:`version_scores`.
        better: A version.
        worse: Another one. A difference below 0.1 % of its value is none; NaN counts as not better.
    """
    table = _upward(scores)
    return _ahead(table.xs(better, level="version"), table.xs(worse, level="version"))


def reward_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return per metric on what share of pairs a spoilt average beats the clean one, and noise alone the average."""
    columns = {version: beats(scores, version, BASE) for version in (*SPOILT, NOTHING)}
    columns |= {f"a source beats {rule}": _source_beats(scores, rule) for rule in (BASE, "maximum")}
    return pd.DataFrame(columns).rename_axis("metric")


def noise_verdict(scores: pd.DataFrame, what: str) -> str:
    """Say in words which metrics prefer spoilt images."""
    table = reward_table(scores)

    def names(column: str) -> str:
        found = table.index[table[column] > 0.5]
        return f"{len(found)} of {len(table)} ({', '.join(found) or 'none'})"

    lines = [f"{what} Better than the clean average, on more than half of the pairs:"]
    lines += [f"- {column}: {names(column)}" for column in (*SPOILT, NOTHING)]
    lines += [f"A copy of one source beats the average: {names(f'a source beats {BASE}')}"]
    return "\n".join(lines)


def _source_beats(scores: pd.DataFrame, rule: str) -> pd.Series:
    table = _upward(scores)
    best = table.query("version in ('first source', 'second source')").groupby("pair").max()
    return _ahead(best, table.xs(rule, level="version"))


def _upward(scores: pd.DataFrame) -> pd.DataFrame:
    """Turn metrics so that higher is better."""
    finite = scores.replace([np.inf, -np.inf], np.nan)
    return pd.DataFrame({name: get_metric(name).gain(finite[name]) for name in finite})


def _ahead(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    return (first - second > MARGIN * second.abs()).mean()


@styled
def versions_figure(pair: Pair, title: str) -> Figure:
    """Show all versions of one pair.

    Args:
        pair: The sources.
        title: Line above.
    """
    images = versions(pair)
    figure = new_figure(1.7 * 4, 1.7 * 2 * pair.a.shape[-2] / pair.a.shape[-1] + 0.9)
    figure.suptitle(title)
    for axes, (name, image) in zip(figure.subplots(2, 4).flat, images.items(), strict=True):
        show(axes, image[0].numpy() / 255)
        axes.set_title(name)
    return figure


@styled
def ranks_figure(ranks: pd.DataFrame, title: str) -> Figure:
    """Draw the mean rank of every version under every metric as a matrix, sorted by how well noise alone does.

    Args:
        ranks: Result of :func:`version_ranks`.
        title: Line above.
    """
    table = ranks.sort_values(NOTHING)
    figure = new_figure(7.4, 0.21 * len(table) + 1.5)
    axes = figure.subplots()
    drawn = axes.imshow(table, cmap="cividis_r", vmin=1, vmax=table.shape[1], aspect="auto")
    for (row, column), rank in np.ndenumerate(table.to_numpy()):
        if np.isfinite(rank):
            axes.text(
                column, row, f"{rank:.1f}", ha="center", va="center", fontsize=6.5, color="white" if rank > 5 else INK
            )
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=25, ha="right")
    axes.set_yticks(range(len(table)), table.index)
    axes.set_title(title)
    figure.colorbar(drawn, ax=axes, label="mean rank, 1 is best", shrink=0.6)
    return figure
