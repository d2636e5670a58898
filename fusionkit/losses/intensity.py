"""How bright the fused image should be: terms against the pixelwise maximum."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def intensity_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference to the pixelwise maximum (LightFusionNet, eq. 1)."""
    return F.l1_loss(fused, torch.maximum(a, b))


def intensity_max_squared(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference to the pixelwise maximum.

    Source: FusionMamba, eq. 11, which prints a norm divided by the number of pixels; the authors' code has the mean
    square.
    """
    return F.mse_loss(fused, torch.maximum(a, b))
