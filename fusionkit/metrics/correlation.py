"""Linear correlation of the fused image with its sources.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import torch
from torch import Tensor

from fusionkit.metrics.metric import Metric, Variant


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation over the pixels; NaN where an image is constant."""
    # Sums of whole numbers are exact, so a constant image centres to exact zeros and gives 0/0.
    x, y = (z - z.sum(dim=(-2, -1), keepdim=True) / (z.shape[-2] * z.shape[-1]) for z in (x, y))
    products = [(p * q).sum(dim=(-2, -1)) for p, q in ((x, y), (x, x), (y, y))]
    return products[0] / (products[1] * products[2]).sqrt()


def _correlation_coefficient(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (_pearson(a, fused) + _pearson(b, fused)) / 2


def _sum_of_correlations(fused: Tensor, a: Tensor, b: Tensor, wrap: bool = False) -> Tensor:
    """r(F - B, A) + r(F - A, B); with wrap the differences are those of uint8 arithmetic."""
    without_b, without_a = fused - b, fused - a
    if wrap:
        without_b, without_a = (torch.remainder(difference, 256) for difference in (without_b, without_a))
    return _pearson(without_b, a) + _pearson(without_a, b)


_CC = Variant("none", "-1 to 1")
cc = Metric(
    name="cc",
    full_name="correlation coefficient",
    source="Pearson 1895; for fusion Deshmukh and Bhosale 2010, Int. J. Image Processing 4(5)",
    better="higher",
    needs="fused, a, b",
    edge_cases="NaN if any image is constant",
    kernel=_correlation_coefficient,
    variants={name: _CC for name in ("tang", "tang2022", "cddfuse", "cddfuse-uint8", "reference")},
)

_SCD = Variant("none", "-2 to 2")
scd = Metric(
    name="scd",
    full_name="sum of the correlations of differences",
    source="Aslantas and Bendes 2015, AEU Int. J. Electronics and Communications 69(12)",
    better="higher",
    needs="fused, a, b",
    edge_cases="NaN if a source is constant or fused plus an offset; -2 r(a, b) if fused is constant",
    kernel=_sum_of_correlations,
    variants={
        **{name: _SCD for name in ("tang", "tang2022", "cddfuse", "rfn", "reference")},
        "cddfuse-uint8": Variant("none", "-2 to 2", "differences modulo 256", {"wrap": True}),
    },
)

METRICS = (scd, cc)
