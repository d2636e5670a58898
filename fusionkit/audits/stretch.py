"""What a contrast stretch does to a table: the same fused images, saved as they are and stretched to the full range."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionkit.figures.style import BLUE, MUTED, RED, new_figure, styled
from fusionkit.measure import STRETCH, list_measurements, load_measurement
from fusionkit.metrics import get_metric
from fusionkit.papers import load_paper
from fusionkit.tables.cells import printed_number

PAPER = "diffmf"
OURS = "DIFF-MF"
CONVENTION = "cddfuse"
COLUMNS = {"EN": "en", "SD": "sd", "SF": "sf", "AG": "ag", "MI": "mi", "VIF": "vif"}
# A linear stretch multiplies these by one factor per image.
SCALED = ("SD", "SF", "AG")
AS_FUSED, STRETCHED = "as fused", "stretched"


def both_ways(dataset: str, split: str) -> pd.DataFrame:
    """Return what every method on record scores as fused and stretched.

    Args:
        dataset: Dataset name.
        split: Split name.

    Returns:
        Means over pairs, one row per method; columns are pairs of a printed column and ``"as fused"`` or
        ``"stretched"``. Pixel oracles are left out.
    """
    rows = {}
    for method, *where in list_measurements():
        if where == [dataset, split] and not method.startswith("oracle_"):
            means = load_measurement(method, dataset, split).values.mean()
            keys = {
                (column, way): f"{metric}@{CONVENTION}{suffix}"
                for column, metric in COLUMNS.items()
                for way, suffix in ((AS_FUSED, ""), (STRETCHED, STRETCH))
            }
            if set(keys.values()) <= set(means.index):
                rows[method] = {name: means[key] for name, key in keys.items()}
    columns = pd.MultiIndex.from_product([COLUMNS, (AS_FUSED, STRETCHED)])
    return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).rename_axis("method")


def changes(values: pd.DataFrame) -> pd.DataFrame:
    """Return by what the stretch multiplies SD, SF, AG and VIF, and what it adds to EN (bits) and MI (nats).

    Args:
        values: Result of :func:`both_ways`.
    """
    before, after = values.xs(AS_FUSED, axis=1, level=1), values.xs(STRETCHED, axis=1, level=1)
    return _changes(before, after)


def places(values: pd.DataFrame) -> pd.DataFrame:
    """Return the place of each method if no image is stretched, if all are, and if only its own are.

    Args:
        values: Result of :func:`both_ways`.

    Returns:
        One row per method, texts such as ``"6, 5, 2"`` per column; 1 is the best.
    """
    found = {}
    for column, metric in COLUMNS.items():
        plain, stretched = (get_metric(metric).gain(values[column, way]) for way in (AS_FUSED, STRETCHED))
        found[column] = [
            ", ".join(
                str(1 + int((others.drop(method) > own[method]).sum()))
                for others, own in ((plain, plain), (stretched, stretched), (plain, stretched))
            )
            for method in values.index
        ]
    return pd.DataFrame(found, index=values.index)


def printed_changes() -> pd.DataFrame:
    """Return the same of the complete network against each ablated one, as DIFF-MF prints them (Tables II to VI)."""
    rows = {}
    for panel in load_paper(PAPER).panels:
        if panel.artefact == "table1" or OURS not in panel.published.index or set(COLUMNS) - set(panel.columns):
            continue
        numbers = panel.published[list(COLUMNS)].map(printed_number).astype(float)
        ablated = numbers.drop(index=OURS)
        complete = pd.DataFrame([numbers.loc[OURS]] * len(ablated), index=ablated.index)
        for label, row in _changes(ablated, complete).iterrows():
            rows[f"{panel.artefact}: {label}"] = row
    return pd.DataFrame(rows).T.rename_axis("from")


def unevenness(found: pd.DataFrame) -> pd.Series:
    """Return how far the factors of SD, SF and AG lie apart: the largest over the smallest, less 1; 0 for one factor.

    Args:
        found: Result of :func:`changes` or of :func:`printed_changes`.
    """
    factors = found[[f"{name} times" for name in SCALED]].to_numpy(dtype=float)
    return pd.Series(factors.max(axis=1) / factors.min(axis=1) - 1, found.index, name="unevenness")


def gained(values: pd.DataFrame) -> pd.DataFrame:
    """Return how many places each method gains in each column if only its own images are stretched.

    Args:
        values: Result of :func:`both_ways`.
    """
    return places(values).map(lambda text: int(text.split(", ")[0]) - int(text.split(", ")[2]))


@styled
def signature_figure(measured: Sequence[pd.DataFrame], printed: pd.DataFrame) -> Figure:
    """Draw the factor of SF and of AG over that of SD: on the diagonal lies what a stretch can do.

    Args:
        measured: Results of :func:`changes`.
        printed: Result of :func:`printed_changes`.
    """
    figure = new_figure(8.4, 3.7)
    shown = printed[printed["SD times"] < 2]
    stretched = pd.concat(list(measured))
    for axes, name in zip(figure.subplots(1, 2), SCALED[1:], strict=True):
        axes.axline((1, 1), slope=1, color=MUTED, lw=1)
        axes.plot(stretched["SD times"], stretched[f"{name} times"], "o", color=BLUE, label="stretched here")
        axes.plot(
            shown["SD times"], shown[f"{name} times"], "x", color=RED, mew=2, label="complete over ablated, printed"
        )
        axes.set(xlabel="SD is multiplied by", ylabel=f"{name} is multiplied by", xlim=(0.97, 1.65), ylim=(0.97, 1.65))
        axes.set_aspect("equal")
    figure.axes[0].legend(loc="upper left")
    return figure


def describe(measured: Sequence[pd.DataFrame], printed: pd.DataFrame, values: Sequence[pd.DataFrame]) -> str:
    """Return the findings in words.

    Args:
        measured: Results of :func:`changes`.
        printed: Result of :func:`printed_changes`.
        values: Results of :func:`both_ways`, of the same datasets.
    """
    stretched = pd.concat(list(measured))
    places_gained = pd.concat([gained(one) for one in values])
    uneven, odd = unevenness(stretched), unevenness(printed)
    beyond = int((odd > uneven.max()).sum())
    return (
        f"{len(stretched)} sets of images: a stretch multiplies SD by {_range(stretched['SD times'])}, and SF and AG "
        f"by nearly the same (at most {uneven.max():.0%} apart); it adds {_range(stretched['EN plus'])} bits to EN "
        f"and {_range(stretched['MI plus'])} nats to MI. Stretched alone among the others, a method gains up to "
        f"{places_gained.to_numpy().max()} places in a column, {places_gained.to_numpy().mean():.1f} on average.\n"
        f"In print the complete network has {_range(printed['SD times'])} times the SD of the {len(printed)} ablated "
        f"ones, {_range(printed['SF times'])} times their SF and {_range(printed['AG times'])} times their AG; in "
        f"{beyond} of {len(printed)} rows these factors lie further apart than any stretch here puts them, so a "
        "stretch alone does not explain them."
    )


def _changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    times = {f"{name} times": after[name] / before[name] for name in (*SCALED, "VIF")}
    return pd.DataFrame(times | {f"{name} plus": after[name] - before[name] for name in ("EN", "MI")})


def _range(values: pd.Series) -> str:
    low, high = np.min(values), np.max(values)
    return f"{low:.2f} to {high:.2f}"
