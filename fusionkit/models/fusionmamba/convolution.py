"""Learnable descriptive convolution and the two channel attentions. Maps are (B, C, H, W) here, channels first."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.fusionmamba.config import SQUEEZE


class DescriptiveConvolution(nn.Module):
    """LDC: a 3x3 convolution whose centre tap is scaled by what its nine taps add up to.

    The centre becomes ``w_c (1 - theta * mask * sum of taps)``: a product, not the difference of a central
    difference convolution. ``theta`` is one learnable number, the mask one per pair of channels.

    Args:
        channels: Channels C.
        stored_ones: Keep the constant mask of ones that the authors' code stores, frozen, in its state.

    Source: FusionMamba, section 3.3 and Fig. 2(f); the formula is that of the authors' code, the paper has none.
    """

    def __init__(self, channels: int, stored_ones: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.learnable_mask = nn.Parameter(torch.ones(channels, channels))
        self.learnable_theta = nn.Parameter(torch.tensor([0.5]))
        if stored_ones:
            self.base_mask = nn.Parameter(torch.ones_like(self.conv.weight), requires_grad=False)

    def kernel(self) -> Tensor:
        """Return the kernel that is applied, (C, C, 3, 3)."""
        weight = self.conv.weight
        weaker = 1 - self.learnable_theta * self.learnable_mask * weight.sum((2, 3))
        centre = F.pad(weaker[..., None, None] - 1, (1, 1, 1, 1)) + 1
        return weight * centre

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W) with zero padding."""
        return F.conv2d(x, self.kernel(), padding=1)


class EfficientChannelAttention(nn.Module):
    """ECA: scale each channel by a sigmoid of the means of itself and its two neighbours.

    Source: FusionMamba, section 3.3 and Fig. 2(g); the kernel of 3 is that of the authors' code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each channel, (B, C, 1, 1), in (0, 1)."""
        return torch.sigmoid(self.conv(self.pool(x).flatten(2).mT)).mT[..., None]

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W)."""
        return x * self.weights(x)


class SqueezeExcitation(nn.Module):
    """Scale each channel of a map by what a small network makes of the means of the normalised map.

    Takes (B, H, W, C), channels last, because of its norm. Only the authors' code and the EVSS block have it.

    Source: BiAttn of EfficientVMamba, as used in FusionMamba's code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.global_reduce = nn.Linear(channels, channels // SQUEEZE)
        self.channel_select = nn.Linear(channels // SQUEEZE, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, H, W, C)."""
        hidden = F.gelu(self.global_reduce(self.norm(x).mean((1, 2), keepdim=True)))
        return x * torch.sigmoid(self.channel_select(hidden))
