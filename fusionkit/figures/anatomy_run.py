"""One run of a network on one pair, with what went in and came out of each of its modules."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.data import Pair
from fusionkit.measure import load_method
from fusionkit.models.fresh import fresh_model
from fusionkit.weights import list_weights

Maps = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module: what went in and what came out, tensors of a whole batch."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a network on one pair.

    Attributes:
        title: What the network is called in pictures.
        model: The network.
        pair: The pair.
        calls: The calls of each module, by its path in the module tree.
        fused: The fused image, (H, W) in [0, 1].
    """

    title: str
    model: nn.Module
    pair: Pair
    calls: dict[str, list[Call]]
    fused: np.ndarray

    def inputs(self, path: str) -> tuple[Tensor, ...]:
        """Return what went into the first call of a module."""
        return self.calls[path][0].inputs

    def output(self, path: str, call: int = 0) -> Tensor:
        """Return what came out of a call of a module."""
        return self.calls[path][call].outputs[0]


def trained_or_fresh(method: str, title: str, **options: Any) -> tuple[nn.Module, str, str]:
    """Return a trained network, what to call it, and which weights it has; where they are not here, a fresh one.

    Args:
        method: Method id, ``<model>:<weights>``.
        title: What to call the network in pictures; a fresh one is called untrained, too.
        **options: Of the fresh one.
    """
    name, _, weights = method.partition(":")
    if weights in list_weights(name):
        return load_method(method), title, method
    note = f"fresh values, since there are no weights of {method} here; only the wiring is of interest"
    return fresh_model(name, **options), f"{title}, untrained", note


def watch(model: nn.Module, pair: Pair, title: str = "") -> Run:
    """Fuse a pair and keep the inputs and outputs of every module.

    Args:
        model: A fusion network; it runs in the precision of its weights.
        pair: A loaded pair.
        title: What to call the network in pictures.
    """
    calls: dict[str, list[Call]] = defaultdict(list)
    handles = [part.register_forward_hook(_keep(calls[path])) for path, part in model.named_modules() if path]
    try:
        with torch.inference_mode():
            fused = model(*(image[None].to(next(model.parameters())) for image in (pair.a, pair.b)))
    finally:
        for handle in handles:
            handle.remove()
    return Run(title, model, pair, dict(calls), fused[0, 0].numpy())


def _keep(calls: list[Call]) -> Callable[..., None]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        calls.append(Call(inputs, output if isinstance(output, tuple) else (output,)))

    return hook


def telling_channels(maps: np.ndarray) -> np.ndarray:
    """Return the channels of maps (C, H, W) by falling variance over the places."""
    return np.argsort(-maps.var((1, 2)), kind="stable")


def channel_correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the correlation over the places of each channel of two stacks of maps, (C,); nan where one is constant.

    Args:
        one: Maps (C, H, W).
        other: As many, or one (1, H, W) for all.
    """
    one, other = (x.reshape(len(x), -1) - x.mean((1, 2))[:, None] for x in (one, other))
    scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return (one * other).sum(1) / np.where(scale > 0, scale, np.nan)
