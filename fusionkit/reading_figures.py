"""Pictures of the four ways to read an image: orders, distances, receptive fields."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure

from fusionkit.data.phantoms import phantom
from fusionkit.figures.style import BLUE, FAINT, GREEN, INK, MUTED, RED, bare, new_figure, styled
from fusionkit.ops.scan_paths import ScanPath
from fusionkit.reading import WAYS, near_and_far, neighbour_distances, path_of, seen_within, steps_ago

COLOURS = {"left-right": BLUE, "up-down": GREEN, "infrared-visible": RED}
MODALITIES = ("infrared", "visible")
TIME = LinearSegmentedColormap.from_list("time", colormaps["plasma"](np.linspace(0, 0.86, 256)))
PATCH = 24
# The street scene by day among the first phantoms.
DAYLIGHT = 4
# By number of modalities: what the grey patches of each are multiplied with.
TONES = {1: ((0.95, 0.95, 0.95),), 2: ((1.0, 0.88, 0.74), (0.78, 0.89, 1.0))}


@styled
def orders_figure(names: Sequence[str], height: int = 6, width: int = 6, step: int | None = None) -> Figure:
    """Draw the orders over a small image, coloured by time; a ring marks the first pixel, an arrow the last.

    Args:
        names: Keys of ``WAYS``.
        height: Rows of patches, each one pixel of the feature map.
        width: Columns of patches.
        step: Draw the first steps only and mark the one that is read now; None draws all.
    """
    paths = [path_of(name, height, width) for name in names]
    sizes = [places(path).max(0) + 1 for path in paths]
    unit = min(0.3, 9 / (4 * max(x for x, _ in sizes)))
    rows = [y * unit + 0.3 for _, y in sizes]
    figure = new_figure(1.2 + 4 * unit * max(x for x, _ in sizes) + 0.6, sum(rows))
    grid = figure.subplots(len(names), 4, squeeze=False, height_ratios=rows)
    for row, path in zip(grid, paths, strict=True):
        _draw_image(row, path)
        row[0].set_ylabel(_label(path.name), rotation=0, ha="right", va="center", labelpad=8)
        for k, axes in enumerate(row):
            axes.set_title(WAYS[path.name].orders[k], fontsize=8, pad=3)
            _draw_order(axes, path, k, step)
    bar = figure.colorbar(ScalarMappable(cmap=TIME), ax=grid, shrink=0.7, aspect=25, pad=0.01, ticks=[])
    bar.outline.set_visible(False)
    bar.set_label("time")
    return figure


def places(path: ScanPath) -> np.ndarray:
    """Return where each pixel is drawn, (pixels, 2) as x and y: side by side as the way itself puts them."""
    numbers = np.arange(path.modalities * path.height * path.width)
    modality, pixel = np.divmod(numbers, path.height * path.width)
    y, x = np.divmod(pixel, path.width)
    if path.name == "interleave":
        return np.stack([2.3 * x + modality, 1.6 * y + 0.45 * modality], -1)
    across = 2 * x + modality if path.name == "realign_column" else x + path.width * modality
    return np.stack([across, y], -1)


def _draw_image(row: Sequence[Axes], path: ScanPath) -> None:
    canvas = _canvas(path)
    right, bottom = np.array(canvas.shape[1::-1]) / PATCH - 0.5
    for axes in row:
        bare(axes).imshow(canvas, extent=(-0.5, right, bottom, -0.5))


def _canvas(path: ScanPath) -> np.ndarray:
    """Return the patches of a phantom pair where the path's pixels are drawn: infrared warm, visible cool, faded."""
    size = path.height * PATCH, path.width * PATCH
    drawn = phantom("ir-vis", DAYLIGHT, size)
    images = [0.62 + 0.36 * image / 255 for image in (drawn.a, drawn.b.mean(-1))][: path.modalities]
    at = np.round(places(path) * PATCH).astype(int)
    canvas = np.ones((*at.max(0)[::-1] + PATCH, 3))
    for number, (x, y) in enumerate(at):
        modality, pixel = divmod(number, path.height * path.width)
        r, c = (PATCH * i for i in divmod(pixel, path.width))
        patch = images[modality][r + 1 : r + PATCH, c + 1 : c + PATCH, None]
        canvas[y + 1 : y + PATCH, x + 1 : x + PATCH] = patch * TONES[path.modalities][modality]
    return canvas


def _draw_order(axes: Axes, path: ScanPath, k: int, step: int | None) -> None:
    order = path.order[k].numpy()
    steps = np.flatnonzero(order[:step] >= 0)
    if not len(steps):
        return
    at, colours = places(path)[order[steps]], TIME(steps / max(len(order) - 1, 1))
    axes.scatter(*at.T, c=colours, s=12, zorder=3, linewidths=0)
    axes.scatter(*at[0], s=38, facecolor="white", edgecolor=colours[0], linewidths=1.6, zorder=4)
    if len(at) > 1:
        _draw_lines(axes, at, colours, arrow=step is None)
    if step is not None:
        axes.scatter(*at[-1], s=75, facecolor=INK, edgecolor="white", linewidths=1.6, zorder=5)


def _draw_lines(axes: Axes, at: np.ndarray, colours: np.ndarray, arrow: bool) -> None:
    lines, length = np.stack([at[:-1], at[1:]], 1), np.linalg.norm(at[1:] - at[:-1], axis=-1)
    # A step to the next pixel is drawn thick, a jump to the next line thin.
    thick = np.where(length > 1.6 * np.quantile(length, 0.7), 0.7, 1.7)
    axes.add_collection(LineCollection(lines, colors="white", linewidths=thick + 1.4, capstyle="round"))
    axes.add_collection(LineCollection(lines, colors=colours[:-1], linewidths=thick, capstyle="round"))
    if arrow:
        style = {"arrowstyle": "-|>,head_width=0.28,head_length=0.5", "color": INK, "lw": 0, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", at[-1] + 0.3 * (at[-1] - at[-2]) / length[-1], at[-2], arrowprops=style)


@styled
def distance_figure(side: int = 33) -> Figure:
    """Draw how far neighbours are apart, and after how many steps the centre has seen its surroundings.

    Args:
        side: Rows and columns of the map; odd, 5 or more.
    """
    figure = new_figure(10, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for y, name in enumerate(WAYS):
        for shift, (kind, distances) in enumerate(neighbour_distances(name, side, side).items()):
            _draw_near_and_far(left, y + 0.25 * (shift - 1), distances, COLOURS[kind], side)
        steps, share = seen_within(name, side)
        way = WAYS[name]
        right.step([*steps, 2 * side**2], [*share, share[-1]], where="post", color=way.colour, label=way.title)
    for kind, colour in COLOURS.items():
        left.plot([], [], "o-", color=colour, ms=5, label=kind)
    left.set(xscale="log", xlim=(0.7, 12 * side**2), xlabel="steps between neighbours, nearest to farthest order")
    left.set_yticks(range(len(WAYS)), [_label(name) for name in WAYS])
    left.invert_yaxis()
    right.set(xscale="log", xlim=(0.9, 2 * side**2), ylim=(0, 1.03), xlabel="steps back from the centre")
    right.set_ylabel("share of the 5 x 5 around seen")
    for axes in (left, right):
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=5, handlelength=1.2, columnspacing=1)
    return figure


def _draw_near_and_far(axes: Axes, y: float, distances: np.ndarray, colour: str, side: int) -> None:
    ends = near_and_far(distances)
    if ends is None:
        axes.plot(5 * side**2, y, "x", color=colour, ms=5)
        axes.annotate("never", (5 * side**2, y), (6, 0), textcoords="offset points", va="center", fontsize=7)
    else:
        axes.plot(ends, [y, y], "o-", color=colour, lw=1.2, ms=5)


@styled
def steps_figure(side: int = 25) -> Figure:
    """Draw how many steps before the centre of the first image each pixel is read; grey: never before.

    Args:
        side: Rows and columns of the map; odd.
    """
    ago = {name: steps_ago(name, side) for name in WAYS}
    maps = {name: np.where((steps > 0) & (steps < np.inf), steps, np.nan) for name, steps in ago.items()}
    return _maps_figure(maps, LogNorm(1, 2 * side**2), "viridis_r", "steps ago")


@styled
def reach_figure(fields: Mapping[str, np.ndarray]) -> Figure:
    """Draw receptive fields relative to the centre's influence on itself; grey: no influence at all.

    Args:
        fields: Fields as of ``receptive_field``, by key of ``WAYS`` or by title.
    """
    maps = {name: np.where(field > 0, field, np.nan) for name, field in fields.items()}
    return _maps_figure(maps, LogNorm(5e-5, 1e-2), "magma", "influence, centre = 1")


def _maps_figure(maps: Mapping[str, np.ndarray], norm: LogNorm, cmap: str, label: str) -> Figure:
    rows = max(len(images) for images in maps.values())
    figure = new_figure(1.2 + 1.75 * len(maps), 0.5 + 1.75 * rows)
    grid = figure.subplots(rows, len(maps), squeeze=False)
    for column, (name, images) in zip(grid.T, maps.items(), strict=True):
        column[0].set_title(_label(name) if name in WAYS else name)
        for axes in column[len(images) :]:
            bare(axes).text(0.5, 0.5, "one image", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        for axes, image in zip(column, images, strict=False):
            drawn = bare(axes).imshow(image, cmap=cmap, norm=norm)
            axes.set_facecolor(FAINT)
            for colour, width in (("white", 2.4), (INK, 1)):
                centre = [image.shape[0] // 2]
                axes.plot(centre, centre, "s", ms=9, mfc="none", mec=colour, mew=width)
    for axes, modality in zip(grid[:, -1], MODALITIES if rows == 2 else (), strict=False):
        axes.yaxis.set_label_position("right")
        axes.set_ylabel(modality)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.75, aspect=12 * rows, pad=0.01, extend="both")
    bar.set_label(label)
    return figure


def _label(name: str) -> str:
    return f"{WAYS[name].title}\n({WAYS[name].paper})"
