"""Parameters and operations of a fusion network, under each convention that papers call "FLOPs".

Five conventions give five numbers for one network, so they are data here (``CONVENTIONS``), each with a
sentence that a report can print. Networks run on tensors that have shapes but no values, where they can.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.cost.fvcore import count_fvcore
from fusionkit.cost.probe import check, check_model, device_of, evaluating, example_pair
from fusionkit.cost.thop import count_thop
from fusionkit.errors import unknown


@dataclass(frozen=True)
class Convention:
    """One way of counting operations.

    Attributes:
        statement: What is counted, in one sentence.
        count: The number of operations of one inference, from the model and a function that runs it once.
    """

    statement: str
    count: Callable[[nn.Module, Callable[[], Any]], float]


def parameters(model: nn.Module) -> int:
    """Count the parameters of a model: every one once, frozen ones too, buffers such as running means not.

    Args:
        model: Any module.

    Raises:
        FusionkitError: ``model`` is no module.
    """
    check_model(model)
    return sum(parameter.numel() for parameter in model.parameters())


def gmacs(model: nn.Module, size: Sequence[int], convention: str = "macs") -> float:
    """Count the operations of fusing one pair, in units of 10^9.

    Args:
        model: Two-input network, ``forward(a, b)`` with images of shape (1, 1, H, W).
        size: Height and width in pixels, each at least 16.
        convention: A key of ``CONVENTIONS``; its statement says what the number means.

    Raises:
        FusionkitError: The model, the size or the convention is not usable.
    """
    size = check(model, size)
    if convention not in CONVENTIONS:
        raise unknown("cost convention", convention, CONVENTIONS)
    with _shape_forward(model, size) as forward:
        return CONVENTIONS[convention].count(model, forward) / 1e9


def flops(model: nn.Module, size: Sequence[int]) -> int:
    """Count the floating-point operations of fusing one pair, as ``torch.utils.flop_counter`` does.

    Args:
        model: Two-input network, ``forward(a, b)`` with images of shape (1, 1, H, W).
        size: Height and width in pixels, each at least 16.

    Returns:
        Two per multiply-add of convolutions and matrix products, plus what ``register_flop_formula`` gives
        for custom operators such as the selective scan; biases and element-wise operations are free.

    Raises:
        FusionkitError: The model or the size is not usable.
    """
    with _shape_forward(model, check(model, size)) as forward:
        return _count_flops(model, forward)


def _torch_flops(forward: Callable[[], Any]) -> tuple[int, int]:
    """Return the flops of torch's own operators and those of custom operators."""
    with FlopCounterMode(display=False) as counter:
        forward()
    counts = counter.get_flop_counts().get("Global", {})
    native = sum(count for operator, count in counts.items() if str(operator).startswith("aten."))
    return native, sum(counts.values()) - native


def _count_flops(_model: nn.Module, forward: Callable[[], Any]) -> int:
    return sum(_torch_flops(forward))


def _count_macs(_model: nn.Module, forward: Callable[[], Any]) -> float:
    return sum(_torch_flops(forward)) / 2


def _count_true(_model: nn.Module, forward: Callable[[], Any]) -> float:
    """Halve what is counted as two per multiply-add; the formula of the scan counts operations as they are."""
    native, custom = _torch_flops(forward)
    return native / 2 + custom


@contextmanager
def _shape_forward(model: nn.Module, size: tuple[int, int]) -> Iterator[Callable[[], Any]]:
    """Yield a function that runs the model once, on meta tensors unless the model needs values.

    Fused attention is switched off: torch's counter sees nothing inside the fused CPU kernels.
    """
    tensors = dict(chain(model.named_parameters(), model.named_buffers()))
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    on_meta = partial(functional_call, model, shapes, example_pair(size, "meta"))
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        for context in (torch.no_grad(), evaluating(model), sdpa_kernel(SDPBackend.MATH)):
            stack.enter_context(context)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        try:
            on_meta()
        except Exception:  # whatever is really wrong with the model, the run on values raises again
            yield partial(model, *example_pair(size, device_of(model)))
        else:
            yield on_meta


CONVENTIONS = {
    "macs": Convention(
        "multiply-adds of convolutions, linear layers and matrix products; half the registered flops of "
        "custom operators such as the scan; biases, norms and element-wise operations not counted",
        _count_macs,
    ),
    "flops": Convention(
        "twice the macs: two operations per multiply-add, as torch.utils.flop_counter counts", _count_flops
    ),
    "thop": Convention(
        "as the tool thop counts: one per multiply-add, four per element of an affine norm, nothing for "
        "ReLU, sigmoid and tensor arithmetic; what is no standard layer (functional calls, scan) is missed",
        count_thop,
    ),
    "fvcore": Convention(
        "as the tool fvcore counts: one per multiply-add, functional calls and einsum too; per element two for an "
        "affine batch norm, five for other affine norms, four for bilinear resizing, one for adaptive pooling; "
        "activations, element-wise arithmetic, fused attention and the scan are missed",
        count_fvcore,
    ),
    "true": Convention(
        "one per multiply-add of convolutions, linear layers and matrix products, and every registered operation of "
        "custom operators, for the scan all 9 B L D N; papers on scans (VMamba) count this way; biases, norms and "
        "element-wise operations not counted",
        _count_true,
    ),
}
