"""One training loop for every model.

A run can be killed at any moment; the same command goes on from the last checkpoint and ends with the same
weights as a run that was never interrupted. Under ``torchrun`` each process takes its share of every epoch.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_fabric
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fusionkit import losses, paths
from fusionkit.data.pairs import dataset_hash
from fusionkit.data.patches import Patches
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import atomic_path, write_json, write_text
from fusionkit.models import build_model
from fusionkit.progress import bar
from fusionkit.provenance import code_version, config_hash, environment
from fusionkit.recipes import Recipe, load_recipe
from fusionkit.weights import list_weights, load_model, save_weights, weights_hash

CHECKPOINT_SECONDS = 20.0
# So many iterations in a row without a finite gradient end a run; fewer are passed over.
MOST_SKIPPED = 10
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass
class Progress:
    """How far a run has come; what a checkpoint holds besides the model and the optimiser.

    ``skipped`` counts the iterations that changed nothing because their gradient was not finite, ``in_a_row`` the last
    ones of them.
    """

    epoch: int = 0
    step: int = 0
    skipped: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    sums: dict[str, float] | None = None
    curve: list[dict[str, float]] | None = None


def train(recipe: Recipe, folder: Path | None = None, workers: int = 0) -> Path:
    """Train a model as its recipe says, from the last checkpoint if there is one.

    A run that starts from weights of another run trains that one first where they are not at hand.

    Args:
        recipe: What to train.
        folder: Where weights, card and loss curve go; the default is ``results/weights/<model>``.
        workers: Processes that load images; 0 loads in this one.

    Returns:
        Path of the weights, ``<folder>/<name>.safetensors``.

    Raises:
        FusionkitError: Missing data, a checkpoint of another recipe, or gradients that stay infinite or NaN.
        KeyboardInterrupt: Interrupted; the state was saved first.
    """
    folder = folder or paths.results_dir() / "weights" / recipe.model
    target = folder / f"{recipe.name}.safetensors"
    if target.exists():
        return target
    fabric = lightning_fabric.Fabric(devices=int(os.environ.get("LOCAL_WORLD_SIZE", 1)), accelerator="auto")
    fabric.launch()
    start = _start(recipe, folder, workers)
    run = _Run(recipe, start, fabric, folder / f".{recipe.name}.checkpoint", workers)
    run.resume()
    try:
        run.go()
    except KeyboardInterrupt:
        run.save()
        raise
    if fabric.is_global_zero:
        run.finish(target)
    fabric.barrier()
    return target


class _Run:
    """One run in progress: model, optimiser, data and what has been done so far."""

    def __init__(
        self, recipe: Recipe, start: Path | None, fabric: lightning_fabric.Fabric, checkpoint: Path, workers: int
    ) -> None:
        if recipe.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", recipe.optimizer, OPTIMIZERS)
        self.recipe, self.start, self.fabric = recipe, start, fabric
        self.checkpoint, self.workers = checkpoint, workers
        self.code = code_version()  # of the code that runs, whatever is committed until the end
        random = {"gain": recipe.gain, "swap": recipe.swap, "mix": recipe.mix, "seed": recipe.seed}
        self.patches = Patches(recipe.data, recipe.crop, recipe.flips, shrink=recipe.batch == 1, **random)
        self.loss = losses.preset(recipe.loss, recipe.loss_weights)
        torch.manual_seed(recipe.seed)
        self.bare = build_model(recipe.model, **recipe.options).train()
        if start:
            _load_start(self.bare, start, recipe)
        optimizer = OPTIMIZERS[recipe.optimizer](
            self.bare.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.model, self.optimizer = fabric.setup(self.bare, optimizer)
        self.done = Progress(sums={}, curve=[])

    @property
    def steps_per_epoch(self) -> int:
        """Iterations of one epoch in each process; the last batch may be smaller."""
        share = -(-len(self.patches) // self.fabric.world_size)
        return -(-share // self.recipe.batch)

    def go(self) -> None:
        """Train from where the run stands to its end."""
        total = self.recipe.epochs * self.steps_per_epoch
        quiet = None if self.fabric.is_global_zero else True
        with bar(desc=self.recipe.name, total=total, unit="step") as progress:
            progress.disable = progress.disable or bool(quiet)
            progress.update(self.done.step)
            started = saved = time.monotonic()
            while self.done.epoch < self.recipe.epochs:
                for batch in self._batches():
                    values = self._step(batch, total)
                    progress.update()
                    if self.done.step % 20 == 0:
                        progress.set_postfix({k: f"{v:.4g}" for k, v in values.items()}, refresh=False)
                    now = time.monotonic()
                    self.done.seconds += now - started
                    started = now
                    if now - saved > CHECKPOINT_SECONDS:
                        self.save()
                        saved = time.monotonic()
                self._close_epoch()

    def _batches(self) -> DataLoader:
        """Load the rest of the current epoch: this process' share, from the next iteration on."""
        self.patches.epoch = self.done.epoch
        world, rank = self.fabric.world_size, self.fabric.global_rank
        order = self.patches.order()
        order += order[: -len(order) % world]
        mine = order[rank::world]
        size = self.recipe.batch
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        start = self.done.step - self.done.epoch * self.steps_per_epoch
        return DataLoader(self.patches, batch_sampler=batches[start:], num_workers=self.workers)

    def _step(self, batch: Tensor, total: int) -> dict[str, float]:
        recipe, done = self.recipe, self.done
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.schedule.rate(recipe.lr, done.epoch, done.step, total)
        a, b = batch.to(self.fabric.device).split(1, 1)
        self.optimizer.zero_grad()
        values = self.loss(self.model(a, b), a, b)
        self.fabric.backward(values["total"])
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=recipe.clip or float("inf"), error_if_nonfinite=False
        )
        done.step += 1
        floats = {name: float(value.detach()) for name, value in values.items()}
        if not norm.isfinite():
            self._skip()
            return floats
        self.optimizer.step()
        done.in_a_row = 0
        for name, value in floats.items():
            done.sums[name] = done.sums.get(name, 0.0) + value * len(batch)
        done.sums["samples"] = done.sums.get("samples", 0.0) + len(batch)
        return floats

    def _skip(self) -> None:
        """Pass over an iteration whose gradient is not finite, unless there are too many of them."""
        self.done.skipped += 1
        self.done.in_a_row += 1
        if self.done.in_a_row >= MOST_SKIPPED:
            raise FusionkitError(
                f"{self.recipe.name}: the gradient is not finite in {MOST_SKIPPED} iterations up to {self.done.step}; "
                "lower lr or set clip"
            )

    def _close_epoch(self) -> None:
        """Turn the sums of an epoch into a row of the loss curve."""
        samples = self.done.sums.pop("samples", 0.0)
        row = {name: value / samples for name, value in self.done.sums.items()}
        self.done.curve.append({"epoch": self.done.epoch + 1, "lr": self.optimizer.param_groups[0]["lr"], **row})
        self.done.sums = {}
        self.done.epoch += 1

    def save(self) -> None:
        """Write a checkpoint that replaces the last one when it is complete."""
        if not self.fabric.is_global_zero:
            return
        state = {
            "config": config_hash(self.recipe.to_dict()),
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": vars(self.done),
        }
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Go back to the last checkpoint, if there is one.

        Raises:
            FusionkitError: It belongs to another recipe.
        """
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if state["config"] != config_hash(self.recipe.to_dict()):
            raise FusionkitError(f"{self.checkpoint} belongs to another recipe; remove it to start anew")
        self.bare.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = Progress(**state["done"])

    def finish(self, target: Path) -> None:
        """Write loss curve, card and, last, the weights; remove the checkpoint."""
        curve = pd.DataFrame(self.done.curve)
        write_text(target.with_suffix(".csv"), curve.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        write_json(target.with_suffix(".json"), self._card(self.bare, curve))
        save_weights(target, self.bare, self.recipe.model, dict(self.recipe.options))
        self.checkpoint.unlink(missing_ok=True)

    def _card(self, model: nn.Module, curve: pd.DataFrame) -> dict[str, Any]:
        return {
            "recipe": self.recipe.to_dict(),
            "config_hash": config_hash(self.recipe.to_dict()),
            "code": self.code,
            "data": {item: dataset_hash(*item.split("/")) for item in self.recipe.data},
            "pairs": len(self.patches),
            **({"init_sha256": weights_hash(self.recipe.model, str(self.start))} if self.start else {}),
            "steps": self.done.step,
            "skipped": self.done.skipped,
            "processes": self.fabric.world_size,
            "seconds": round(self.done.seconds, 1),
            "parameters": sum(p.numel() for p in model.parameters()),
            **self.loss.provenance(),
            "last_epoch": {name: float(f"{value:.6g}") for name, value in curve.iloc[-1].items()},
            **environment(str(self.fabric.device)),
        }


def _start(recipe: Recipe, folder: Path, workers: int) -> Path | None:
    """Return the file of the weights that a run starts from, trained now if it is nowhere; None for a random start."""
    if not recipe.init:
        return None
    known = list_weights(recipe.model)
    return known.get(recipe.init) or train(load_recipe(f"{recipe.paper}/{recipe.init}"), folder, workers)


def _load_start(model: nn.Module, start: Path, recipe: Recipe) -> None:
    """Give a model the weights that its recipe starts from."""
    try:
        model.load_state_dict(load_model(recipe.model, start).state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FusionkitError(
            f"{recipe.name}: {recipe.init} does not fit the options of the recipe ({reason})"
        ) from error
