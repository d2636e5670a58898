"""Information that the fused image shares with its sources: mutual information.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math

from torch import Tensor

from fusionkit.metrics.histograms import entropy, histogram, joint_histogram
from fusionkit.metrics.metric import Metric, Variant


def _mutual_information(fused: Tensor, a: Tensor, b: Tensor, base: float = 2.0, joint_top: int = 255) -> Tensor:
    """I(A, F) + I(B, F), each H(X) + H(F) - H(X, F).

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        base: Base of the logarithm.
        joint_top: Levels above this one share its bin in the joint histogram.
    """
    h_fused, total = entropy(histogram(fused), base), 0.0
    for source in (a, b):
        joint = joint_histogram(source.clamp(max=joint_top), fused.clamp(max=joint_top))
        total = total + entropy(histogram(source), base) + h_fused - entropy(joint, base)
    return total


_SATURATED = Variant(
    "bit",
    "0 to 16.02",
    "levels 254 and 255 share a bin of the joint histogram, so saturated images score higher",
    {"joint_top": 254},
)
_NATS = Variant("nat", "0 to 11.1", "natural logarithm", {"base": math.e})
mi = Metric(
    name="mi",
    full_name="mutual information",
    source="Qu, Zhang and Yan 2002, Electronics Letters 38(7)",
    better="higher",
    needs="fused, a, b",
    edge_cases="0 for a constant fused image (tang: slightly above 0 where levels 254 and 255 both occur)",
    kernel=_mutual_information,
    variants={
        "tang": _SATURATED,
        "tang2022": _SATURATED,
        "vifb": _NATS,
        "cddfuse": _NATS,
        "cddfuse-uint8": _NATS,
        "reference": Variant("bit", "0 to 16"),
    },
)

METRICS = (mi,)
