"""What the pictures of networks taken apart share: rows of maps, and charts of values per channel."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from fusionkit.figures.panels import show
from fusionkit.figures.style import FAINT, MUTED, bare

COLOURED = (1, 99)
# Two lines above a map, and the gap to the next row.
TITLE_INCHES = 0.45


def draw_maps(row: Sequence[Axes], maps: Mapping[str, np.ndarray], channel: int) -> None:
    """Draw one channel of maps (C, H, W), each in a colour range of its own; axes that are left over stay empty.

    Colours run from the 1st to the 99th percentile, since the zero padding of convolutions shows at the edges; the
    titles give the full range.

    Args:
        row: At least as many axes as maps.
        maps: By title.
        channel: Which one.
    """
    for axes in row:
        bare(axes)
    for axes, (title, features) in zip(row, maps.items(), strict=False):
        image = features[channel]
        low, high = np.percentile(image, COLOURED)
        axes.imshow(image, cmap="magma", vmin=low, vmax=high)
        axes.set_title(f"{title}\n{image.min():.2g} to {image.max():.2g}", fontsize=8)


def draw_image(axes: Axes, image: np.ndarray, title: str) -> None:
    """Draw a grey image (H, W) in [0, 1]."""
    show(axes, image)
    axes.set_title(title, fontsize=8)


def draw_sorted(axes: Axes, values: Mapping[str, tuple[np.ndarray, str]], by: str) -> None:
    """Draw shares or weights in (0, 1) per channel as dots, channels sorted by one of them.

    Args:
        axes: Where.
        values: Values (C,) and colour by label.
        by: Label of those that sort the channels.
    """
    order = np.argsort(values[by][0])
    for label, (numbers, colour) in values.items():
        axes.plot(numbers[order], "o", color=colour, ms=3, label=label, mfc=colour if label == by else "none")
    axes.axhline(0.5, color=MUTED, lw=0.7, ls=":")
    axes.set(ylim=(-0.03, 1.03), yticks=(0, 0.5, 1), xlabel=f"channels, sorted by {by}")


def draw_bars(axes: Axes, values: Mapping[str, float], colours: Sequence[str], form: str = "{:.2g}") -> None:
    """Draw a horizontal bar per value, the first on top, each with its number."""
    axes.barh(range(len(values)), list(values.values()), color=colours, height=0.65)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.bar_label(axes.containers[0], [form.format(value) for value in values.values()], padding=3, fontsize=8)
    axes.margins(x=0.18)
    axes.axvline(0, color=FAINT, lw=0.8)


def row_inches(width: float, size: Sequence[int]) -> float:
    """Return the height of a row of maps with their titles.

    Args:
        width: Of one map, in inches.
        size: Height and width of the maps.
    """
    return width * size[0] / size[1] + TITLE_INCHES
