"""Parameters and operations of a fusion network, under each convention that papers call "FLOPs".

Four conventions give four numbers for one network, so they are data here (``CONVENTIONS``), each with a
sentence that a report can print. Networks run on tensors that have shapes but no values, where they can.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.cost.probe import check, check_model, device_of, evaluating, example_pair
from fusionkit.errors import unknown


@dataclass(frozen=True)
class Convention:
    """One way of counting operations.

    Attributes:
        statement: What is counted, in one sentence.
        count: The number of operations of one inference, from a model and a size ``(H, W)``.
    """

    statement: str
    count: Callable[[nn.Module, tuple[int, int]], float]


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
    return CONVENTIONS[convention].count(model, size) / 1e9


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
    return sum(_torch_flops(model, check(model, size)))


def _torch_flops(model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Return the flops of torch's own operators and those of custom operators."""
    with _shape_forward(model, size) as forward, FlopCounterMode(display=False) as counter:
        forward()
    counts = counter.get_flop_counts().get("Global", {})
    native = sum(count for operator, count in counts.items() if str(operator).startswith("aten."))
    return native, sum(counts.values()) - native


def _macs(model: nn.Module, size: tuple[int, int]) -> float:
    return sum(_torch_flops(model, size)) / 2


def _vmamba(model: nn.Module, size: tuple[int, int]) -> float:
    native, custom = _torch_flops(model, size)
    return native / 2 + custom


def _thop(model: nn.Module, size: tuple[int, int]) -> int:
    counts: list[int] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(_THOP_LAYERS[type(layer)](layer, inputs[0], output))

    with _shape_forward(model, size) as forward, ExitStack() as hooks:
        for layer in model.modules():
            if type(layer) in _THOP_LAYERS:
                hooks.callback(layer.register_forward_hook(hook).remove)
        forward()
    return sum(counts)


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


def _thop_convolution(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    # Every output element costs a whole kernel, also in a transposed convolution, where this is too much.
    return y.numel() * (x.shape[1] // layer.groups) * math.prod(layer.weight.shape[2:])


def _thop_linear(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel() * layer.in_features


def _thop_norm(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
    return x.numel() * (4 if affine else 2)


def _thop_softmax(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    features = x.shape[layer.dim]
    return x.numel() // features * (3 * features - 1)


def _thop_adaptive_mean(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return int((math.prod(x.shape[2:]) / math.prod(y.shape[2:]) + 1) * y.numel())


def _thop_per_element(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel()


def _thop_upsample(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel() * {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}.get(layer.mode, 0)


_THOP_LAYERS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], int]] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _thop_convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _thop_convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm), _thop_norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _thop_norm),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.PReLU), _thop_per_element),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _thop_adaptive_mean),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d), _thop_upsample),
    nn.Linear: _thop_linear,
    nn.Softmax: _thop_softmax,
}

CONVENTIONS = {
    "macs": Convention(
        "multiply-adds of convolutions, linear layers and matrix products; half the registered flops of "
        "custom operators such as the scan; biases, norms and element-wise operations not counted",
        _macs,
    ),
    "flops": Convention("twice the macs: two operations per multiply-add, as torch.utils.flop_counter counts", flops),
    "thop": Convention(
        "as the tool thop counts: one per multiply-add, four per element of an affine norm, nothing for "
        "ReLU, sigmoid and tensor arithmetic; what is no standard layer (functional calls, scan) is missed",
        _thop,
    ),
    "vmamba": Convention(
        "as papers on selective scans count: one per multiply-add, but every operation of the scan in full",
        _vmamba,
    ),
}
