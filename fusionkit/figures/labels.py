"""Text beside points of a chart, placed so that nothing covers anything else."""

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from fusionkit.figures.style import INK, MUTED

GAPS = (2.0, 10.0, 20.0, 32.0, 46.0, 62.0)
ANGLES = (0, 180, 90, 270, 45, 315, 135, 225)


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    radii: Sequence[float],
    texts: Sequence[str],
    colours: Sequence[str] | None = None,
) -> list[Annotation]:
    """Write a text beside each point, at the nearest free place; farther ones get a leader line.

    Args:
        axes: Where to write; limits and scales must be final.
        points: Data coordinates.
        radii: Radius of the disc drawn at each point, in typographic points.
        texts: One text per point.
        colours: One text colour per point; the default is the ink of the style.

    Returns:
        The annotations, in the order of ``points``.
    """
    figure = axes.get_figure()
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    taken = [_disc(axes, point, radius * scale) for point, radius in zip(points, radii, strict=True)]
    written: dict[int, Annotation] = {}
    for i in sorted(range(len(points)), key=lambda k: (-radii[k], points[k])):
        colour = colours[i] if colours else INK
        written[i], box = _write(axes, points[i], radii[i], texts[i], colour, taken)
        taken.append(box)
    return [written[i] for i in range(len(points))]


def overlaps(boxes: Sequence[Bbox]) -> list[tuple[int, int]]:
    """Return the index pairs of boxes that share an area."""
    pairs = ((i, j) for j in range(len(boxes)) for i in range(j))
    return [(i, j) for i, j in pairs if _shared(boxes[i], boxes[j]) > 0]


def _write(
    axes: Axes, point: tuple[float, float], radius: float, text: str, colour: str, taken: list[Bbox]
) -> tuple[Annotation, Bbox]:
    inside = axes.get_window_extent()
    best: tuple[float, tuple[float, float, str, str, bool]] | None = None
    note = axes.annotate(
        text, point, (0, 0), textcoords="offset points", fontsize=8, color=colour, annotation_clip=False, zorder=5
    )
    note.set_in_layout(False)
    for place in _places(radius):
        _move(note, place)
        box = note.get_window_extent()
        covered = sum(_shared(box, other) for other in taken) + _outside(box, inside) * 4
        if best is None or covered < best[0]:
            best = (covered, place)
        if covered == 0:
            break
    assert best is not None
    _move(note, best[1])
    box = note.get_window_extent()
    if best[1][4]:
        arrow = {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkA": 0, "shrinkB": radius}
        far = axes.annotate("", point, best[1][:2], textcoords="offset points", arrowprops=arrow, zorder=4)
        far.set_in_layout(False)
    return note, box


def _places(radius: float) -> Iterator[tuple[float, float, str, str, bool]]:
    """Yield offset, alignment and whether a leader is needed, nearest first."""
    for gap in GAPS:
        for angle in ANGLES:
            x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            horizontal = "left" if x > 0.1 else "right" if x < -0.1 else "center"
            vertical = "bottom" if y > 0.1 else "top" if y < -0.1 else "center"
            yield x * (radius + gap), y * (radius + gap), horizontal, vertical, gap > GAPS[1]


def _move(note: Annotation, place: tuple[float, float, str, str, bool]) -> None:
    x, y, horizontal, vertical, _ = place
    note.set_position((x, y))
    note.set(ha=horizontal, va=vertical)


def _disc(axes: Axes, point: tuple[float, float], radius: float) -> Bbox:
    x, y = axes.transData.transform(point)
    # The square that has the area of the disc: labels may use the corners of the enclosing square.
    half = max(radius * 0.89, 2.0)
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _shared(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)


def _outside(box: Bbox, frame: Bbox) -> float:
    return box.width * box.height - _shared(box, frame)
