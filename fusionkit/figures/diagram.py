"""Block diagrams drawn from the module tree of a network."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import nn

from fusionkit.figures.style import INK, MUTED, bare

FILL = {"data": "#FFFFFF", "module": "#DCEBF5", "sum": "#FBEFD5"}


def describe(module: nn.Module) -> str:
    """Return one line on a layer: its kind, kernel and channels."""
    if isinstance(module, nn.Conv2d):
        kernel = "x".join(map(str, module.kernel_size))
        kind = "depthwise" if module.groups == module.in_channels > 1 else "conv"
        bias = ", bias" if module.bias is not None else ""
        return f"{kind} {kernel}, {module.in_channels} to {module.out_channels}{bias}"
    if isinstance(module, nn.BatchNorm2d):
        return f"batch norm, {module.num_features}"
    return type(module).__name__


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def layers(module: nn.Module) -> list[tuple[str, str]]:
    """Return the layers of a module in order, as text and kind of box; names tell the parts they belong to."""
    found = []
    for name, part in module.named_modules():
        if not any(part.children()):
            owner = "" if name[:1] in "0123456789" else f"{name.split('.')[0]}: "
            number = f"  ({count(part):,})" if count(part) else ""
            found.append((f"{owner}{describe(part)}{number}", "module"))
    return found


def box(axes: Axes, x: float, y: float, size: tuple[float, float], text: str, kind: str = "module") -> None:
    """Draw a labelled box centred at (x, y)."""
    width, height = size
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=FILL[kind],
            edgecolor=MUTED,
            linewidth=0.8,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.35)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow between two points."""
    style = {"arrowstyle": "-|>", "color": MUTED, "lw": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", end, start, arrowprops=style)


def layer_list(axes: Axes, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Draw texts with their kinds as a stack of boxes joined by arrows."""
    bare(axes).set(xlim=(0, 4), ylim=(len(rows) + 0.05, -0.1))
    axes.set_title(title, loc="left")
    for i, (text, kind) in enumerate(rows):
        box(axes, 2.0, i + 0.4, (3.9, 0.62), text, kind)
        if i:
            arrow(axes, (2.0, i - 0.29), (2.0, i + 0.09))
