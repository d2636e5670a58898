"""Training a small fusion network while one watches: steps as a generator, and pictures of where it stands.

Everything here is plain functions of plain values; ``fusionkit.live_panel`` puts sliders and a button around them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from fusionkit.data.pairs import Pair, make_pair
from fusionkit.data.phantoms import phantom
from fusionkit.errors import FusionkitError, unknown
from fusionkit.figures.anatomy import anatomy_data
from fusionkit.figures.panels import displayed, show
from fusionkit.figures.style import BLUE, CYCLE, GREEN, INK, MUTED, bare, new_figure, styled
from fusionkit.losses import PRESETS, FusionLoss
from fusionkit.models import build_model
from fusionkit.profiles import Profile, as_profile

TASKS = {
    "PET-MRI": ("pet-mri", "PET", "MRI"),
    "SPECT-MRI": ("spect-mri", "SPECT", "MRI"),
    "CT-MRI": ("ct-mri", "CT", "MRI"),
    "infrared-visible": ("ir-vis", "infrared", "visible"),
    "GFP-phase contrast": ("gfp-pc", "GFP", "phase contrast"),
}
PAPER_WEIGHTS = dict(PRESETS["lightfusionnet"].weights)
SIDE, CROP, BATCH, SCENES = 128, 64, 4, 12
# Two minutes are short: twenty times the paper's learning rate.
RATE = 2e-3
STEPS = {Profile.SMOKE: 60, Profile.STANDARD: 100, Profile.PAPER: 1000}
MAX_STEPS, MAX_WIDTH = 5000, 64


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Where a training stands.

    Attributes:
        step: Steps done, from 0 (untrained).
        losses: Unweighted terms and weighted ``total`` on a scene that training never sees.
        fused: That scene fused, (1, H, W) in [0, 1].
        model: The network, in evaluation mode; the same object in all snapshots of a run.
    """

    step: int
    losses: dict[str, float]
    fused: Tensor
    model: nn.Module


@dataclass(eq=False)
class History:
    """The snapshots of a run so far; what the live picture shows."""

    task: str
    weights: dict[str, float]
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def curve(self) -> pd.DataFrame:
        """Losses by step: the terms times their weights, and ``total``."""
        rows = {
            s.step: {name: s.losses[name] * weight for name, weight in self.weights.items()}
            | {"total": s.losses["total"]}
            for s in self.snapshots
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("step")


def scene(task: str, index: int, side: int = SIDE) -> Pair:
    """Draw one phantom pair of a task; index -1 is the one that training never sees.

    Raises:
        FusionkitError: The task is unknown.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    drawn = phantom(TASKS[task][0], 10_000 if index == -1 else index, side)
    images = (torch.from_numpy(x).view(*x.shape[:2], -1).permute(2, 0, 1).float() / 255 for x in (drawn.a, drawn.b))
    return make_pair(*images, ("", "", f"{task} phantom"))


def train_live(
    task: str, weights: Mapping[str, float], width: int = 8, steps: int = 100, every: int = 5, seed: int = 0
) -> Iterator[Snapshot]:
    """Train a LightFusionNet on phantoms and yield where it stands, before the first step and every few steps.

    Args:
        task: A key of ``TASKS``.
        weights: Weight per loss term (``intensity_max``, ``gradient_max``, ``ssim_to_sources``); not all 0.
        width: Base number of channels, 1 to 64.
        steps: Training steps, 1 to 5000.
        every: Steps between two snapshots.
        seed: Decides initial weights and crops; the same arguments give the same training.

    Raises:
        FusionkitError: A value is out of range.
    """
    _check(weights, width, steps, every)
    scenes, held_out = _scenes(task), scene(task, -1)
    loss = FusionLoss(dict(weights))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model("lightfusionnet", width=width, reduction=min(4, width))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(seed)
    yield _snapshot(0, model, loss, held_out)
    for step in range(1, steps + 1):
        a, b = _crops(scenes, generator).split(1, 1)
        model.train()
        optimizer.zero_grad()
        loss(model(a, b), a, b)["total"].backward()
        optimizer.step()
        model.eval()
        if step % every == 0 or step == steps:
            yield _snapshot(step, model, loss, held_out)


def train_to_end(
    task: str, weights: Mapping[str, float] = PAPER_WEIGHTS, width: int = 8, steps: int = 100, seed: int = 0
) -> History:
    """Train without watching and return all snapshots; arguments as of :func:`train_live`."""
    return History(task, dict(weights), list(train_live(task, weights, width, steps, seed=seed)))


def profile_steps(profile: str) -> int:
    """Return how many steps the static pictures of a profile train."""
    return STEPS[as_profile(profile)]


def rule_losses(task: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the total loss of the plain average and the plain maximum on the scene that training never sees."""
    held_out, loss = scene(task, -1), FusionLoss(dict(weights))
    a, b = held_out.a[None], held_out.b[None]
    fused = {"average": (a + b) / 2, "maximum": torch.maximum(a, b)}
    return {name: float(loss(image, a, b)["total"]) for name, image in fused.items()}


def one_term_runs(task: str, width: int, steps: int) -> dict[str, History]:
    """Train four times: with the paper's weights, and with each term alone."""
    settings = {"paper's weights": PAPER_WEIGHTS}
    settings |= {
        f"{term.split('_')[0]} alone": {**dict.fromkeys(PAPER_WEIGHTS, 0.0), term: 100.0} for term in PAPER_WEIGHTS
    }
    return {name: train_to_end(task, weights, width, steps) for name, weights in settings.items()}


def progress_words(history: History) -> str:
    """Say coarsely how far a run came: by how many tenths the loss fell, and whether it beats the plain rules."""
    total = history.curve["total"]
    tenths = int(10 * (1 - total.iloc[-1] / total.iloc[0]))
    rules = rule_losses(history.task, history.weights)
    beaten = [name for name, value in rules.items() if total.iloc[-1] < value] or ["neither rule"]
    return (
        f"{history.task}, {total.index[-1]} steps: the loss on a scene never trained on fell by at least "
        f"{10 * tenths} %; it is below that of: {', '.join(beaten)}"
    )


@styled
def live_figure(history: History) -> Figure:
    """Draw the sources, the fused image now, and the loss so far with the plain rules as dotted lines.

    Args:
        history: A run with at least one snapshot.

    Raises:
        FusionkitError: There is no snapshot yet.
    """
    if not history.snapshots:
        raise FusionkitError("live figure: no snapshot yet; train first")
    pair, last = scene(history.task, -1), history.snapshots[-1]
    _, first_name, second_name = TASKS[history.task]
    figure = new_figure(10.5, 2.9)
    row = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.6))
    images = {
        first_name: displayed(pair, pair.a, pair.colour == "first"),
        second_name: displayed(pair, pair.b, pair.colour == "second"),
        f"fused, step {last.step}": displayed(pair, last.fused),
    }
    for axes, (name, image) in zip(row, images.items(), strict=False):
        show(axes, image)
        axes.set_title(name)
    _draw_curve(row[3], history)
    return figure


def _draw_curve(axes: Axes, history: History) -> None:
    curve = history.curve
    for i, name in enumerate(history.weights):
        axes.plot(curve.index, curve[name], color=CYCLE[i], lw=1, label=name.split("_")[0])
    axes.plot(curve.index, curve["total"], color=INK, lw=2, label="total")
    for (name, value), colour in zip(rule_losses(history.task, history.weights).items(), (MUTED, GREEN), strict=True):
        axes.axhline(value, color=colour, lw=1, ls=":", label=f"plain {name}")
    axes.set(xlabel="step", title="loss on a scene never trained on", ylim=(0, None))
    axes.legend(ncols=2, fontsize=7)


@styled
def comparison_figure(runs: Mapping[str, History]) -> Figure:
    """Draw the fused images of several runs side by side, with the rules' maximum first.

    Args:
        runs: Finished runs of one task by title.

    Raises:
        FusionkitError: There is no run.
    """
    if not runs:
        raise FusionkitError("comparison: no run; train one first")
    pair = scene(next(iter(runs.values())).task, -1)
    images = {"plain maximum": torch.maximum(pair.a, pair.b)}
    images |= {name: run.snapshots[-1].fused for name, run in runs.items()}
    figure = new_figure(2.1 * len(images), 2.5)
    for axes, (name, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        show(axes, displayed(pair, image))
        axes.set_title(name)
    return figure


def attention_maps(model: nn.Module, task: str) -> dict[str, np.ndarray]:
    """Return surprise and attention of both branches on the scene never trained on, (C, H, W) each.

    Args:
        model: A LightFusionNet with the paper's attention.
        task: A key of ``TASKS``.

    Raises:
        FusionkitError: Another model, or an unknown task.
    """
    pair = scene(task, -1)
    found = anatomy_data(model, pair.a, pair.b)
    return {name: found[name] for name in ("surprise_a", "attention_a", "surprise_b", "attention_b")}


def attention_words(model: nn.Module, task: str) -> str:
    """Say coarsely how far the attention has left one half, where it weights everything alike."""
    maps = attention_maps(model, task)
    apart = max(float(np.abs(maps[name] - 0.5).max()) for name in ("attention_a", "attention_b"))
    verdict = "weights features differently" if apart > 0.1 else "hardly tells features apart yet"
    return f"The attention {verdict}."


@styled
def maps_figure(model: nn.Module, task: str, channel: int | None = None) -> Figure:
    """Draw where features surprise and what the attention makes of it, mean over channels or one channel.

    Args:
        model: A LightFusionNet with the paper's attention.
        task: A key of ``TASKS``.
        channel: Which channel; None takes the mean of all.

    Raises:
        FusionkitError: Another model, or an unknown task.
    """
    maps, names = attention_maps(model, task), TASKS[task][1:]
    figure = new_figure(9.2, 2.6)
    for axes, (key, values) in zip(figure.subplots(1, 4), maps.items(), strict=True):
        image = values.mean(0) if channel is None else values[min(channel, len(values) - 1)]
        what, branch = key.split("_")
        low, high = np.quantile(image, (0.01, 0.99))
        cmap = "magma" if what == "surprise" else "viridis"
        drawn = bare(axes).imshow(image, cmap=cmap, vmin=low, vmax=max(high, low + 0.01))
        axes.set_title(f"{what}, {names['ab'.index(branch)]} branch")
        figure.colorbar(drawn, ax=axes, shrink=0.8).ax.tick_params(labelsize=7, color=BLUE)
    return figure


@cache
def _scenes(task: str) -> Tensor:
    """Return the training scenes of a task, (N, 2, H, W)."""
    pairs = [scene(task, index) for index in range(SCENES)]
    return torch.stack([torch.cat([pair.a, pair.b]) for pair in pairs])


def _crops(scenes: Tensor, generator: torch.Generator) -> Tensor:
    rows = torch.randint(len(scenes), (BATCH,), generator=generator).tolist()
    corners = torch.randint(SIDE - CROP + 1, (BATCH, 2), generator=generator).tolist()
    return torch.stack([scenes[i, :, y : y + CROP, x : x + CROP] for i, (y, x) in zip(rows, corners, strict=True)])


@torch.inference_mode()
def _snapshot(step: int, model: nn.Module, loss: FusionLoss, pair: Pair) -> Snapshot:
    a, b = pair.a[None], pair.b[None]
    fused = model(a, b)
    return Snapshot(step, {name: float(value) for name, value in loss(fused, a, b).items()}, fused[0], model)


def _check(weights: Mapping[str, float], width: int, steps: int, every: int) -> None:
    if not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
        raise FusionkitError("live training: loss weights must be 0 or more and not all 0; raise one of them")
    if not 1 <= width <= MAX_WIDTH:
        raise FusionkitError(f"live training: width {width} is out of range; choose 1 to {MAX_WIDTH}")
    if not 1 <= steps <= MAX_STEPS or every < 1:
        raise FusionkitError(
            f"live training: {steps} steps, one look every {every}; choose 1 to {MAX_STEPS} and 1 or more"
        )
