"""The fusion modules of FusionMamba on one pair: what each level gives the decoder, and what comes of it (Fig. 3)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_draw import draw_image, draw_maps
from fusionkit.figures.anatomy_effects import change_words, effect
from fusionkit.figures.anatomy_run import Run, telling_channels
from fusionkit.figures.fusionmamba_anatomy import cmfm_anatomy, dfem_anatomy, modalities, run_network
from fusionkit.figures.style import CYCLE, bare, new_figure, styled
from fusionkit.losses import preset
from fusionkit.measure import load_method
from fusionkit.models.inputs import pad_to_multiple
from fusionkit.weights import list_weights

ALONE = "level 0 alone"


@styled
def levels_figure(run: Run, rank: int = 1) -> Figure:
    """Draw, per level, the features of both modalities, what DFEM and CMFM make of them, and the decoder's own.

    Args:
        run: A run of a network whose fusion modules have DFEM and CMFM.
        rank: Which channel of the fused features to show: 1 varies most over the image, 2 second most.

    Raises:
        FusionkitError: As ``dfem_anatomy``.
    """
    levels, (first, second) = len(run.model.fusion), modalities(run.pair)
    figure = new_figure(11.5, 1.9 * levels + 0.3)
    figure.suptitle(run.title)
    for level, row in enumerate(figure.subplots(levels, 7, squeeze=False)):
        maps = dfem_anatomy(run, level) | {"X": cmfm_anatomy(run, level)["X"], "own": decoder_features(run, level)}
        channel = int(telling_channels(maps["X"])[rank - 1])
        used = level > 0 or run.model.config.level0
        titles = {
            f"F1, {first}": maps["F1"],
            f"F2, {second}": maps["F2"],
            "D1 (DFEM)": maps["D1"],
            "D2 (DFEM)": maps["D2"],
            "X (CMFM)" if used else "X, never used": maps["X"],
            "the decoder's own": maps["own"],
            "goes on": maps["own"] + maps["X"] if used else maps["own"],
        }
        draw_maps(row, titles, channel)
        row[0].set_ylabel(f"level {level}\nchannel {channel}", fontsize=8)
    return figure


def decoder_features(run: Run, level: int) -> np.ndarray:
    """Return what the decoder has at a level before the fused features are added, (C, H, W)."""
    stage = len(run.model.fusion) - 1 - level
    return run.output(f"decoder.{stage}")[0].permute(2, 0, 1).numpy()


def fused_features(run: Run) -> list[Tensor | None]:
    """Return what the fusion modules add to the decoder, finest first; None at a level that is not used."""
    fused: list[Tensor | None] = [run.output(f"fusion.{level}") for level in range(len(run.model.fusion))]
    if not run.model.config.level0:
        fused[0] = None
    return fused


@torch.inference_mode()
def images_without(run: Run) -> dict[str, np.ndarray]:
    """Return the fused image, and what it would be without some of what reaches the decoder.

    Returns:
        Images (H, W) in [0, 1]: ``fused``; ``without level 0`` and so on; ``without the bottom``, the sum behind the
        encoder; where level 0 is used, ``level 0 alone``, with zeros in place of all else.
    """
    deepest, fused = run.inputs("decoder.0")[0], fused_features(run)
    images = {"fused": _image(run, deepest, fused)}
    for level in range(len(fused)):
        left = [None if i == level else x for i, x in enumerate(fused)]
        images[f"without level {level}"] = _image(run, deepest, left)
    images["without the bottom"] = _image(run, torch.zeros_like(deepest), fused)
    if run.model.config.level0:
        alone = [fused[0], *(None for _ in fused[1:])]
        images[ALONE] = _image(run, torch.zeros_like(deepest), alone)
    return images


def _image(run: Run, deepest: Tensor, fused: list[Tensor | None]) -> np.ndarray:
    first, second = (run.inputs(f"embed{i}")[0] for i in (1, 2))
    image = run.model.decode(deepest, fused) + run.model.config.residual * (first + second)
    height, width = run.fused.shape
    return image[0, 0, :height, :width].clamp(0, 1).numpy()


@styled
def without_figure(run: Run) -> Figure:
    """Draw the images of :func:`images_without`, and below how they differ from the fused one."""
    images = images_without(run)
    figure = new_figure(1.9 * len(images) + 0.5, 4.4)
    figure.suptitle(run.title)
    upper, lower = figure.subplots(2, len(images))
    bare(lower[0])
    for above, below, (name, image) in zip(upper, lower, images.items(), strict=True):
        draw_image(above, image, name)
        if name != "fused":
            drawn = bare(below).imshow(image - images["fused"], cmap="RdBu_r", vmin=-0.5, vmax=0.5)
    figure.colorbar(drawn, ax=lower, shrink=0.8, aspect=15, pad=0.01, extend="both").set_label("minus fused")
    return figure


def level_table(model: nn.Module, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return how much each level gives the decoder and what the image loses without it, means over pairs.

    Returns:
        Per image of :func:`images_without`: the ``effect`` on the image and, per level, ``added``: norm of what is
        added relative to the decoder's own features, 0 where nothing is.
    """
    tables = [_levels(run_network(model, pair)) for pair in pairs]
    return pd.concat(tables).groupby(level=0, sort=False).mean()


def _levels(run: Run) -> pd.DataFrame:
    images = images_without(run)
    del images["fused"]
    table = pd.DataFrame({name: effect(run.pair, run.fused, image, "fusionmamba") for name, image in images.items()}).T
    for level, features in enumerate(fused_features(run)):
        own = np.linalg.norm(decoder_features(run, level))
        table.loc[f"without level {level}", "added"] = 0 if features is None else features.norm().item() / own
    return table


def level_survey(pairs: Sequence[Pair], prefix: str = "ir_vis") -> pd.DataFrame:
    """Return what the image loses in each trained network when only level 0 is left, means over pairs.

    Args:
        pairs: Loaded pairs.
        prefix: What the names of the weights start with.

    Returns:
        One row per network that uses level 0, by the name of its weights: the ``effect``.
    """
    rows = {}
    for name in (found for found in list_weights("fusionmamba") if found.startswith(prefix)):
        table = level_table(load_method(f"fusionmamba:{name}"), pairs)
        if ALONE in table.index:
            rows[name] = table.loc[ALONE, ["changes", "loss"]]
    return pd.DataFrame(rows).T.rename_axis("weights")


def level_gradients(run: Run) -> pd.DataFrame:
    """Return what reaches the fusion modules when the paper's loss of the pair is run backwards.

    The image is taken before it is limited to [0, 1], so that no pixel hides its gradient.

    Returns:
        Per level: ``parameters`` that are trained, ``gradient`` (its norm over them) and ``without`` (share of them
        whose gradient is exactly 0).
    """
    a, b = (pad_to_multiple(image[None], run.model.stride) for image in (run.pair.a, run.pair.b))
    loss = preset("fusionmamba")(run.model.reconstruct(b, a), a, b)["total"]
    rows = {}
    for level, module in enumerate(run.model.fusion):
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True, materialize_grads=True)
        flat = torch.cat([gradient.flatten() for gradient in found])
        rows[f"level {level}"] = {
            "parameters": flat.numel(),
            "gradient": flat.norm().item(),
            "without": (flat == 0).double().mean().item(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


@styled
def gradients_figure(runs: Sequence[Run]) -> Figure:
    """Draw the norm of the gradient that reaches each level; a gradient of 0 has no bar but says so."""
    tables = {run.title: level_gradients(run) for run in runs}
    figure = new_figure(3.2 * len(tables) + 1, 2.4)
    grid = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    norms = pd.concat([table["gradient"] for table in tables.values()])
    lowest = norms[norms > 0].min()
    for axes, (title, table) in zip(grid, tables.items(), strict=True):
        axes.bar(table.index, table["gradient"], color=CYCLE[: len(table)], width=0.6)
        axes.set(yscale="log", title=title, ylim=(lowest / 10, 6 * norms.max()))
        for x, value in enumerate(table["gradient"]):
            text = f"{value:.2g}" if value else "exactly 0"
            axes.text(x, max(value, lowest / 10) * 1.1, text, ha="center", fontsize=8)
    grid[0].set_ylabel("norm of the gradient")
    return figure


def level_words(model: nn.Module, pairs: Sequence[Pair]) -> str:
    """Return :func:`level_table` in words."""
    table = level_table(model, pairs)
    added = ", ".join(f"{value:.2f}" for value in table["added"].dropna())
    lines = [f"norm of what is added, relative to the decoder's own features, finest level first: {added}"]
    return "\n".join(lines + [f"{name}: {change_words(row)}" for name, row in table.iterrows()])


def gradient_words(run: Run) -> str:
    """Return :func:`level_gradients` in words."""
    table = level_gradients(run)
    reached = ", ".join(f"{name} {value:.2g}" for name, value in table["gradient"].items())
    unreached = ", ".join(f"{name} {value:.1%}" for name, value in table["without"].items())
    return f"norm of the gradient of the paper's loss: {reached}; parameters that get exactly 0: {unreached}"


def level_verdict(networks: Mapping[str, nn.Module], pairs: Sequence[Pair]) -> str:
    """Return in one line what each level is worth in each network, by title."""
    found = []
    for title, model in networks.items():
        changes = level_table(model, pairs)["changes"]
        idle = level_gradients(run_network(model, pairs[0]))["without"]["level 0"]
        worth = ", ".join(f"{name} {value:.2f}" for name, value in changes.items())
        found.append(f"{title}: {worth}; level 0 has {idle:.0%} of its parameters without gradient")
    return "grey levels by which the image changes; " + "; ".join(found)
