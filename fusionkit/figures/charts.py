"""Charts of runs and methods: loss curves, and profiles over metrics."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionkit.errors import FusionkitError
from fusionkit.figures.style import CYCLE, MUTED, new_figure, styled

SMOOTHING_EPOCHS = 9


def require(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Refuse a table that lacks columns or rows.

    Raises:
        FusionkitError: Names what is missing.
    """
    missing = [name for name in columns if name not in table]
    if missing:
        raise FusionkitError(f"{what}: the table lacks the column {missing[0]!r}; it needs {', '.join(columns)}")
    if table.empty:
        raise FusionkitError(f"{what}: the table has no rows; measure or choose something first")


@styled
def loss_curves(frames: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Draw the loss of each epoch, one part of the figure per term, one line per run.

    Epochs are drawn thin, their running mean thick; dotted lines mark where the learning rate changes.

    Args:
        frames: Loss curve per run as training writes it: ``epoch``, ``lr``, one column per term and ``total``.
        title: Line above the chart.

    Raises:
        FusionkitError: No curve, or one without epochs or total.
    """
    if not frames:
        raise FusionkitError("loss curves: there is no run; train one first")
    for name, frame in frames.items():
        require(frame, ("epoch", "total"), f"loss curve {name}")
    first = next(iter(frames.values()))
    terms = ["total", *(c for c in first.columns if c not in ("epoch", "lr", "total"))]
    figure = new_figure(2.9 * len(terms) + 0.6, 3.2)
    figure.suptitle(title)
    for axes, term in zip(np.atleast_1d(figure.subplots(1, len(terms))), terms, strict=True):
        for i, (name, frame) in enumerate(frames.items()):
            colour = CYCLE[i % len(CYCLE)]
            smooth = frame[term].rolling(SMOOTHING_EPOCHS, center=True, min_periods=1).mean()
            axes.plot(frame["epoch"], frame[term], color=colour, alpha=0.3, lw=0.7)
            axes.plot(frame["epoch"], smooth, color=colour, label=name)
        for epoch in rate_changes(first):
            axes.axvline(epoch, color=MUTED, lw=0.7, ls=":", zorder=0)
        axes.set(title=term.replace("_", " "), xlabel="epoch", yscale="log")
        axes.grid(True, which="both", axis="y")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(which="minor", labelsize=6.5)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(frames), 5))
    return figure


def rate_changes(curve: pd.DataFrame) -> list[int]:
    """Return the first epoch of each new learning rate of a loss curve, if there are few."""
    if "lr" not in curve:
        return []
    changes = curve["epoch"][curve["lr"].diff().fillna(0) != 0].tolist()
    return changes if len(changes) <= 6 else []


def metric_ranks(table: pd.DataFrame, lower_is_better: Sequence[str] = ()) -> pd.DataFrame:
    """Scale each metric to [0, 1] over the methods, 1 being the best; equal values become 1.

    Args:
        table: Indexed by method, one column per metric.
        lower_is_better: Metrics to turn around.
    """
    scaled = {}
    for name, values in table.items():
        values = -values if name in lower_is_better else values
        span = values.max() - values.min()
        scaled[name] = (values - values.min()) / span if span > 0 else values * 0 + 1.0
    return pd.DataFrame(scaled, index=table.index)


@styled
def metric_profile(table: pd.DataFrame, lower_is_better: Sequence[str] = (), title: str = "") -> Figure:
    """Draw methods as lines over metrics, each metric from the worst to the best of these methods.

    Args:
        table: Indexed by method, one column per metric; a few methods.
        lower_is_better: Metrics whose axis is turned around.
        title: Line above the chart.

    Raises:
        FusionkitError: There is no method or no metric.
    """
    if table.empty:
        raise FusionkitError("metric profile: the table has no values; give methods as rows and metrics as columns")
    scaled = metric_ranks(table, lower_is_better)
    figure = new_figure(max(1.0 * table.shape[1] + 2.6, 5.0), 3.6)
    axes = figure.subplots()
    positions = range(table.shape[1])
    for i, (method, values) in enumerate(scaled.iterrows()):
        marker = "osD^vP"[i % 6]
        axes.plot(positions, values, marker=marker, ms=5, color=CYCLE[i % len(CYCLE)], label=str(method), clip_on=False)
    for x, (name, values) in enumerate(table.items()):
        best, worst = values.max(), values.min()
        if name in lower_is_better:
            best, worst = worst, best
        axes.axvline(x, color="#DDDDDD", lw=0.8, zorder=0)
        axes.text(x, 1.05, f"{best:.4g}", ha="center", va="bottom", fontsize=7.5, color=MUTED)
        axes.text(x, -0.05, f"{worst:.4g}", ha="center", va="top", fontsize=7.5, color=MUTED)
    axes.set(ylim=(-0.14, 1.14), yticks=[0, 1], yticklabels=["worst", "best"])
    axes.set_xticks(positions, table.columns)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(title, loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
