"""DIFF-MF as a diagram drawn from the module tree that runs, and the maps that its stages hand on (Fig. 2)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.figures.anatomy_draw import draw_maps, row_inches
from fusionkit.figures.anatomy_run import Run, telling_channels
from fusionkit.figures.diagram import arrow, box, count
from fusionkit.figures.diffmf_anatomy import MODALITIES, spatial_anatomy, stage_anatomy
from fusionkit.figures.panels import show
from fusionkit.figures.style import bare, new_figure, styled
from fusionkit.models.diffmf.spatial import SCALES

ROWS = {"infrared": 0.75, "visible": 3.25}
MIDDLE = 2.0
BOX, TALL = (1.45, 0.8), (1.45, 3.3)


@styled
def network_figure(run: Run) -> Figure:
    """Draw the network's parts with their parameters and the sizes of their maps, from left to right."""
    model = run.model
    stages = model.config.stages
    width = 8.6 + 1.9 * stages
    figure = new_figure(0.95 * width, 3.9)
    axes = bare(figure.subplots())
    axes.set(xlim=(0, width), ylim=(4.1, -0.1))
    axes.set_title(f"{run.title}: the network ({count(model):,} parameters)", loc="left")
    for name, image in zip(MODALITIES, (run.pair.a, run.pair.b), strict=True):
        _picture(axes, 0.65, ROWS[name], name, image[0].numpy())
        _part(axes, run, f"stem_{name}", 2.1, ROWS[name])
        arrow(axes, (1.2, ROWS[name]), (2.1 - BOX[0] / 2, ROWS[name]))
    for number in range(stages):
        _stage(axes, run, number, 4.0 + 1.9 * number)
    x = 4.0 + 1.9 * stages
    for text in (_channel_text(run), _spatial_text(run)):
        box(axes, x, MIDDLE, TALL, text)
        _both(axes, x)
        x += 1.9
    _part(axes, run, "decoder", x - 0.05, MIDDLE)
    arrow(axes, (x - 1.9 + TALL[0] / 2, MIDDLE), (x - 0.05 - BOX[0] / 2, MIDDLE))
    _picture(axes, x + 1.35, MIDDLE, "fused", run.fused)
    arrow(axes, (x - 0.05 + BOX[0] / 2, MIDDLE), (x + 0.8, MIDDLE))
    return figure


def _both(axes: Axes, x: float) -> None:
    """Draw the arrows of both modalities into a part at x."""
    for y in ROWS.values():
        arrow(axes, (x - 1.9 + TALL[0] / 2, y), (x - TALL[0] / 2, y))


def _stage(axes: Axes, run: Run, number: int, x: float) -> None:
    """Draw a stage: the modalities' own blocks above and below, the shared branch and the guidance between them."""
    path = f"stages.{number}"
    for name, y in ROWS.items():
        _part(axes, run, f"{path}.{name}", x, y)
        arrow(axes, (x - 1.9 + BOX[0] / 2, y), (x - BOX[0] / 2, y))
        toward = MIDDLE + (0.5 if y > MIDDLE else -0.5)
        arrow(axes, (x, y + (BOX[1] / 2 if y < MIDDLE else -BOX[1] / 2)), (x, toward))
    shared = sum(count(run.model.get_submodule(f"{path}.{name}")) for name in ("shared", "shared_convolutions"))
    text = f"{path}\nshared: {shared:,}\nguided by D:\n{run.model.config.guidance}"
    box(axes, x, MIDDLE, (1.45, 1.0), text, "sum")


def _part(axes: Axes, run: Run, path: str, x: float, y: float) -> None:
    module = run.model.get_submodule(path)
    box(axes, x, y, BOX, f"{path}\n{count(module):,}\n{_size(run, path)}")


def _size(run: Run, path: str) -> str:
    """Return height, width and channels of what a part gives; stems and decoder put channels first."""
    shape = run.output(path).shape[1:]
    height, width = shape[1:] if path.startswith(("stem", "decoder")) else shape[:2]
    channels = shape[0] if path.startswith(("stem", "decoder")) else shape[2]
    return f"{channels} x {height} x {width}"


def _channel_text(run: Run) -> str:
    module = run.model.channel_exchange
    exchange, reweight = module.exchange, module.reweight
    return (
        f"channel_exchange\n{count(module):,}\n\n{type(exchange).__name__}\n{run.model.config.exchange}: "
        f"{count(exchange):,}\n\nreweighting\n(Fig. 3): {count(reweight):,}"
    )


def _spatial_text(run: Run) -> str:
    module = run.model.spatial_exchange
    sizes = [" x ".join(map(str, run.output(f"spatial_exchange.fusion.{i}").shape[1:])) for i in range(SCALES)]
    lines = [f"scale {i}: {size}" for i, size in enumerate(sizes, start=1)]
    return "\n".join(
        [f"spatial_exchange\n{count(module):,}\n", *lines, "\ncolumn, row and\nconcat scan\nat each scale"]
    )


def _picture(axes: Axes, x: float, y: float, title: str, image: np.ndarray) -> None:
    picture = axes.inset_axes((x - 0.55, y - 0.5, 1.1, 1.0), transform=axes.transData)
    show(picture, image)
    picture.set_title(title, fontsize=7.5, pad=2)


@styled
def stages_figure(run: Run, rank: int = 1) -> Figure:
    """Draw a channel of every stage: own and shared features of both modalities, their difference, and what goes on.

    Args:
        run: A run.
        rank: Which channel to show: 1 is the one whose difference varies most over the image, 2 the next.
    """
    stages = run.model.config.stages
    figure = new_figure(12.0, stages * row_inches(1.6, run.fused.shape) + 0.3)
    figure.suptitle(run.title)
    for stage, row in enumerate(figure.subplots(stages, 7, squeeze=False), start=1):
        maps = stage_anatomy(run, stage)
        channel = int(telling_channels(maps["D"])[rank - 1])
        names = [f"{kind}_{name}" for kind in ("own", "shared") for name in MODALITIES]
        names += ["D", *(f"on_{name}" for name in MODALITIES)]
        draw_maps(row, {name.replace("_", ", "): maps[name] for name in names}, channel)
        row[0].set_ylabel(f"stage {stage}\nchannel {channel}", fontsize=8)
    return figure


@styled
def scales_figure(run: Run, rank: int = 1) -> Figure:
    """Draw a channel of every scale of the spatial exchange: what goes in, what the arrangements give, what is fused.

    Args:
        run: A run.
        rank: Which channel to show: 1 is the one of the fused map that varies most over the image, 2 the next.
    """
    figure = new_figure(10.4, SCALES * row_inches(1.6, run.fused.shape) + 0.3)
    figure.suptitle(run.title)
    for scale, row in enumerate(figure.subplots(SCALES, 6), start=1):
        maps = spatial_anatomy(run, scale)
        channel = int(telling_channels(maps["fused"])[rank - 1])
        draw_maps(row, maps, channel)
        row[0].set_ylabel(f"scale {scale}\nchannel {channel}", fontsize=8)
    return figure


def guidance_facts(run: Run) -> dict[str, float]:
    """Return, per stage, the mean difference, and how alike the modalities are before and after the guidance.

    Likeness is the correlation of all values of both modalities' features.
    """
    facts = {}
    for stage in range(1, 1 + run.model.config.stages):
        maps = stage_anatomy(run, stage)
        facts[f"D of stage {stage}"] = float(maps["D"].mean())
        for kind, words in (("own", "before"), ("on", "after")):
            pair = [maps[f"{kind}_{name}"].ravel() for name in MODALITIES]
            facts[f"alike {words} guidance {stage}"] = float(np.corrcoef(*pair)[0, 1])
    return facts
