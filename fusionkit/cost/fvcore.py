"""Operations as fvcore's ``FlopCountAnalysis`` counts them; fvcore itself is not needed.

fvcore has a formula for some operators of torch, as Python calls them, before torch takes them apart: a whole einsum
or normalisation, not the steps in it. In inference mode a dispatch mode sees the same operators. All others are
missed: the scan, activations, softmax, sums, means and other element-wise arithmetic, fused attention
(``scaled_dot_product_attention``), ``baddbmm`` and products of a matrix and a vector by ``mv``, pooling except
``adaptive_avg_pool2d``, resizing except 2-D nearest and bilinear, ``rms_norm``. Of recurrent cells (``GRUCell``),
fvcore sees the linear layers inside; this module does not.

Source: fvcore 0.1.5, ``flop_count.py`` and ``jit_handles.py``; compared with it operator by operator in the tests.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
Rule = Callable[[tuple[Any, ...], Tensor], int]


def count_fvcore(_model: nn.Module, forward: Callable[[], Any]) -> int:
    """Add up fvcore's formulas over the operators of one run.

    Args:
        forward: Runs the network once.
    """
    with torch.inference_mode(), _Counter() as counter:
        forward()
    return counter.total


class _Counter(TorchDispatchMode):
    """Sum of the rules over the operators that run inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        rule = _RULES.get(func.overloadpacket)
        if rule:
            self.total += rule(args, output)
        return output


def _convolution(args: tuple[Any, ...], y: Tensor) -> int:
    weight = args[1]
    return y.numel() // weight.shape[0] * weight.numel()


def _transposed_convolution(args: tuple[Any, ...], y: Tensor) -> int:
    x, weight = args[:2]
    return x.numel() // weight.shape[0] * weight.numel()


def _linear(args: tuple[Any, ...], y: Tensor) -> int:
    return args[0].numel() * args[1].shape[0]


def _product(args: tuple[Any, ...], y: Tensor) -> int:
    """Count too few, as fvcore does, where the first factor is broadcast over a batch of the second.

    fvcore fails where the second is a vector; the count is right there.
    """
    first, second = args[-2:]
    return first.numel() * (second.shape[-1] if second.ndim > 1 else 1)


def _einsum(args: tuple[Any, ...], y: Tensor) -> int:
    """Return half the operations of the path that numpy finds, to numpy's four digits.

    This is half a multiplication per element where nothing is summed over; torch's own counter has none there.
    fvcore gives all digits for two equations, those of a batched matrix product.
    """
    equation, operands = args[:2]
    shapes = [np.broadcast_to(np.float32(0), tuple(operand.shape)) for operand in operands]
    report = np.einsum_path(equation, *shapes, optimize="optimal")[1]
    return int(float(re.search(r"Optimized FLOP count: *(\S+)", report)[1])) // 2


def _norm(weight: int) -> Rule:
    """Return the rule of a norm that computes its statistics, and has its weight at this place."""
    return lambda args, y: y.numel() * (5 if _has(args, weight) else 4)


def _batch_norm(args: tuple[Any, ...], y: Tensor) -> int:
    """Count one or two per element, unless the statistics are those of the batch."""
    uses_batch = args[5]
    return _norm(1)(args, y) if uses_batch else y.numel() * (2 if _has(args, 1) else 1)


def _has(args: tuple[Any, ...], place: int) -> bool:
    return len(args) > place and args[place] is not None


_RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.conv1d, aten.conv2d, aten.conv3d), _convolution),
    **dict.fromkeys((aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d), _transposed_convolution),
    **dict.fromkeys((aten.matmul, aten.mm, aten.bmm, aten.addmm), _product),
    aten.linear: _linear,
    aten.einsum: _einsum,
    aten.batch_norm: _batch_norm,
    aten.instance_norm: _norm(1),
    **dict.fromkeys((aten.layer_norm, aten.group_norm), _norm(2)),
    aten.upsample_nearest2d: lambda args, y: y.numel(),
    **dict.fromkeys((aten.upsample_bilinear2d, aten.grid_sampler), lambda args, y: 4 * y.numel()),
    aten.adaptive_avg_pool2d: lambda args, y: args[0].numel(),
}
