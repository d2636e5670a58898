"""What every measurement of cost shares: checked arguments, example images, a model in evaluation mode."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from fusionkit.errors import FusionkitError

SMALLEST = 16


def check(model: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Return ``size`` as ``(H, W)`` once the model and the size are known to be usable.

    Args:
        model: The module to be measured.
        size: Height and width in pixels, each an integer of at least 16.

    Raises:
        FusionkitError: ``model`` is no module, or ``size`` is not two such integers.
    """
    check_model(model)
    usable = isinstance(size, Sequence) and len(size) == 2 and all(type(side) is int for side in size)
    if not usable or min(size) < SMALLEST:
        raise FusionkitError(f"size {size!r} is not a height and a width of at least {SMALLEST} pixels; try (256, 256)")
    return size[0], size[1]


def check_model(model: nn.Module) -> None:
    """Refuse what is no module.

    Raises:
        FusionkitError: ``model`` is no ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise FusionkitError(f"cannot measure the cost of {model!r}; pass a torch.nn.Module, as create_model returns")


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's parameters and buffers lie, the CPU for a model that has none."""
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def example_pair(size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Return two different random images of shape (1, 1, H, W) in [0, 1), the same at every call."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 1, *size, generator=generator)
    return a.to(device), b.to(device)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode for the block, then give every submodule its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def using_threads(threads: int | None) -> Iterator[int]:
    """Let torch use ``threads`` CPU threads inside the block (None: as many as now); yield their number.

    Raises:
        FusionkitError: ``threads`` is less than one.
    """
    before = torch.get_num_threads()
    if threads is not None and threads < 1:
        raise FusionkitError(f"threads = {threads} is not possible; pass 1 or more")
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
