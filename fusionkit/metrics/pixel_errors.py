"""Pixelwise distance of the fused image to its sources: mean squared error, its root, peak signal-to-noise ratio.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fusionkit.metrics.metric import Metric, Variant


def _squares(fused: Tensor, source: Tensor) -> Tensor:
    return (fused - source).square()


def _mean_squared_error(fused: Tensor, a: Tensor, b: Tensor, scale: float = 1.0, wrap: bool = False) -> Tensor:
    """Mean over both sources of the mean squared difference.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        scale: Factor on the grey levels.
        wrap: Squares in uint8 arithmetic; wrapped differences have the same squares modulo 256.
    """
    parts = (_squares(fused, source) for source in (a, b))
    means = [(torch.remainder(part, 256) if wrap else part).mean(dim=(-2, -1)) for part in parts]
    return (means[0] + means[1]) / 2 * scale**2


def _root_error(fused: Tensor, a: Tensor, b: Tensor, divide_last: bool = False) -> Tensor:
    """Mean over both sources of the root of the mean squared difference.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        divide_last: Divide by H W after the root instead of before it.
    """
    n_pixels = fused.shape[-2] * fused.shape[-1]
    roots = [_squares(fused, source).sum(dim=(-2, -1)).sqrt() for source in (a, b)]
    return (roots[0] + roots[1]) / 2 / (n_pixels if divide_last else n_pixels**0.5)


def _peak_ratio(
    fused: Tensor,
    a: Tensor,
    b: Tensor,
    error: Callable[..., Tensor] = _mean_squared_error,
    own_peak: bool = False,
    wrap: bool = False,
) -> Tensor:
    """10 log10(peak^2 / error), in dB.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        error: Kernel of the error.
        own_peak: The peak is the largest level of the fused image instead of 255.
        wrap: The squared peak in uint8 arithmetic.
    """
    peak = fused.amax(dim=(-2, -1)) if own_peak else torch.full_like(fused[..., 0, 0], 255)
    power = torch.remainder(peak.square(), 256) if wrap else peak.square()
    return 10 * torch.log10(power / error(fused, a, b))


_UNIT = Variant("[0, 1] squared", "0 to 1", "grey levels scaled to [0, 1]", {"scale": 1 / 255})
_LEVELS = Variant("grey levels squared", "0 to 65025")
mse = Metric(
    name="mse",
    full_name="mean squared error, mean over both sources",
    source="textbook statistic",
    better="lower",
    needs="fused, a, b",
    edge_cases="0 where both sources equal the fused image",
    kernel=_mean_squared_error,
    variants={
        "tang": _UNIT,
        "tang2022": _UNIT,
        "cddfuse": _LEVELS,
        "cddfuse-uint8": Variant("none", "0 to 255", "squares modulo 256", {"wrap": True}),
        "reference": _LEVELS,
    },
)

rmse = Metric(
    name="rmse",
    full_name="root mean squared error, mean over both sources",
    source="textbook statistic; for fusion Jagalingam and Hegde 2015, Aquatic Procedia 4",
    better="lower",
    needs="fused, a, b",
    edge_cases="0 where both sources equal the fused image",
    kernel=_root_error,
    variants={
        "vifb": Variant(
            "grey levels over root of pixels",
            "0 to 255/sqrt(H W)",
            "divided by H W after the root instead of before it, so it shrinks with the size of the image",
            {"divide_last": True},
        ),
        "reference": Variant("grey levels", "0 to 255"),
    },
)

_SHIFTED = Variant(
    "dB",
    "48.13 upwards",
    "peak 255 against the error on [0, 1]: 48.13 dB more than the reference",
    {"error": partial(_mean_squared_error, scale=1 / 255)},
)
psnr = Metric(
    name="psnr",
    full_name="peak signal-to-noise ratio",
    source="textbook statistic; for fusion Jagalingam and Hegde 2015, Aquatic Procedia 4",
    better="higher",
    needs="fused, a, b",
    edge_cases="infinite where both sources equal the fused image; cddfuse and cddfuse-uint8: -infinite where the "
    "squared peak is 0, NaN where the error is 0 as well",
    kernel=_peak_ratio,
    variants={
        "tang": _SHIFTED,
        "tang2022": _SHIFTED,
        "vifb": Variant(
            "dB",
            "24.07 upwards",
            "peak 255 squared over the convention's rmse, which is not squared",
            {"error": partial(_root_error, divide_last=True)},
        ),
        "cddfuse": Variant(
            "dB", "any", "the peak is the largest level of the fused image instead of 255", {"own_peak": True}
        ),
        "cddfuse-uint8": Variant(
            "dB",
            "any",
            "squares and squared peak modulo 256: 255 squared becomes 1; -infinite where the largest level of the "
            "fused image is a multiple of 16",
            {"error": partial(_mean_squared_error, wrap=True), "own_peak": True, "wrap": True},
        ),
        "reference": Variant("dB", "0 upwards"),
    },
)

METRICS = (mse, rmse, psnr)
