"""Fused images side by side: source images, one column per method, enlarged details below each."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from fusionkit.data import Pair, get_dataset, list_datasets
from fusionkit.data.colour import ycbcr_to_rgb
from fusionkit.errors import FusionkitError
from fusionkit.figures.style import GREEN, RED, Picture, bare, styled
from fusionkit.figures.zoom import Box, zoom_boxes
from fusionkit.measure import fuser

BOX_COLOURS = (RED, GREEN)
COLUMN_INCHES = 1.7
MODALITY_TITLES = {
    "ct": "CT",
    "mri": "MRI",
    "pet": "PET",
    "spect": "SPECT",
    "ir": "infrared",
    "vi": "visible",
    "gfp": "GFP",
    "pc": "phase contrast",
}


def fuse_pairs(pairs: Sequence[Pair], method_ids: Sequence[str]) -> dict[str, list[Tensor]]:
    """Fuse pairs by several methods.

    Args:
        pairs: Loaded pairs, of any sizes.
        method_ids: For example ``"maximum"`` or ``"lightfusionnet:pet_mri"``.

    Returns:
        Per method id one fused luma (1, H, W) in [0, 1] per pair.

    Raises:
        FusionkitError: A method or its weights are not known.
    """
    fused = {}
    for method_id in method_ids:
        fuse = fuser(method_id)
        with torch.inference_mode():
            fused[method_id] = [fuse(pair)[0] for pair in pairs]
    return fused


def displayed(pair: Pair, luma: Tensor, carries_colour: bool = True) -> np.ndarray:
    """Return an image as it is shown: with the pair's chroma put back where there is one.

    Args:
        pair: The pair that the image belongs to.
        luma: (1, H, W) in [0, 1].
        carries_colour: False for the source image that is grey by itself.

    Returns:
        (H, W, 3) in [0, 1] in colour, else (H, W).
    """
    if pair.chroma is None or not carries_colour:
        return luma[0].clamp(0, 1).numpy()
    return ycbcr_to_rgb(luma, pair.chroma).permute(1, 2, 0).numpy()


def panel_images(pair: Pair, fused: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return one row of a panel: the sources and the fused images as shown, by column title."""
    first, second = modality_titles(pair)
    row = {
        first: displayed(pair, pair.a, pair.colour == "first"),
        second: displayed(pair, pair.b, pair.colour == "second"),
    }
    return row | {name: displayed(pair, image) for name, image in fused.items()}


def modality_titles(pair: Pair) -> tuple[str, str]:
    """Return what the two images of a pair show, in words."""
    if pair.dataset not in list_datasets():
        return "first", "second"
    first, second = (MODALITY_TITLES.get(m, m) for m in get_dataset(pair.dataset).modalities)
    return first, second


def pair_boxes(pair: Pair, fused: Sequence[Tensor], count: int) -> list[Box]:
    """Choose the details to enlarge: where the methods differ most, or, for one method, it and its sources."""
    images = list(fused) if len(fused) > 1 else [pair.a, pair.b, *fused]
    return zoom_boxes(images, [pair.a, pair.b], count) if count else []


@styled
def qualitative_panel(
    pairs: Sequence[Pair], methods: Mapping[str, Sequence[Tensor]] | Sequence[str], zoom: int = 2, title: str = ""
) -> Figure:
    """Draw pairs as rows, and the two modalities and the methods as columns.

    Args:
        pairs: Loaded pairs, grey or in colour, of any sizes.
        methods: Fused luma (1, H, W) per pair, by column title; or method ids, which are run here.
        zoom: Number of details to mark and enlarge: 0, 1 or 2.
        title: Line above the panel.

    Returns:
        The figure, with ``1 + zoom`` axes per image.

    Raises:
        FusionkitError: No pair, another number of fused images than pairs, or ``zoom`` out of range.
    """
    fused = dict(methods) if isinstance(methods, Mapping) else fuse_pairs(pairs, methods)
    _check(pairs, fused, zoom)
    page = _Page(pairs, 2 + len(fused), zoom, title)
    for i, pair in enumerate(pairs):
        mine = {name: images[i] for name, images in fused.items()}
        images = panel_images(pair, mine)
        boxes = pair_boxes(pair, list(mine.values()), zoom)
        page.label(i, pair.name.rsplit(".", 1)[0])
        for column, (name, image) in enumerate(images.items()):
            axes = page.image_axes(i, column)
            show(axes, image)
            if i == 0:
                axes.set_title(name.replace(":", "\n"), pad=4)
            for k, box in enumerate(boxes):
                _mark(axes, box, BOX_COLOURS[k])
                _detail(page.detail_axes(i, column, k, len(boxes)), box.cut(image), BOX_COLOURS[k])
    return page.figure


class _Page:
    """Places cells of equal width by inches, so that images of a row line up to the pixel."""

    GAP, LABEL, ROW_GAP, TOP = 0.06, 0.22, 0.12, 0.42

    def __init__(self, pairs: Sequence[Pair], columns: int, zoom: int, title: str) -> None:
        cell = COLUMN_INCHES
        self.heights = [cell * pair.a.shape[-2] / pair.a.shape[-1] for pair in pairs]
        self.strip = cell / 2 if zoom else 0.0
        below = self.strip + self.GAP if zoom else 0.0
        self.top = self.TOP + (0.3 if title else 0.0)
        self.width = self.LABEL + columns * (cell + self.GAP)
        self.tops = [self.top + sum(self.heights[:i]) + i * (below + self.ROW_GAP) for i in range(len(pairs))]
        self.height = self.tops[-1] + self.heights[-1] + below + self.GAP
        self.figure = Picture(figsize=(self.width, self.height))
        if title:
            self.figure.suptitle(title, y=1 - 0.05 / self.height, va="top")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes; distances in inches from the upper left corner."""
        bottom = self.height - top - height
        size = (width / self.width, height / self.height)
        return self.figure.add_axes((left / self.width, bottom / self.height, *size))

    def image_axes(self, row: int, column: int) -> Axes:
        return self.axes(self._left(column), self.tops[row], COLUMN_INCHES, self.heights[row])

    def detail_axes(self, row: int, column: int, k: int, count: int) -> Axes:
        width = (COLUMN_INCHES - (count - 1) * self.GAP) / count
        left = self._left(column) + k * (width + self.GAP)
        return self.axes(left, self.tops[row] + self.heights[row] + self.GAP, width, self.strip)

    def label(self, row: int, text: str) -> None:
        middle = self.height - self.tops[row] - self.heights[row] / 2
        x = self.LABEL / 2 / self.width
        self.figure.text(x, middle / self.height, text, rotation=90, ha="center", va="center", fontsize=8)

    def _left(self, column: int) -> float:
        return self.LABEL + column * (COLUMN_INCHES + self.GAP)


def show(axes: Axes, image: np.ndarray) -> None:
    """Draw a grey (H, W) or colour (H, W, 3) image in [0, 1] without ticks."""
    bare(axes).imshow(image, cmap="gray", vmin=0, vmax=1)


def _mark(axes: Axes, box: Box, colour: str) -> None:
    corner = (box.left - 0.5, box.top - 0.5)
    axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, edgecolor=colour, linewidth=1.4))


def _detail(axes: Axes, image: np.ndarray, colour: str) -> None:
    show(axes, image)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.6)


def _check(pairs: Sequence[Pair], fused: Mapping[str, Sequence[Tensor]], zoom: int) -> None:
    if not pairs or not fused:
        raise FusionkitError("a panel needs at least one pair and one method; add them")
    if zoom not in range(len(BOX_COLOURS) + 1):
        raise FusionkitError(f"zoom = {zoom}: a panel can enlarge 0 to {len(BOX_COLOURS)} details; choose one of these")
    for name, images in fused.items():
        if len(images) != len(pairs):
            raise FusionkitError(f"{name}: {len(images)} fused images for {len(pairs)} pairs; give one per pair")
        for pair, image in zip(pairs, images, strict=True):
            if image.shape != pair.a.shape:
                sizes = f"{tuple(image.shape)}, the pair {tuple(pair.a.shape)}"
                raise FusionkitError(f"{name}, {pair.name}: the fused image is {sizes}; fuse this pair")
