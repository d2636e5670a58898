"""Test slices beside the training slices that show the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from fusionkit.data import get_dataset
from fusionkit.data.colour import to_luma
from fusionkit.data.images import read_image
from fusionkit.data.registry import image_path
from fusionkit.errors import FusionkitError
from fusionkit.figures.panels import MODALITY_TITLES, show
from fusionkit.figures.style import Picture, bare, styled

DIFFERENCE_LIMIT = 32
# Inches: side of an image, height of a line, width of a triple, space for the colour scale.
IMAGE, CELL, TRIPLE, BOTTOM = 1.4, 1.65, 4.65, 0.6


@dataclass(frozen=True, eq=False)
class OverlapRow:
    """A test image and the most similar training image.

    Attributes:
        modality: What the two images show.
        test_name: File name of the test image.
        train_name: File name of the training image.
        test: (1 or 3, H, W) in [0, 1].
        train: (1 or 3, H, W) in [0, 1], same height and width.
        correlation: Of their luma, up to 1.
    """

    modality: str
    test_name: str
    train_name: str
    test: Tensor
    train: Tensor
    correlation: float

    @property
    def difference(self) -> np.ndarray:
        """Absolute difference of luma in steps of 1/255, (H, W)."""
        return ((to_luma(self.test) - to_luma(self.train)).abs() * 255)[0].numpy()


def overlap_rows(
    dataset: str, table: pd.DataFrame, names: Sequence[str], test_split: str = "test", train_split: str = "train"
) -> list[OverlapRow]:
    """Load both modalities of test pairs with their nearest training images.

    Args:
        dataset: A dataset whose two splits are present.
        table: Result of ``fusionkit.data.leakage.overlap`` for this dataset.
        names: Test pairs to load.
        test_split: Split of the test pairs.
        train_split: Split that was searched.

    Returns:
        Two rows per name: first modality, second modality.

    Raises:
        FusionkitError: A name is not in the table, or an image is not there.
    """
    found = table.set_index("name")
    rows = []
    for name in names:
        if name not in found.index:
            raise FusionkitError(f"{dataset}/{test_split} has no pair {name!r} in the overlap table; choose another")
        for modality in get_dataset(dataset).modalities:
            nearest = str(found.at[name, f"{modality}_nearest"])
            test = read_image(image_path(dataset, test_split, modality, name))
            train = read_image(image_path(dataset, train_split, modality, nearest))
            correlation = float(found.at[name, f"{modality}_corr"])
            rows.append(OverlapRow(MODALITY_TITLES.get(modality, modality), name, nearest, test, train, correlation))
    return rows


@styled
def overlap_gallery(rows: Sequence[OverlapRow], per_line: int = 2, title: str = "") -> Figure:
    """Draw test image, nearest training image and their difference, ``per_line`` such triples side by side.

    All differences share one scale, 0 to 32 of 255, so that galleries can be compared.

    Args:
        rows: What to show.
        per_line: Triples per line.
        title: Line above the gallery.

    Raises:
        FusionkitError: There is no row, or two images differ in size.
    """
    _check(rows)
    lines = -(-len(rows) // per_line)
    top = 0.3 if title else 0.05
    width, height = TRIPLE * per_line, CELL * lines + BOTTOM + top
    figure = Picture(figsize=(width, height))
    if title:
        figure.suptitle(title, y=1 - 0.06 / height, va="top")
    for i, row in enumerate(rows):
        line, place = divmod(i, per_line)
        base = BOTTOM + (lines - 1 - line) * CELL
        lefts = [0.15 + place * TRIPLE + k * (IMAGE + 0.05) for k in range(3)]
        axes = [figure.add_axes((left / width, base / height, IMAGE / width, IMAGE / height)) for left in lefts]
        for one, image, words in zip(axes, (row.test, row.train), ("test", "training"), strict=False):
            shown = image.permute(1, 2, 0) if image.shape[0] == 3 else image[0]
            show(one, torch.clamp(shown, 0, 1).numpy())
            name = row.test_name if words == "test" else row.train_name
            one.set_title(f"{row.modality} {words} {name.rsplit('.', 1)[0]}", fontsize=7.5, pad=3)
        mapped = bare(axes[2]).imshow(row.difference, cmap="inferno", vmin=0, vmax=DIFFERENCE_LIMIT)
        axes[2].set_title(f"difference, r = {row.correlation:.4f}", fontsize=7.5, pad=3)
    scale = figure.add_axes((0.15 / width, 0.36 / height, 2.0 / width, 0.1 / height))
    bar = figure.colorbar(mapped, cax=scale, orientation="horizontal")
    bar.set_label("absolute difference, of 255", fontsize=7.5, labelpad=1)
    bar.ax.tick_params(labelsize=7, pad=1)
    return figure


def _check(rows: Sequence[OverlapRow]) -> None:
    if not rows:
        raise FusionkitError("overlap gallery: there is no row to show; choose test pairs")
    for row in rows:
        if row.test.shape[-2:] != row.train.shape[-2:]:
            raise FusionkitError(f"{row.test_name} and {row.train_name} differ in size; only equal sizes compare")
