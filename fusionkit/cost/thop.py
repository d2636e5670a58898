"""Operations as the tool thop counts them, which most tables print; thop itself is not needed.

thop knows layers, not operators: it adds up a formula per standard layer that is called. Functional calls, a layer's
subclasses, tensor arithmetic and the scan are missed.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn


def count_thop(model: nn.Module, forward: Callable[[], Any]) -> int:
    """Add up thop's formulas over the layers that one run calls.

    Args:
        model: The network whose layers are watched.
        forward: Runs the network once.
    """
    counts: list[int] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(_LAYERS[type(layer)](layer, inputs[0], output))

    with ExitStack() as hooks:
        for layer in model.modules():
            if type(layer) in _LAYERS:
                hooks.callback(layer.register_forward_hook(hook).remove)
        forward()
    return sum(counts)


def _convolution(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    # Every output element costs a whole kernel, also in a transposed convolution, where this is too much.
    return y.numel() * (x.shape[1] // layer.groups) * math.prod(layer.weight.shape[2:])


def _linear(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel() * layer.in_features


def _norm(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
    return x.numel() * (4 if affine else 2)


def _softmax(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    features = x.shape[layer.dim]
    return x.numel() // features * (3 * features - 1)


def _adaptive_mean(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return int((math.prod(x.shape[2:]) / math.prod(y.shape[2:]) + 1) * y.numel())


def _per_element(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel()


def _upsample(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel() * {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}.get(layer.mode, 0)


_LAYERS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], int]] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm), _norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _norm),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.PReLU), _per_element),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive_mean),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d), _upsample),
    nn.Linear: _linear,
    nn.Softmax: _softmax,
}
