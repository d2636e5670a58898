"""Rules on pairs of numpy images as models, and what they share: how large coefficients win."""

import abc

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Image = NDArray[np.float64]


class PairwiseRule(nn.Module, abc.ABC):
    """A rule without parameters that fuses one pair at a time, in float64."""

    @abc.abstractmethod
    def fuse(self, a: Image, b: Image) -> Image:
        """Fuse two images (H, W) in [0, 1]; the result may leave that range."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse (B, 1, H, W) images in [0, 1] to one of the same shape and range; no gradient."""
        pairs = zip(*(x.detach().cpu().double().numpy()[:, 0] for x in (a, b)), strict=True)
        fused = np.stack([self.fuse(*pair) for pair in pairs])[:, None]
        return torch.from_numpy(fused).clamp(0, 1).to(a)


def stronger(a: Image, b: Image) -> Image:
    """Return at each place the coefficient that is larger without its sign, the first where both are equal."""
    return np.where(np.abs(b) > np.abs(a), b, a)
