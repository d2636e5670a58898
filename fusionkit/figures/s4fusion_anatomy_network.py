"""S4Fusion as a diagram drawn from the module tree that runs, and the map of every stage (Fig. 1)."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from fusionkit.figures.anatomy_draw import draw_maps, row_inches
from fusionkit.figures.anatomy_run import Run, telling_channels
from fusionkit.figures.diagram import arrow, box, count
from fusionkit.figures.panels import show
from fusionkit.figures.s4fusion_anatomy import MODALITIES, is_read
from fusionkit.figures.style import MUTED, RED, bare, new_figure, styled
from fusionkit.models.layout import channels_first
from fusionkit.models.s4fusion import S4Fusion

COLUMNS = {"infrared": 1.5, "visible": 4.35, "fusion": 7.35, "decoder": 10.5}
BOX, WIDE, FLAT = (2.5, 0.86), (2.6, 0.72), (2.3, 0.42)
UNREAD = "computed, never read"


class Part(NamedTuple):
    """A part of the network: what it is called, where it is, and what reads the map that it gives."""

    title: str
    path: str
    reader: str


def network_parts(model: S4Fusion) -> list[Part]:
    """Return the parts of the network, in the order in which an image passes them."""
    scales = range(1, 1 + len(model.config.dims))
    last = scales[-1]
    following = {scale: f"encoder {scale + 1}, CMSA {scale + 1}" for scale in scales[:-1]} | {last: "decoder, the sum"}
    parts = [Part(f"embedding, {name}", f"embed_{name}", "encoder 1, CMSA 1") for name in MODALITIES]
    for scale in scales:
        parts += [Part(f"encoder {scale}, {m}", f"encoder_{m}.{scale - 1}", following[scale]) for m in MODALITIES]
    for scale in scales:
        reader = f"added behind decoder {scale}" if is_read(model, scale) else "nothing"
        parts.append(Part(f"CMSA {scale}", f"fusion.{scale - 1}", reader))
    for scale in reversed(scales):
        parts.append(
            Part(f"decoder {scale}", f"decoder.{last - scale}", f"decoder {scale - 1}" if scale > 1 else "head")
        )
    return [*parts, Part("head", "head", f"the fused image{added_words(model)}")]


def added_words(model: S4Fusion) -> str:
    """Return what is added to what the head gives, nothing as a rule."""
    residual = model.config.residual
    return f" + {residual:g} (infrared + visible)" if residual else ""


def parts_table(run: Run) -> pd.DataFrame:
    """Return, per part, the map that it gives for this pair, its parameters and what reads it."""
    rows = {
        part.title: {
            "map": map_size(run, part.path),
            "parameters": count(run.model.get_submodule(part.path)),
            "read by": part.reader,
        }
        for part in network_parts(run.model)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("part")


def unread_parameters(model: S4Fusion) -> dict[str, int]:
    """Return how many parameters can have no influence on the image, by reason."""
    unread = [part for part in network_parts(model) if part.reader == "nothing"]
    found = {f"{part.title}, whose map nothing reads": count(model.get_submodule(part.path)) for part in unread}
    return found | {"the norm of the head, never applied": count(model.head.norm)}


def network_words(model: S4Fusion) -> str:
    """Return in one line how many parameters there are and how many can have no influence."""
    total, idle = count(model), unread_parameters(model)
    words = "; ".join(f"{reason}: {number:,}" for reason, number in idle.items())
    return f"{total:,} parameters, {total - sum(idle.values()):,} of which can have an influence; without: {words}"


def map_size(run: Run, path: str) -> str:
    """Return channels, height and width of the map that a part gives."""
    channels, height, width = map_of(run, path).shape
    return f"{channels} x {height} x {width}"


def map_of(run: Run, path: str) -> Tensor:
    """Return the map (C, H, W) that a part gives; the head's is the image before limits and what is added."""
    output = run.output(path)
    return output[0] if path == "head" else channels_first(output)[0]


@styled
def network_figure(run: Run) -> Figure:
    """Draw the network's parts with the sizes of their maps and their parameters, and what reads what."""
    levels = len(run.model.config.dims)
    figure = new_figure(12.5, 2.1 + 1.7 * levels)
    axes = bare(figure.subplots())
    axes.set(xlim=(0, 12), ylim=(2 * levels + 0.65, -1.95))
    axes.set_title(f"{run.title}: the network ({count(run.model):,} parameters)".lstrip(": "), loc="left")
    for name, image in zip(MODALITIES, (run.pair.a, run.pair.b), strict=True):
        _picture(axes, COLUMNS[name], name, image[0].numpy())
        arrow(axes, (COLUMNS[name], -0.64), (COLUMNS[name], -0.46))
        box(axes, COLUMNS[name], -0.25, FLAT, f"embedding ({_count(run, f'embed_{name}')})")
    for scale in range(1, 1 + levels):
        _level(axes, run, scale)
    _bottom(axes, 2 * levels - 0.55)
    _picture(axes, COLUMNS["decoder"], "fused", run.fused)
    box(axes, COLUMNS["decoder"], -0.25, FLAT, f"head ({_count(run, 'head')}){added_words(run.model)}")
    arrow(axes, (COLUMNS["decoder"], -0.46), (COLUMNS["decoder"], -0.64))
    return figure


def _level(axes: Axes, run: Run, scale: int) -> None:
    """Draw both encoder stages, the fusion module and the decoder stage of one scale, and how they are joined."""
    top, middle = 2 * scale - 1.55, 2 * scale - 0.55
    right = COLUMNS["fusion"] - WIDE[0] / 2
    for name, shift in zip(MODALITIES, (-0.14, 0.14), strict=True):
        x, above = COLUMNS[name], top - (0.57 if scale > 1 else 0.49)
        arrow(axes, (x, above), (x, middle - BOX[1] / 2))
        arrow(axes, (x, top + shift), (right, top + shift))
        box(axes, x, middle, BOX, _stage_text(run, f"encoder_{name}.{scale - 1}"))
    box(axes, COLUMNS["fusion"], top, WIDE, _fusion_text(run, scale))
    decoder, levels = COLUMNS["decoder"], len(run.model.config.dims)
    box(axes, decoder, middle, BOX, _stage_text(run, f"decoder.{levels - scale}"))
    left, above = COLUMNS["fusion"] + WIDE[0] / 2, top - (0.57 if scale > 1 else 0.49)
    if is_read(run.model, scale):
        arrow(axes, (decoder, middle - BOX[1] / 2), (decoder, top + 0.17))
        box(axes, decoder, top, (0.34, 0.34), "+", "sum")
        arrow(axes, (decoder, top - 0.17), (decoder, above))
        arrow(axes, (left, top), (decoder - 0.17, top))
    else:
        arrow(axes, (decoder, middle - BOX[1] / 2), (decoder, above))
        axes.text(left + 0.1, top, UNREAD, color=RED, va="center", fontsize=8)


def _bottom(axes: Axes, middle: float) -> None:
    """Draw the sum of both modalities behind the last encoder stages; the infrared one passes below the visible one."""
    box(axes, COLUMNS["fusion"], middle, (1.5, 0.42), "sum of both", "sum")
    below = middle + 0.75
    axes.plot([COLUMNS["infrared"]] * 2 + [COLUMNS["fusion"]], [middle + BOX[1] / 2, below, below], color=MUTED, lw=0.9)
    arrow(axes, (COLUMNS["fusion"], below), (COLUMNS["fusion"], middle + 0.21))
    arrow(axes, (COLUMNS["visible"] + BOX[0] / 2, middle), (COLUMNS["fusion"] - 0.75, middle))
    arrow(axes, (COLUMNS["fusion"] + 0.75, middle), (COLUMNS["decoder"] - BOX[0] / 2, middle))


def _picture(axes: Axes, x: float, title: str, image: np.ndarray) -> None:
    picture = axes.inset_axes((x - 0.55, -1.65, 1.1, 1.0), transform=axes.transData)
    show(picture, image)
    picture.set_title(title, fontsize=7.5, pad=2)


def _stage_text(run: Run, path: str) -> str:
    stage: nn.Sequential = run.model.get_submodule(path)
    lines = []
    for name, words in (("expand", "expanding"), ("blocks", f"{len(stage.blocks)} VSS"), ("merge", "merging")):
        if hasattr(stage, name):
            lines.append(f"{words} ({count(getattr(stage, name)):,})")
    return "\n".join([path, *lines, map_size(run, path)])


def _fusion_text(run: Run, scale: int) -> str:
    path = f"fusion.{scale - 1}"
    blocks = run.model.config.fusion_blocks[scale - 1]
    return f"{path}: CMSA {scale}, {blocks} blocks ({_count(run, path)})\n{map_size(run, path)}"


def _count(run: Run, path: str) -> str:
    return f"{count(run.model.get_submodule(path)):,}"


@styled
def stages_figure(run: Run, rank: int = 1) -> Figure:
    """Draw a channel of every stage's map, a row per scale: before and after the encoders, CMSA, decoder and sum.

    Args:
        run: A run.
        rank: Which channel to show: 1 is the one of CMSA's map that varies most over the image, 2 the next.
    """
    levels = len(run.model.config.dims)
    figure = new_figure(11.5, levels * row_inches(1.5, run.fused.shape) + 0.3)
    figure.suptitle(run.title)
    for scale, row in enumerate(figure.subplots(levels, 7, squeeze=False), start=1):
        fused, decoded = map_of(run, f"fusion.{scale - 1}"), map_of(run, f"decoder.{levels - scale}")
        read = is_read(run.model, scale)
        entering = [channels_first(x)[0] for x in run.inputs(f"fusion.{scale - 1}")]
        blocks = [map_of(run, f"encoder_{name}.{scale - 1}.blocks") for name in MODALITIES]
        titles = {
            "infrared": entering[0],
            "visible": entering[1],
            "infrared, after VSS": blocks[0],
            "visible, after VSS": blocks[1],
            f"CMSA {scale}" + ("" if read else ", never read"): fused,
            f"decoder {scale}": decoded,
            "goes on": decoded + fused if read else decoded,
        }
        channel = int(telling_channels(fused.numpy())[rank - 1])
        draw_maps(row, {title: features.numpy() for title, features in titles.items()}, channel)
        row[0].set_ylabel(f"scale {scale}\nchannel {channel}", fontsize=8)
    return figure
