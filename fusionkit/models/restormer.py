"""The transformer block of Restormer (Zamir et al., CVPR 2022): channels attend to channels, not places to places.

Letters: B batch, C channels, H x W places, heads as many groups of C / heads channels. Maps are (B, C, H, W).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import FusionkitError
from fusionkit.models.layout import channels_first, channels_last


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed features, same shape."""
        return channels_first(super().forward(channels_last(x)))


class ChannelAttention(nn.Module):
    """Attention between channels: their similarity over all places, per head. Its cost is linear in the image's size.

    Args:
        channels: Channels C.
        heads: Number of heads; divides C.
        dense: Whether the 3x3 convolution of queries, keys and values mixes all of them, or works channel by channel,
            as in Restormer.

    Raises:
        FusionkitError: The heads do not divide the channels.
    """

    def __init__(self, channels: int, heads: int, dense: bool = False) -> None:
        super().__init__()
        if channels % heads:
            raise FusionkitError(f"attention between channels: {heads} heads do not divide {channels} channels")
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        groups = 1 if dense else 3 * channels
        self.mix = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=groups, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values of features (B, C, H, W), each (B, heads, C / heads, H * W)."""
        return self.mix(self.qkv(x)).unflatten(1, (3, len(self.scale), -1)).flatten(4).unbind(1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, size: tuple[int, int]) -> Tensor:
        """Return features (B, C, *size) of what :meth:`split` gives."""
        similarity = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
        attended = torch.softmax(similarity * self.scale, -1) @ value
        return self.project(attended.flatten(1, 2).unflatten(2, size))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        return self.attend(*self.split(x), x.shape[-2:])


class GatedFeedForward(nn.Module):
    """Two convolved copies of the features, one of which gates the other through GELU.

    Args:
        channels: Channels C.
        hidden: Channels of each copy.
        groups: Groups of the 3x3 convolution over both copies.
        padding_mode: What lies outside the image for it.
    """

    def __init__(self, channels: int, hidden: int, groups: int, padding_mode: str = "zeros") -> None:
        super().__init__()
        both = 2 * hidden
        self.enter = nn.Conv2d(channels, both, 1, bias=False)
        self.mix = nn.Conv2d(both, both, 3, padding=1, groups=groups, bias=False, padding_mode=padding_mode)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        gate, content = self.mix(self.enter(x)).chunk(2, 1)
        return self.project(F.gelu(gate) * content)


class ChannelTransformer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to what it starts from.

    Args:
        channels: Channels C.
        attention: The first part.
        feed_forward: The second part.
    """

    def __init__(self, channels: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attention = attention
        self.norm2 = ChannelNorm(channels)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        return self.complete(x, self.attention(self.norm1(x)))

    def complete(self, x: Tensor, change: Tensor) -> Tensor:
        """Return the block's output for features (B, C, H, W) and what attention adds to them."""
        x = x + change
        return x + self.feed_forward(self.norm2(x))


def restormer_block(channels: int, heads: int, expansion: float) -> ChannelTransformer:
    """Return the block as Restormer has it, 3x3 convolutions channel by channel.

    Args:
        channels: Channels C.
        heads: Number of heads; divides C.
        expansion: Width of the feed-forward's copies in multiples of C, rounded down; 2.66 in Restormer.
    """
    hidden = int(channels * expansion)
    return ChannelTransformer(
        channels, ChannelAttention(channels, heads), GatedFeedForward(channels, hidden, 2 * hidden)
    )
