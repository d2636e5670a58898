"""How sharp the fused image should be: terms on Sobel magnitudes."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.metrics.filters import sobel


def sobel_magnitude(image: Tensor) -> Tensor:
    """Return ``|Gx| + |Gy|`` of the 3x3 Sobel operator with zero padding, shape of ``image``."""
    gx, gy = sobel(image, "zero")
    return gx.abs() + gy.abs()


def gradient_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference of Sobel magnitudes to their maximum (LightFusionNet, eq. 2).

    FusionMamba's eq. 10 is the same but for a missing modulus on the fused image, which its code has.
    """
    target = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    return F.l1_loss(sobel_magnitude(fused), target)
