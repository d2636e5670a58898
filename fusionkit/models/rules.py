"""The two trivial fusion rules, as models without parameters: every network has to beat them."""

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """Pixelwise mean of the two images."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse (B, 1, H, W) images in [0, 1] to one of the same shape and range."""
        return (a + b) / 2


class Maximum(nn.Module):
    """Pixelwise maximum of the two images."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse (B, 1, H, W) images in [0, 1] to one of the same shape and range."""
        return torch.maximum(a, b)
