"""Training recipes as data: one TOML file per paper, one entry per run.

A recipe is everything that decides the trained weights besides code and images.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from fusionkit.errors import FusionkitError, unknown

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run.

    Attributes:
        kind: ``"constant"``, ``"steps"`` (times ``factor`` at each of ``epochs``), ``"decay"`` (times ``factor``
            every epoch) or ``"cosine"`` (linear from ``start`` over the first ``warmup`` of all iterations, then
            half a cosine down to ``final``).
    """

    kind: str = "constant"
    epochs: tuple[int, ...] = ()
    factor: float = 1.0
    start: float = 0.0
    final: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "steps", "decay", "cosine"):
            raise unknown("schedule", self.kind, ("constant", "steps", "decay", "cosine"))

    def rate(self, peak: float, epoch: int, step: int, total: int) -> float:
        """Return the learning rate of one iteration.

        Args:
            peak: The recipe's learning rate.
            epoch: Epoch, from 0.
            step: Iteration in the whole run, from 0.
            total: Iterations of the whole run.
        """
        if self.kind == "steps":
            return peak * self.factor ** sum(epoch >= e for e in self.epochs)
        if self.kind == "decay":
            return peak * self.factor**epoch
        if self.kind == "cosine":
            ramp = self.warmup * total
            if step < ramp:
                return self.start + (peak - self.start) * (step + 1) / ramp
            progress = (step - ramp) / max(total - ramp - 1, 1)
            return self.final + (peak - self.final) * (1 + math.cos(math.pi * progress)) / 2
        return peak


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        paper: Whose protocol it follows: a paper's, or one of our own.
        run: Name inside the protocol's file.
        model: Registered model.
        loss: Loss preset.
        data: ``dataset/split`` names; their pairs are mixed.
        batch: Pairs per iteration and process.
        epochs: Passes over all pairs.
        lr: (Peak) learning rate.
        crop: Side of the random square crop in pixels, or less where a pair alone in its batch is smaller; 0 keeps
            whole images (all in a batch must have one size).
        flips: Flip and rotate by quarter turns at random.
        gain: Each modality is multiplied by a random factor between this and 1, in (0, 1].
        swap: Exchange the modalities at random; for losses that treat both alike.
        mix: Share of samples whose second modality comes from another pair, at the same place.
        init: Name of the model's weights that training starts from; empty for a random start.
        optimizer: ``"adam"`` or ``"adamw"``.
        weight_decay: Of the optimiser.
        clip: Largest gradient norm; 0 for no clipping.
        schedule: Learning rate over the run.
        options: Options of the model.
        loss_weights: Replacements of the preset's weights, by term.
        seed: Decides initial weights, order and crops.
    """

    paper: str
    run: str
    model: str
    loss: str
    data: tuple[str, ...]
    batch: int
    epochs: int
    lr: float
    crop: int = 0
    flips: bool = False
    gain: float = 1.0
    swap: bool = False
    mix: float = 0.0
    init: str = ""
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: float = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    options: Mapping[str, Any] = field(default_factory=dict)
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the weights: the run, or the protocol of a run named after its model; with the seed if not 0."""
        name = self.paper if self.run == self.model else self.run
        return name if self.seed == 0 else f"{name}-seed{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self)


def list_recipes() -> list[str]:
    """Return all runs as ``paper/run``."""
    return [f"{path.stem}/{run}" for path in sorted(FOLDER.glob("*.toml")) for run in _read(path)["runs"]]


def final_recipes() -> list[str]:
    """Return the runs that no other run of their paper starts from."""
    runs = [load_recipe(name) for name in list_recipes()]
    starts = {(run.paper, run.init) for run in runs}
    return [f"{run.paper}/{run.run}" for run in runs if (run.paper, run.run) not in starts]


def load_recipe(name: str, seed: int = 0, **changes: Any) -> Recipe:
    """Return a recipe.

    Args:
        name: ``paper/run``, one of ``list_recipes()``.
        seed: Random seed.
        changes: Fields to replace, for example ``epochs=2``.

    Raises:
        FusionkitError: Unknown run, or a key in the file that is not a field of a recipe.
    """
    if name not in list_recipes():
        raise unknown("training run", name, list_recipes())
    paper, _, run = name.partition("/")
    path = FOLDER / f"{paper}.toml"
    content = _read(path)
    values = {**content["defaults"], **content["runs"][run], **changes}
    known = {f.name for f in fields(Recipe)}
    for key in values:
        if key not in known:
            raise FusionkitError(f"{path.name}, run {run}: {unknown('key', key, known)}")
    values["data"] = tuple(values["data"])
    schedule = values.get("schedule", {})
    if not isinstance(schedule, Schedule):
        values["schedule"] = Schedule(**{**schedule, "epochs": tuple(schedule.get("epochs", ()))})
    return Recipe(paper=paper, run=run, seed=seed, **values)


@cache
def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return tomllib.load(stream)
