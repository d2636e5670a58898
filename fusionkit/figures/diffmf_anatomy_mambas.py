"""Features of scan-based fusion networks side by side (Fig. 1): the last ones, of which a network makes its image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionkit.data import Pair
from fusionkit.figures import diffmf_anatomy, fusionmamba_anatomy
from fusionkit.figures.anatomy_draw import draw_image, draw_maps, row_inches
from fusionkit.figures.anatomy_run import Run, channel_correlations
from fusionkit.figures.diffmf_anatomy_maps import detail
from fusionkit.figures.style import new_figure, styled
from fusionkit.measure import load_method
from fusionkit.models.diffmf import DiffMF
from fusionkit.models.layout import channels_first


def side_by_side(pair: Pair) -> tuple[list[Run], str]:
    """Run FusionMamba and DIFF-MF on a pair.

    Returns:
        Their runs and a line that says which weights they have.
    """
    networks, note = diffmf_anatomy.scan_network()
    theirs = fusionmamba_anatomy.run_network(load_method(fusionmamba_anatomy.PAPER), pair, "FusionMamba")
    runs = [diffmf_anatomy.run_network(model, pair, title) for title, model in networks.items()]
    return [theirs, *runs], f"FusionMamba: {fusionmamba_anatomy.PAPER}; {note}"


def last_features(run: Run) -> np.ndarray:
    """Return the features that a network makes its image of, (C, H, W).

    FusionMamba's are those before each place is unfolded into 4x4 pixels, whose channels do not mean the same.
    """
    if isinstance(run.model, DiffMF):
        return diffmf_anatomy.spatial_anatomy(run, 1)["fused"]
    return channels_first(run.inputs("expand")[0])[0].numpy()


@styled
def side_by_side_figure(runs: Sequence[Run]) -> Figure:
    """Draw the pair, and per network the mean of its features over the channels and the fused image."""
    figure = new_figure(2.0 * (2 + 2 * len(runs)), row_inches(1.95, runs[0].fused.shape) + 0.2)
    row = figure.subplots(1, 2 + 2 * len(runs))
    for axes, image, title in zip(row, (runs[0].pair.a, runs[0].pair.b), ("infrared", "visible"), strict=False):
        draw_image(axes, image[0].numpy(), title)
    for place, run in enumerate(runs, start=1):
        draw_maps(row[2 * place : 2 * place + 1], {run.title: last_features(run).mean(0, keepdims=True)}, 0)
        draw_image(row[2 * place + 1], run.fused, "its image")
    return figure


def balance_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return how each network's features and image follow the two sources.

    Returns:
        Per network: correlation of the mean ``features`` (its size) and of the ``image`` with infrared and visible,
        and how much ``detail`` the features hold.
    """
    return pd.DataFrame({run.title: _balance(run) for run in runs}).T


def _balance(run: Run) -> dict[str, float]:
    features = last_features(run)
    height, width = features.shape[1:]
    row = {}
    for name, source in (("infrared", run.pair.a), ("visible", run.pair.b)):
        image = source.numpy()
        step = round(image.shape[1] / height)
        small = image[:, ::step, ::step][:, :height, :width]
        row[f"features, {name}"] = abs(float(channel_correlations(features.mean(0, keepdims=True), small)[0]))
        row[f"image, {name}"] = float(channel_correlations(run.fused[None], image)[0])
    return row | {"detail": detail(features)}


def balance_verdict(table: pd.DataFrame) -> str:
    """Say which source the features and the image of each network follow more.

    Args:
        table: Result of :func:`balance_table`.
    """
    words = [
        f"{title}, {what}: correlation with infrared {row[f'{what}, infrared']:.2f}, with visible "
        f"{row[f'{what}, visible']:.2f}"
        for title, row in table.iterrows()
        for what in ("features", "image")
    ]
    return "; ".join(words) + "."
