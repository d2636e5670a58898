"""DIFF-MF's channel reweighting on one pair (Fig. 3): maps on their way, and the weights of every channel."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_draw import draw_maps, draw_sorted, row_inches
from fusionkit.figures.anatomy_run import Run, channel_correlations, telling_channels
from fusionkit.figures.diffmf_anatomy import MODALITIES, channel_anatomy, reblended, run_network
from fusionkit.figures.style import BLUE, ORANGE, PURPLE, new_figure, styled

STEPS = ("before", "exchanged", "gate", "gated", "after")
GREEK = {"infrared": "alpha", "visible": "beta"}


@styled
def channel_figure(run: Run, rank: int = 1, weights: float | None = None) -> Figure:
    """Draw one channel of both modalities on its way through the reweighting, and below the weights of all channels.

    Args:
        run: A run.
        rank: Which channel to show: 1 is the one of the infrared features that varies most over the image, 2 the next.
        weights: Of eq. 8, in place of those that the network found, for a last column; None for none.
    """
    maps = channel_anatomy(run)
    channel = int(telling_channels(maps["before_infrared"])[rank - 1])
    columns = len(STEPS) + (weights is not None)
    upper = 2 * row_inches(1.7, run.fused.shape)
    figure = new_figure(1.75 * columns + 1, upper + 2.5)
    figure.suptitle(f"{run.title}, channel {channel}: w = {maps['weights'][channel]:.2f}")
    above, below = figure.subfigures(2, 1, height_ratios=(upper, 2.3))
    other = {} if weights is None else reblended(maps, weights)
    for row, name in zip(above.subplots(2, columns), MODALITIES, strict=True):
        shown = {f"{step}": maps[f"{step}_{name}"] for step in STEPS}
        if other:
            shown[f"after, w = {weights:.2f}"] = other[name]
        draw_maps(row, shown, channel)
        row[0].set_ylabel(f"{name}\n{GREEK[name]} = {maps[f'residual_{name}'][channel]:.2f}", fontsize=8)
    axes = below.subplots()
    values = {"w": (maps["weights"], PURPLE)}
    for name, colour in zip(MODALITIES, (ORANGE, BLUE), strict=True):
        values[GREEK[name]] = (maps[f"residual_{name}"], colour)
    draw_sorted(axes, values, "w")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def channel_facts(run: Run) -> dict[str, float]:
    """Return numbers on the reweighting of one pair.

    Returns:
        Means over the channels: weight ``w``, ``alpha``, ``beta``, the ``open`` gates of both modalities; and how alike
        infrared and visible are, the correlation over the places, ``alike_before`` the exchange and ``alike_after``.
    """
    maps = channel_anatomy(run)
    alike = {
        f"alike_{step}": float(np.nanmean(channel_correlations(*(maps[f"{step}_{name}"] for name in MODALITIES))))
        for step in ("before", "after")
    }
    return {
        "w": float(maps["weights"].mean()),
        **{GREEK[name]: float(maps[f"residual_{name}"].mean()) for name in MODALITIES},
        **{f"gate_{name}": float(maps[f"gate_{name}"].mean()) for name in MODALITIES},
        **alike,
    }


def weights_table(model: nn.Module, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return how much the weights differ between channels and between images.

    Returns:
        Per weight (``alpha``, ``beta``, ``w``): ``mean``, ``lowest`` and ``highest``; ``between channels``, the spread
        of the channels' means over the pairs; ``between images``, the mean over the channels of the spread over pairs.
        Spreads are standard deviations.
    """
    found = [channel_anatomy(run_network(model, pair)) for pair in pairs]
    rows = {}
    for title, key in {**{GREEK[m]: f"residual_{m}" for m in MODALITIES}, "w": "weights"}.items():
        values = np.stack([maps[key] for maps in found])
        rows[title] = {
            "mean": values.mean(),
            "lowest": values.min(),
            "highest": values.max(),
            "between channels": values.mean(0).std(),
            "between images": values.std(0).mean(),
        }
    return pd.DataFrame(rows).T


def weights_verdict(title: str, table: pd.DataFrame) -> str:
    """Say how far the weights follow the image.

    Args:
        title: What the network is called.
        table: Result of :func:`weights_table`.
    """
    words = [
        f"{name} lies between {row['lowest']:.2f} and {row['highest']:.2f} and varies {row['between images']:.3f} "
        f"between images, {row['between channels']:.3f} between channels"
        for name, row in table.iterrows()
    ]
    return f"{title}: {'; '.join(words)}."
