"""The features of either modality before and after CMSA, at every scale (Fig. 5)."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.data import Pair
from fusionkit.figures.anatomy_draw import draw_image, draw_maps, row_inches
from fusionkit.figures.anatomy_run import Maps, Run, channel_correlations, telling_channels
from fusionkit.figures.s4fusion_anatomy import MODALITIES, block_path, is_read, run_network
from fusionkit.figures.s4fusion_anatomy_scan import alike
from fusionkit.figures.style import BLUE, FAINT, GREEN, MUTED, ORANGE, bare, new_figure, styled
from fusionkit.models.layout import channels_first
from fusionkit.models.s4fusion.patches import pad_to_legal

MEASURES = {
    "alike": "infrared and visible features correlate",
    "foreign_infrared": "infrared features follow the visible image",
    "foreign_visible": "visible features follow the infrared image",
    "hot_infrared": "hot places stand out in infrared features",
    "hot_visible": "hot places stand out in visible features",
}
# The hottest places of the infrared image, as a percentile: people, mostly.
HOT = 98


def cmsa_anatomy(run: Run, scale: int) -> Maps:
    """Return the features before and after the CMSA of a scale.

    Args:
        run: A run of a network whose fusion is CMSA.
        scale: From 1, the finest.

    Returns:
        ``infrared_before``, ``infrared_after``, ``visible_before``, ``visible_after`` and ``fused``, the sum of both
        after it.

    Raises:
        FusionkitError: No such scale, or another fusion.
    """
    last = block_path(run, scale, run.model.config.fusion_blocks[scale - 1])
    path = f"fusion.{scale - 1}"
    found = {"fused": run.output(path)}
    for place, name in enumerate(MODALITIES):
        found[f"{name}_before"] = run.inputs(path)[place]
        found[f"{name}_after"] = run.calls[last][0].outputs[place]
    return {name: channels_first(tensor)[0].numpy() for name, tensor in found.items()}


@styled
def features_figure(run: Run, rank: int = 1) -> Figure:
    """Draw a channel of either modality before and after the CMSA of every scale, and what it changed.

    Args:
        run: A run.
        rank: Which channel to show: 1 is the one of the fused map that varies most over the image, 2 the next.

    Raises:
        FusionkitError: As ``cmsa_anatomy``.
    """
    levels = len(run.model.config.dims)
    figure = new_figure(12.2, levels * row_inches(1.4, run.fused.shape) + 0.3)
    figure.suptitle(run.title)
    for scale, row in enumerate(figure.subplots(levels, 8, squeeze=False), start=1):
        maps = cmsa_anatomy(run, scale)
        channel = int(telling_channels(maps["fused"])[rank - 1])
        titles = {}
        for name in MODALITIES:
            before, after = maps[f"{name}_before"], maps[f"{name}_after"]
            titles |= {f"{name}, before": before, f"{name}, after": after, f"{name}, change": after - before}
        titles["sum" if is_read(run.model, scale) else "sum, never read"] = maps["fused"]
        draw_maps(row[:7], titles, channel)
        row[0].set_ylabel(f"scale {scale}\nchannel {channel}", fontsize=8)
        bare(row[7])
    images = {"infrared": run.pair.a[0].numpy(), "visible": run.pair.b[0].numpy(), "fused image": run.fused}
    for row, (title, image) in zip(figure.axes[7::8], images.items(), strict=False):
        draw_image(row, image, title)
    return figure


def cmsa_facts(run: Run, scale: int) -> dict[str, float]:
    """Return how the CMSA of a scale changes the features, each measure before and after it.

    Returns:
        ``change_infrared``, ``change_visible``: norm of the change relative to the features before; then, with
        ``_before`` and ``_after``: ``alike``, mean correlation of the two modalities' channels; ``foreign_...``, mean
        size of the correlation of a modality's channels with the other image, pooled to the size of the map;
        ``hot_...``, how far the hottest 2 % of the places are from the others, in standard deviations of a channel,
        mean size over the channels.

    Raises:
        FusionkitError: As ``cmsa_anatomy``.
    """
    maps = cmsa_anatomy(run, scale)
    images = [_pooled(run, image, maps["fused"].shape[1:]) for image in (run.pair.a, run.pair.b)]
    found = {}
    for name in MODALITIES:
        before, after = maps[f"{name}_before"], maps[f"{name}_after"]
        found[f"change_{name}"] = float(np.linalg.norm(after - before) / np.linalg.norm(before))
    for when in ("before", "after"):
        both = [maps[f"{name}_{when}"] for name in MODALITIES]
        found[f"alike_{when}"] = alike(*both)
        for name, features, other in zip(MODALITIES, both, images[::-1], strict=True):
            found[f"foreign_{name}_{when}"] = _follows(features, other)
            found[f"hot_{name}_{when}"] = _stands_out(features, images[0] >= np.percentile(images[0], HOT))
    return found


def _pooled(run: Run, image: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Return an image (1, H, W) as the network pads it, averaged down to the size of a map."""
    padded, _ = pad_to_legal(image[None], run.model.stride)
    return F.adaptive_avg_pool2d(padded, size)[0, 0].double().numpy()


def _follows(features: np.ndarray, image: np.ndarray) -> float:
    """Return the mean size of the correlation of each channel (C, H, W) with an image (H, W)."""
    return float(np.nanmean(np.abs(channel_correlations(features.astype(float), image[None]))))


def _stands_out(features: np.ndarray, places: np.ndarray) -> float:
    """Return how far chosen places (H, W) are from the others, in standard deviations, mean size over the channels."""
    apart = features[:, places].mean(1) - features[:, ~places].mean(1)
    return float(np.mean(np.abs(apart) / np.maximum(features.std((1, 2)), np.finfo(features.dtype).tiny)))


def cmsa_table(model: nn.Module, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return :func:`cmsa_facts` of every scale, means over pairs."""
    runs = [run_network(model, pair) for pair in pairs]
    scales = range(1, 1 + len(model.config.dims))
    rows = {f"scale {scale}": pd.DataFrame([cmsa_facts(run, scale) for run in runs]).mean() for scale in scales}
    return pd.DataFrame(rows).T


@styled
def measures_figure(table: pd.DataFrame) -> Figure:
    """Draw each measure of :func:`cmsa_table` before (grey) and after CMSA, an arrow per scale."""
    figure = new_figure(2.5 * len(MEASURES), 2.3)
    grid = figure.subplots(1, len(MEASURES), sharey=True)
    for axes, (name, title), colour in zip(grid, MEASURES.items(), (GREEN, ORANGE, BLUE, ORANGE, BLUE), strict=True):
        for place, (before, after) in enumerate(zip(table[f"{name}_before"], table[f"{name}_after"], strict=True)):
            axes.plot([before, after], [place, place], color=FAINT, lw=3, zorder=1)
            axes.plot(before, place, "o", color=MUTED, mfc="white", ms=6)
            axes.plot(after, place, "o", color=colour, ms=6)
        axes.set_title("\n".join(wrap(title, 26)), fontsize=8.5)
        axes.set(yticks=range(len(table)), yticklabels=table.index)
        axes.set_xlabel("standard deviations" if name.startswith("hot") else "correlation")
    grid[0].set_ylim(len(table) - 0.5, -0.5)
    return figure


def cmsa_words(table: pd.DataFrame) -> str:
    """Return in words what :func:`cmsa_table` says of the scales."""
    lines = []
    for scale, row in table.iterrows():
        moves = [
            f"{title} {row[f'{name}_before']:.2f} to {row[f'{name}_after']:.2f}" for name, title in MEASURES.items()
        ]
        change = f"change {row['change_infrared']:.2f} (infrared), {row['change_visible']:.2f} (visible) of the norm"
        lines.append(f"{scale}: {change}; {'; '.join(moves)}")
    return "\n".join(lines)


def cmsa_verdict(model: nn.Module, table: pd.DataFrame) -> str:
    """Say in one line at how many scales that the decoder reads information crosses over."""
    read = table if model.config.use_scale1 else table.iloc[1:]
    rises = {name: int((read[f"{name}_after"] > read[f"{name}_before"]).sum()) for name in MEASURES}
    count = len(read)
    return (
        f"of {count} scales that the decoder reads, after CMSA the modalities are more alike at {rises['alike']}, "
        f"infrared features follow the visible image more at {rises['foreign_infrared']}, "
        f"visible features follow the infrared image more at {rises['foreign_visible']}; hot places stand out more in "
        f"infrared features at {rises['hot_infrared']}, in visible ones at {rises['hot_visible']}"
    )
