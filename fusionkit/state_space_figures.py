"""Pictures of linear systems in continuous and discrete time, of their kernels, and of what selecting changes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, SymLogNorm
from matplotlib.figure import Figure

from fusionkit.figures.style import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, PURPLE, RED, SKY, new_figure, styled
from fusionkit.state_space import (
    RULES,
    SECONDS,
    SIGNALS,
    Scan,
    Setting,
    convolution,
    convolution_distance,
    exact,
    kernel,
    kernel_matrix,
    recurrence,
    rule_errors,
    signal_at,
)
from fusionkit.state_space_selection import (
    CHOICES,
    STEP_SIZES,
    STEPS,
    gate_scan,
    marked_values,
    selection_error,
    three_scans,
)

COLOURS = {"zoh": BLUE, "mamba": RED}
MARKERS = {"zoh": "o", "mamba": "D"}
EXAMPLES = {"A = -1\nfades": (1.0, 0.0, BLUE), "A = -0.5 + 3i\nfades and swings": (0.5, 3.0, PURPLE)}
ROWS = {12: SKY, 32: GREEN, 52: ORANGE}
# A new Mamba draws delta between 0.001 and 0.1, and has A = -1..-16.
NEW_PRODUCTS = (0.001, 1.6)


def _times() -> np.ndarray:
    return np.linspace(-0.6, SECONDS, 1500)


@styled
def examples_figure() -> Figure:
    """Draw what a fading and a swinging system make of every input, exactly."""
    figure = new_figure(10.5, 3.6)
    grid = figure.subplots(len(EXAMPLES), len(SIGNALS), sharex=True, sharey="col")
    for row, (title, (rate, swing, colour)) in zip(grid, EXAMPLES.items(), strict=True):
        row[0].set_ylabel(title, rotation=0, ha="right", va="center", labelpad=10)
        for axes, name in zip(row, SIGNALS, strict=True):
            _draw_input(axes, name)
            axes.plot(_times(), exact(Setting(rate=rate, swing=swing, signal=name), _times()), color=colour, lw=1.8)
    for axes, name in zip(grid[0], SIGNALS, strict=True):
        axes.set_title(name)
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    grid[0, 0].text(7, 0.4, "grey: input\ncolour: output", ha="center", va="center", fontsize=8)
    return figure


def _draw_input(axes: Axes, name: str) -> None:
    axes.fill_between(_times(), signal_at(name, _times()), color=FAINT, lw=0)
    axes.plot(_times(), signal_at(name, _times()), color=MUTED, lw=0.8)
    axes.axhline(0, color=MUTED, lw=0.5)


@styled
def system_figure(setting: Setting) -> Figure:
    """Draw the held input, the output of both rules beside the exact one, and their kernels.

    Args:
        setting: The system, its input and the step.
    """
    figure = new_figure(10.5, 4.0)
    parts = figure.subplot_mosaic([["input", "kernel"], ["output", "kernel"]], width_ratios=(1.7, 1))
    edges = np.append(setting.starts, setting.starts[-1] + setting.delta)
    _draw_input(parts["input"], setting.signal)
    parts["input"].stairs(setting.samples, edges, baseline=None, color=GREEN, lw=1.4)
    parts["input"].set_title(f"input x (grey), held for delta = {setting.delta:g} s (green)")
    parts["output"].plot(_times(), exact(setting, _times()), color=INK, lw=1.2, label="exact")
    scan, length = setting.scan(), len(setting.starts)
    for rule, title in RULES.items():
        style = _markers(rule, length)
        parts["output"].plot(edges[1:], recurrence(scan, setting.samples, rule), ls="", label=title, **style)
        parts["kernel"].plot(kernel(setting, rule), lw=0.8, **style)
    parts["output"].set(xlabel="seconds")
    parts["output"].set_title("output y", loc="left")
    parts["output"].legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98), columnspacing=1, borderaxespad=0)
    faded = np.log(200) / (setting.rate * setting.delta)
    parts["kernel"].set(xlabel="steps ago", xlim=(-0.4, np.clip(round(faded), 6, max(length - 1, 6)) + 0.4))
    parts["kernel"].set_title("kernel: what an input of 1 adds to y later")
    parts["kernel"].axhline(0, color=MUTED, lw=0.5)
    for name in ("input", "output"):
        parts[name].set_xlim(-0.6, SECONDS + 0.2)
    parts["input"].tick_params(labelbottom=False)
    return figure


def _markers(rule: str, count: int) -> dict[str, Any]:
    """Return how the values of a rule are drawn: large where there are few, not all where there are many."""
    size, hollow = float(np.clip(160 / count, 2, 5)), {"mfc": "white"} if rule == "mamba" else {}
    return {"color": COLOURS[rule], "marker": MARKERS[rule], "ms": size, "markevery": 1 + count // 150, **hollow}


@styled
def rules_figure() -> Figure:
    """Draw what both rules make of a constant input, and how far they are from the exact output of a sine."""
    figure = new_figure(9.5, 3.1)
    left, right = figure.subplots(1, 2)
    product = np.geomspace(0.001, 8, 200)
    left.axvspan(*NEW_PRODUCTS, color=FAINT, alpha=0.6, lw=0)
    left.text(0.05, 3.6, "a new Mamba layer\nis somewhere here", color=MUTED, ha="center", va="top", fontsize=8)
    left.plot(product, np.ones_like(product), color=COLOURS["zoh"], label=RULES["zoh"])
    left.plot(product, product / -np.expm1(-product), color=COLOURS["mamba"], label=RULES["mamba"])
    left.set(xscale="log", ylim=(0, 4), xlabel="delta * |A|", title="a constant input of 1: where the output settles")
    deltas = np.geomspace(0.02, 2, 25)
    errors = rule_errors(Setting(signal="sine"), deltas)
    for rule, title in RULES.items():
        right.plot(deltas, errors[rule], color=COLOURS[rule], marker=MARKERS[rule], ms=3, label=title)
    right.set(xscale="log", yscale="log", xlabel="delta, seconds", title="a sine: largest error of the output")
    for axes in (left, right):
        axes.grid(True, color=FAINT)
    right.legend()
    return figure


@styled
def forms_figure(setting: Setting) -> Figure:
    """Draw the output as a sum of copies of the kernel, one per input, and its difference from that of the loop.

    Args:
        setting: The system, its input and the step.
    """
    x, found, steps = setting.samples, kernel(setting), np.arange(len(setting.samples))
    figure = new_figure(10.5, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    tints = [SKY, GREEN, ORANGE, PURPLE]
    for k, value in enumerate(x):
        copy = value * found[: len(x) - k]
        heard = np.abs(copy) > 0.01
        left.plot(
            steps[k:], np.where(heard, copy, np.nan), color=tints[k % 4], lw=0.9, marker="o", ms=2.4, markevery=[0]
        )
    y = recurrence(setting.scan(), x)
    left.plot(steps, convolution(setting), color=INK, lw=2, label="sum of all copies: the convolution")
    left.plot(steps, y, "o", color=RED, ms=4, label="the loop")
    left.set(xlabel="step", title="each input (dot) starts a copy of the kernel")
    left.legend(ncols=2)
    apart = convolution(setting) - y
    right.stem(steps, apart, linefmt=MUTED, markerfmt="o", basefmt=" ")
    right.set(xlabel="step", title=f"convolution minus loop: at most {np.abs(apart).max():.1e}")
    right.axhline(0, color=MUTED, lw=0.5)
    return figure


@styled
def matrices_figure(scans: Mapping[str, tuple[Scan, np.ndarray]] | None = None) -> Figure:
    """Draw kernel matrices, and three of their rows by how long ago the input was.

    Args:
        scans: Scans of 64 steps and their inputs, by what depends on the input; None takes those of the walkthrough.
    """
    scans = three_scans() if scans is None else scans
    figure = new_figure(10.5, 5.6)
    upper, lower = figure.subplots(2, len(scans), height_ratios=(1.75, 1), squeeze=False)
    for above, below, (title, (scan, _)) in zip(upper, lower, scans.items(), strict=True):
        matrix = kernel_matrix(scan)
        _draw_matrix(above, matrix, f"depends on the input: {title}")
        for width, (row, colour) in zip((4, 2.5, 1.2), ROWS.items(), strict=True):
            above.plot(row + 2.5, row, "<", color=colour, ms=5, mec="none")
            below.plot(matrix[row, row::-1], color=colour, lw=width, label=f"row {row}")
        below.axhline(0, color=MUTED, lw=0.5)
        below.set(xlabel="steps ago", xlim=(-0.5, 40))
    upper[0].set_ylabel("output at step")
    lower[0].set_ylabel("kernel row")
    lower[0].legend(loc="upper right")
    return figure


def _draw_matrix(axes: Axes, matrix: np.ndarray, title: str) -> None:
    future = np.triu(np.ones_like(matrix, bool), 1)
    top = np.abs(matrix).max()
    shown = np.ma.masked_where(future, matrix)
    axes.set_facecolor(FAINT)
    axes.imshow(shown, cmap="RdBu_r", norm=SymLogNorm(0.05 * top, vmin=-top, vmax=top))
    axes.set(xlabel="input at step", title=title)
    distance = convolution_distance(matrix)
    text = "a convolution" if distance < 1e-12 else f"{100 * distance:.0f} % of it\nis no convolution"
    axes.text(0.95, 0.93, text, transform=axes.transAxes, ha="right", va="top", fontsize=8)


@styled
def selection_figure(choices: Mapping[str, tuple[float, float]] = CHOICES) -> Figure:
    """Draw the sequence with marked values, and what a gate makes of it with given step sizes.

    Args:
        choices: Step sizes at marks and elsewhere, by title.
    """
    toy, steps = marked_values(), np.arange(STEPS)
    rows = 1 + 2 * len(choices)
    figure = new_figure(10, 1.5 * (1 + len(choices)) + 0.3)
    grid = figure.subplots(rows, 1, sharex=True, height_ratios=[1, *[1, 0.13] * len(choices)])
    marked = toy.marks > 0
    grid[0].vlines(steps, 0, toy.values, color=np.where(marked, RED, MUTED), lw=1)
    grid[0].plot(steps[~marked], toy.values[~marked], "o", color=MUTED, ms=3)
    grid[0].plot(steps[marked], toy.values[marked], "o", color=RED, ms=6)
    grid[0].set_title("input: the marked values (red) are to be kept until the next one, all others are to be ignored")
    for (title, sizes), axes, strip in zip(choices.items(), grid[1::2], grid[2::2], strict=True):
        scan = gate_scan(toy.marks, *sizes)
        axes.step(steps, toy.goal, where="post", color=FAINT, lw=5, label="goal")
        axes.step(steps, recurrence(scan, toy.values), where="post", color=BLUE, label="output")
        axes.set_title(f"delta {title}: error {selection_error(*sizes):.2f}")
        drawn = strip.imshow(scan.delta[None], cmap="YlOrRd", norm=LogNorm(*STEP_SIZES), aspect="auto")
        strip.set(yticks=[0], yticklabels=["delta"])
        strip.tick_params(length=0)
    for axes in (grid[0], *grid[1::2]):
        axes.set(ylim=(-1.1, 1.1), xlim=(-0.8, STEPS - 0.2))
        axes.axhline(0, color=MUTED, lw=0.5)
    grid[1].legend(ncols=2, loc="lower right")
    grid[-1].set_xlabel("step")
    figure.colorbar(drawn, ax=grid, pad=0.01, aspect=30, shrink=0.8).set_label("delta")
    return figure
