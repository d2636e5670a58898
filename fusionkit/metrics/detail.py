"""Detail that the fused image keeps: spatial frequency against the sources' strongest, Haar coefficients.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from collections.abc import Iterator

from torch import Tensor

from fusionkit.metrics.metric import Metric, Variant

_DIAGONAL_WEIGHT = math.sqrt(0.5)
_SCALE_EXPONENTS = (2 / 3, 1 / 3)


def _steps(levels: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Yield weight and differences to the neighbour in the row, the column and on the two diagonals."""
    yield 1.0, levels.diff(dim=-1)
    yield 1.0, levels.diff(dim=-2)
    yield _DIAGONAL_WEIGHT, levels[..., 1:, 1:] - levels[..., :-1, :-1]
    yield _DIAGONAL_WEIGHT, levels[..., 1:, :-1] - levels[..., :-1, 1:]


def _spatial_frequency_error(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(S_F - S_R) / S_R, where S_R takes at each difference the stronger source.

    S is the root of the weighted sum of squared differences; the common divisor H W cancels.
    """
    found, reference = 0.0, 0.0
    for (weight, step), (_, step_a), (_, step_b) in zip(_steps(fused), _steps(a), _steps(b), strict=True):
        found = found + weight * step.square().sum(dim=(-2, -1))
        reference = reference + weight * step_a.abs().maximum(step_b.abs()).square().sum(dim=(-2, -1))
    return (found.sqrt() - reference.sqrt()) / reference.sqrt()


def _haar(levels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Split into the orthonormal Haar mean and three details; an odd last row or column is left out."""
    height, width = (size // 2 * 2 for size in levels.shape[-2:])
    rows = levels[..., 0:height:2, :width], levels[..., 1:height:2, :width]
    mean, vertical = rows[0] + rows[1], rows[0] - rows[1]
    left, right = slice(0, None, 2), slice(1, None, 2)
    details = [
        mean[..., left] - mean[..., right],
        vertical[..., left] + vertical[..., right],
        vertical[..., left] - vertical[..., right],
    ]
    return (mean[..., left] + mean[..., right]) / 2, [detail / 2 for detail in details]


def _multiscale(fused: Tensor, a: Tensor, b: Tensor, scale: float = 1 / 3) -> Tensor:
    """Product over two Haar levels of the weighted mean of exp(-|c_S - c_F|), to the powers 2/3 and 1/3.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        scale: Factor on the sum over the three orientations.
    """
    product = 1.0
    for exponent in _SCALE_EXPONENTS:
        (fused, kept), (a, details_a), (b, details_b) = _haar(fused), _haar(a), _haar(b)
        found, total = 0.0, 0.0
        for details in (details_a, details_b):
            preserved = sum((d - f).abs_().neg_().exp_() for d, f in zip(details, kept, strict=True))
            weight = sum(d.square() for d in details)
            found = found + (preserved * weight).sum(dim=(-2, -1))
            total = total + weight.sum(dim=(-2, -1))
        product = product * (found / total * scale) ** exponent
    return product


_RATIO = Variant("none", "-1 upwards", "above 0: more detail than the stronger source at each pixel, such as noise")
q_sf = Metric(
    name="q_sf",
    full_name="Q_SF, ratio of spatial frequency error",
    source="Zheng, Essock, Hansen and Haun 2007, Information Fusion 8(2)",
    better="zero",
    needs="fused, a, b",
    edge_cases="0 for identical images; -1 for a constant fused image; infinite if both sources are constant, "
    "NaN if all three are",
    kernel=_spatial_frequency_error,
    variants={"liu": _RATIO, "reference": _RATIO},
    min_side=2,
)

q_m = Metric(
    name="q_m",
    full_name="Q_M, edge preservation in a multi-scale (Haar) decomposition",
    source="Wang and Liu 2008, Proc. 9th Int. Conf. Signal Processing",
    better="higher",
    needs="fused, a, b",
    edge_cases="largest value for identical images; NaN if the sources have no detail at one of the two levels",
    kernel=_multiscale,
    variants={
        "liu": Variant("none", "0 to 3", "the orientations are added instead of averaged", {"scale": 1.0}),
        "reference": Variant("none", "0 to 1", "two levels and the powers 2/3 and 1/3 as in Liu's code"),
    },
    min_side=4,
)

METRICS = (q_sf, q_m)
