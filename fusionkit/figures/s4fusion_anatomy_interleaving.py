"""How the sequences of both modalities are interleaved in four directions, drawn from the index maps (Fig. 3)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fusionkit.figures.s4fusion_anatomy import ORDERS
from fusionkit.figures.style import INK, MUTED, bare, new_figure, styled
from fusionkit.ops.scan_paths import ScanPath, scan_path
from fusionkit.reading import neighbour_distances

LETTERS = ("I", "V")
WARM, COOL, EMPTY = "#F4BE8C", "#A9CDEB", "#FFFFFF"
FILL = (WARM, COOL)
# Heights of the lines of one order: infrared's sequence, visible's, and both in turn.
LINES = (0.0, 1.1, 2.5)


@styled
def interleaving_figure(height: int = 3, width: int = 4, step: int | None = None) -> Figure:
    """Draw both maps and, per order, the sequence of each and the interleaved one below.

    Args:
        height: Rows of patches.
        width: Columns of patches.
        step: Fill the first steps only and frame the one that is read now; None fills all.
    """
    path = scan_path("interleave", height, width)
    length = path.order.shape[1]
    figure = new_figure(2.6 + 0.34 * length, 5.9)
    grid = figure.subplots(4, 2, width_ratios=(2.6, 0.36 * length))
    for k, (maps, lines) in enumerate(grid):
        _draw_maps(maps, path, k, step)
        maps.set_title(ORDERS[k], fontsize=8.5, loc="left", pad=2)
        _draw_sequences(lines, path, k, step)
    return figure


@styled
def frames_figure(height: int, width: int, steps: Sequence[int]) -> Figure:
    """Draw both maps at some steps: a row per order, a frame per step.

    Args:
        height: Rows of patches.
        width: Columns of patches.
        steps: How many steps have been read in each frame.
    """
    path = scan_path("interleave", height, width)
    figure = new_figure(1.85 * len(steps) + 0.6, 3.9)
    for k, row in enumerate(figure.subplots(4, len(steps), squeeze=False)):
        row[0].set_ylabel(ORDERS[k].replace(", ", ",\n"), fontsize=8)
        for axes, step in zip(row, steps, strict=True):
            _draw_maps(axes, path, k, step)
            if k == 0:
                axes.set_title(f"step {step}", fontsize=8.5, pad=3)
    return figure


def label(path: ScanPath, pixel: int) -> str:
    """Return modality and number of a patch, such as ``V3``, from its number in a path."""
    modality, number = divmod(pixel, path.height * path.width)
    return f"{LETTERS[modality]}{number}"


def _draw_maps(axes: Axes, path: ScanPath, k: int, step: int | None) -> None:
    """Draw the infrared map and the visible one beside it, with what is read filled."""
    bare(axes).set(xlim=(-0.1, 2 * path.width + 0.9), ylim=(path.height + 0.1, -0.1), aspect="equal")
    order = path.order[k].tolist()
    read = set(order[:step])
    for pixel in range(2 * path.height * path.width):
        modality, number = divmod(pixel, path.height * path.width)
        y, x = divmod(number, path.width)
        now = step is not None and pixel == order[step - 1]
        corner = (x + modality * (path.width + 0.8), y)
        _cell(axes, corner, str(number), FILL[modality] if pixel in read else EMPTY, now)


def _draw_sequences(axes: Axes, path: ScanPath, k: int, step: int | None) -> None:
    """Draw the sequence of each modality and, below, both in turn."""
    order = path.order[k].tolist()
    bare(axes).set(xlim=(-1.9, len(order) + 0.1), ylim=(LINES[2] + 1.1, LINES[0] - 0.1), aspect="equal")
    for y, name in zip(LINES, ("infrared", "visible", "in turn"), strict=True):
        axes.text(-0.2, y + 0.5, name, ha="right", va="center", fontsize=7, color=MUTED)
    for place, pixel in enumerate(order):
        modality = pixel // (path.height * path.width)
        done, now = step is None or place < step, step is not None and place == step - 1
        fill = FILL[modality] if done else EMPTY
        _cell(axes, (place, LINES[modality]), label(path, pixel)[1:], FILL[modality], now)
        _cell(axes, (place, LINES[2]), label(path, pixel) if done else "", fill, now)


def _cell(axes: Axes, corner: tuple[float, float], text: str, fill: str, now: bool) -> None:
    edge, width = (INK, 1.8) if now else (MUTED, 0.5)
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=fill, edgecolor=edge, lw=width, zorder=2 + now))
    axes.text(corner[0] + 0.48, corner[1] + 0.5, text, ha="center", va="center", fontsize=6.5, zorder=4)


def interleaving_table(height: int, width: int) -> pd.DataFrame:
    """Return, per order, the interleaved sequence and how many steps neighbours are apart, from the index maps.

    Args:
        height: Rows of patches.
        width: Columns of patches.

    Returns:
        ``sequence`` in words; whether ``infrared first`` holds at every patch; steps from infrared to visible at the
        ``same patch``; and the mean steps between ``left-right`` and ``up-down`` neighbours of one modality.
    """
    path, apart = scan_path("interleave", height, width), neighbour_distances("interleave", height, width)
    rows = {}
    for k, (name, order) in enumerate(zip(ORDERS, path.order.tolist(), strict=True)):
        at = np.argsort(order).reshape(2, -1)
        rows[name] = {
            "sequence": " ".join(label(path, pixel) for pixel in order),
            "infrared first": bool((at[1] > at[0]).all()),
            "same patch": apart["infrared-visible"][k].mean(),
            "left-right": apart["left-right"][k].mean(),
            "up-down": apart["up-down"][k].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("order")


def step_words(height: int, width: int, step: int) -> str:
    """Return what each order reads at a step, counted from 1."""
    path = scan_path("interleave", height, width)
    now = (f"{label(path, int(order[step - 1]))} {name}" for name, order in zip(ORDERS, path.order, strict=True))
    return f"step {step} of {path.order.shape[1]} reads {'; '.join(now)}"


def interleaving_verdict(height: int, width: int) -> str:
    """Say in one line what the index maps of a grid show."""
    table = interleaving_table(height, width)
    first, same = int(table["infrared first"].sum()), table["same patch"]
    near, far = (pick(pick(table[["left-right", "up-down"]])) for pick in (np.min, np.max))
    return (
        f"on {height}x{width} patches infrared comes first at every patch in {first} of 4 orders, {same.max():.0f} "
        f"step before visible; a neighbour in the image is {near:.0f} or {far:.0f} steps away"
    )
