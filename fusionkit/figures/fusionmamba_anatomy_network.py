"""FusionMamba as a diagram drawn from the module tree that runs (Fig. 2 a-c)."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from fusionkit.figures.anatomy_run import Run
from fusionkit.figures.diagram import arrow, box, count, layer_list
from fusionkit.figures.fusionmamba_anatomy import block_paths, modalities
from fusionkit.figures.panels import show
from fusionkit.figures.style import MUTED, RED, bare, new_figure, styled
from fusionkit.models.fusionmamba.blocks import CodeBlock, DynamicBlock
from fusionkit.models.fusionmamba.network import Stage

ENCODER, FUSION, DECODER = 1.7, 4.75, 7.8
BOX, WIDE = (2.5, 0.86), (2.7, 0.72)
# Child of a block, and what becomes of it; None stands for plain arithmetic.
Step = tuple[str | None, str]
STEPS: dict[type[nn.Module], tuple[Step, ...]] = {
    DynamicBlock: (
        ("norm", "norm of x"),
        ("essm", "ESSM"),
        ("norm2", "norm"),
        ("eca", "ECA: a weight per channel"),
        ("ldc", "LDC of {ldc}"),
        (None, "{sum}"),
    ),
    CodeBlock: (
        ("norm", "norm of x"),
        ("essm", "g = ESSM"),
        ("eca", "ECA: a weight per channel"),
        ("ldc", "LDC of g + ECA(g)"),
        ("se", "squeeze-excitation of g and of LDC"),
        (None, "y = x + SE(g) + SE(LDC)"),
        ("norm2", "norm of y"),
        ("mlp", "MLP"),
        (None, "y + MLP"),
    ),
}
STATE_SPACE: tuple[Step, ...] = (
    ("in_proj", "linear, {outer} to {inner} + {inner}: value and gate"),
    ("conv2d", "value: depthwise 3x3, then SiLU"),
    ("es2d.scan", "ES2D: 4 scans, {states} states, step of rank {rank}"),
    ("es2d.out_norm", "norm"),
    (None, "times SiLU(gate)"),
    ("out_proj", "linear, {inner} to {outer}"),
)


@styled
def network_figure(run: Run) -> Figure:
    """Draw the network's parts with map sizes and parameter counts, and the parts of its first block.

    Args:
        run: A run of a network with DVSS blocks.

    Raises:
        FusionkitError: It has others.
    """
    levels = len(run.model.fusion)
    figure = new_figure(12.5, 2.2 + 1.72 * levels)
    tree = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    axes = bare(tree[0].subplots())
    axes.set(xlim=(0, 9.5), ylim=(2 * levels + 0.75, -1.95))
    axes.set_title(f"{run.title}: the network ({count(run.model):,} parameters)".lstrip(": "), loc="left")
    _entrance(axes, run)
    for level in range(levels):
        _level(axes, run, level)
    _bottom(axes, run)
    _exit(axes, run)
    lists = tree[1].subplots(2, 1, height_ratios=(len(_steps(run)), len(STATE_SPACE)))
    block = run.model.get_submodule(block_paths(run.model)[0])
    layer_list(lists[0], f"one block of encoder.0 ({count(block):,})", _steps(run))
    layer_list(lists[1], f"its ESSM ({count(block.essm):,})", _state_space_steps(block))
    return figure


def map_size(run: Run, path: str) -> str:
    """Return channels and size of the map that a module gives, channels last, in words."""
    _, height, width, channels = run.output(path).shape
    return f"{channels} channels, {height}x{width}"


def _below(level: int) -> float:
    """Return the height of the arrow into a stage of the encoder, where its fusion module is drawn."""
    return 0.45 + 2 * level


def _stage_text(run: Run, part: str, index: int) -> str:
    path = f"{part}.{index}"
    stage: Stage = run.model.get_submodule(path)
    lines = [f"{path}: {len(stage.blocks)} blocks ({count(stage.blocks):,})"]
    if stage.before is not None:
        lines.insert(0, f"expanding ({count(stage.before):,})")
    if stage.after is not None:
        lines.append(f"merging ({count(stage.after):,})")
    last_block = f"{path}.blocks.{len(stage.blocks) - 1}"
    return "\n".join([*lines, map_size(run, last_block)])


def _level(axes: Axes, run: Run, level: int) -> None:
    """Draw stage, fusion module and stage of one level, and how they are joined."""
    top, middle, last = _below(level), _below(level) + 1, len(run.model.fusion) - 1
    box(axes, ENCODER, middle, BOX, _stage_text(run, "encoder", level))
    box(axes, DECODER, middle, BOX, _stage_text(run, "decoder", last - level))
    arrow(axes, (ENCODER, top - (0.57 if level else 0.05)), (ENCODER, middle - BOX[1] / 2))
    arrow(axes, (ENCODER, top), (FUSION - WIDE[0] / 2, top))
    box(axes, FUSION, top, WIDE, _fusion_text(run, level))
    above = top - (0.57 if level else 0.49)
    if level == 0 and not run.model.config.level0:
        arrow(axes, (DECODER, middle - BOX[1] / 2), (DECODER, above))
        axes.text(FUSION + WIDE[0] / 2 + 0.1, top, "computed, never used", color=RED, va="center", fontsize=8)
        return
    arrow(axes, (DECODER, middle - BOX[1] / 2), (DECODER, top + 0.17))
    box(axes, DECODER, top, (0.34, 0.34), "+", "sum")
    arrow(axes, (DECODER, top - 0.17), (DECODER, above))
    arrow(axes, (FUSION + WIDE[0] / 2, top), (DECODER - 0.17, top))


def _fusion_text(run: Run, level: int) -> str:
    path, fusion = f"fusion.{level}", run.model.fusion[level]
    kind = "DFFM" if hasattr(fusion, "dfem") else type(fusion).__name__
    return f"{path}: {kind} ({count(fusion):,})\n{map_size(run, path)}"


def _entrance(axes: Axes, run: Run) -> None:
    """Draw both images and their embeddings."""
    images = run.pair.b, run.pair.a
    for x, number, name, image in zip((0.85, 2.55), (1, 2), modalities(run.pair), images, strict=True):
        picture = axes.inset_axes((x - 0.45, -1.55, 0.9, 0.9), transform=axes.transData)
        show(picture, image[0].numpy())
        picture.set_title(f"{number}: {name}", fontsize=7.5, pad=2)
        part = run.model.get_submodule(f"embed{number}")
        arrow(axes, (x, -0.64), (x, -0.46))
        box(axes, x, -0.25, (1.5, 0.42), f"embed{number} ({count(part):,})")
        arrow(axes, (x, -0.04), (ENCODER, 0.4))
    axes.text(0.22, 1.45, "one encoder for both", rotation=90, color=MUTED, ha="center", va="center", fontsize=8)


def _bottom(axes: Axes, run: Run) -> None:
    """Draw the sum of both modalities behind the last stage of the encoder."""
    middle = _below(len(run.model.fusion) - 1) + 1
    box(axes, FUSION, middle, (1.5, 0.42), "sum of both", "sum")
    arrow(axes, (ENCODER + BOX[0] / 2, middle), (FUSION - 0.75, middle))
    arrow(axes, (FUSION + 0.75, middle), (DECODER - BOX[0] / 2, middle))


def _exit(axes: Axes, run: Run) -> None:
    """Draw the head and the fused image."""
    model = run.model
    text = f"expand ({count(model.expand):,}), head ({count(model.head):,})"
    box(axes, DECODER, -0.25, (2.5, 0.42), text)
    if model.config.residual:
        axes.text(6.35, -1.0, f"+ {model.config.residual:g} (1 + 2)", color=RED, ha="right", va="center", fontsize=8)
        arrow(axes, (6.4, -1.0), (DECODER - 0.47, -1.0))
    arrow(axes, (DECODER, -0.46), (DECODER, -0.64))
    picture = axes.inset_axes((DECODER - 0.45, -1.55, 0.9, 0.9), transform=axes.transData)
    show(picture, run.fused)
    picture.set_title("fused", fontsize=7.5, pad=2)


def _steps(run: Run) -> list[tuple[str, str]]:
    """Return the parts of the first block as text and kind of box."""
    block = run.model.get_submodule(block_paths(run.model)[0])
    serial, identity = getattr(block, "serial", False), getattr(block, "identity", False)
    words = {"ldc": "the sum of both above" if serial else "x", "sum": "ECA + LDC" + (" + x" if identity else "")}
    return _rows(block, STEPS[type(block)], words)


def _state_space_steps(block: nn.Module) -> list[tuple[str, str]]:
    scan = block.essm.es2d.scan
    sizes = {"outer": block.essm.in_proj.in_features, "inner": scan.channels, "states": scan.states, "rank": scan.rank}
    return _rows(block.essm, STATE_SPACE, sizes)


def _rows(module: nn.Module, steps: tuple[Step, ...], words: dict[str, object]) -> list[tuple[str, str]]:
    """Return steps as text and kind of box, with the parameters of each child."""
    rows = []
    for child, text in steps:
        number = f"  ({count(module.get_submodule(child)):,})" if child else ""
        rows.append((text.format(**words) + number, "module" if child else "sum"))
    return rows
