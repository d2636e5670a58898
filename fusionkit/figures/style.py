"""One look for every figure, and the one way to write a figure to a file."""

import functools
import io
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ParamSpec, TypeVar

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fusionkit.errors import FusionkitError
from fusionkit.files import atomic_path
from fusionkit.provenance import code_version

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito, "Color Universal Design", 2008; without black and yellow, which are hard to see as thin lines.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
INK, MUTED, FAINT = "#222222", "#7A7A7A", "#DDDDDD"
MAP = "viridis"
DPI, SCREEN_DPI = 200, 110
FOOTER_INCHES = 0.2

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 11,
    "text.usetex": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "image.cmap": MAP,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


class Picture(Figure):
    """A figure that notebooks show as PNG whether or not pyplot was imported."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        _pixels(self, SCREEN_DPI).save(stream, format="PNG")
        return stream.getvalue()


def figure_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in this project's style."""
    return matplotlib.rc_context(STYLE)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in this project's style; settings outside it stay as they are."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with figure_style():
            return draw(*args, **kwargs)

    return inner


def new_figure(width: float, height: float) -> Picture:
    """Return an empty figure of ``width`` by ``height`` inches that lays out its parts by itself."""
    return Picture(figsize=(width, height), layout="constrained")


def bare(axes: Axes) -> Axes:
    """Remove ticks and frame, for images; returns the same axes."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def save(figure: Figure, path: Path | str, provenance: Mapping[str, Any]) -> None:
    """Write a figure as PNG, complete or not at all, with where it comes from.

    The provenance goes into the PNG's metadata as JSON (key ``Provenance``) and, in short, into a footer line
    below the figure; the figure itself is left as it was.

    Args:
        figure: What to write.
        path: A file name that ends in ``.png``.
        provenance: Record with plain values. ``code`` defaults to the version that runs; ``dataset`` and
            ``split`` (else the names in ``data``) and ``key`` also appear in the footer.

    Raises:
        FusionkitError: Another suffix, a path of this machine in the record, or a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise FusionkitError(f"{path}: figures are written as PNG; choose a name that ends in .png")
    record = {"code": code_version(), **provenance}
    _refuse_paths(record, path)
    info = PngInfo()
    info.add_text("Title", path.stem)
    info.add_text("Software", f"fusionkit {record['code']}")
    info.add_text("Provenance", json.dumps(record, sort_keys=True, default=str))
    page = _above(_pixels(figure), _pixels(_footer(figure, footer_line(record))))
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG", pnginfo=info, dpi=(DPI, DPI))


def _pixels(figure: Figure, dpi: int = DPI) -> Image.Image:
    stream = io.BytesIO()
    with figure_style():
        figure.savefig(stream, format="png", dpi=dpi)
    return Image.open(stream).convert("RGB")


@styled
def _footer(figure: Figure, text: str) -> Figure:
    strip = Figure(figsize=(figure.get_figwidth(), FOOTER_INCHES))
    strip.text(0.06 / figure.get_figwidth(), 0.5, text, va="center", fontsize=6.5, color=MUTED)
    return strip


def _above(upper: Image.Image, lower: Image.Image) -> Image.Image:
    page = Image.new("RGB", (upper.width, upper.height + lower.height), "white")
    page.paste(upper, (0, 0))
    page.paste(lower, (0, upper.height))
    return page


def footer_line(provenance: Mapping[str, Any]) -> str:
    """Return the line below a figure: code version, and data and cache key where the record has them."""
    parts = [f"fusionkit {provenance['code']}"]
    if "dataset" in provenance and "split" in provenance:
        parts.append(f"data: {provenance['dataset']}/{provenance['split']}")
    elif provenance.get("data"):
        data = provenance["data"]
        parts.append(f"data: {data if isinstance(data, str) else ', '.join(data)}")
    if provenance.get("key"):
        parts.append(f"key: {str(provenance['key'])[:16]}")
    return "  ·  ".join(parts)


def _refuse_paths(value: Any, path: Path) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_paths(item, path)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_paths(item, path)
    elif isinstance(value, Path) or (
        isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute())
    ):
        raise FusionkitError(f"{path}: the provenance names a path of this machine ({value}); leave it out")
