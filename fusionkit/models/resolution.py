"""Between resolutions: patch embedding, merging and expanding. Maps are (B, H, W, C), channels last."""

import torch
from torch import Tensor, nn

from fusionkit.models.layout import channels_last

PATCH = 4


class PatchEmbedding(nn.Module):
    """One token per 4x4 patch: a strided convolution and a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, channels, PATCH, PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Turn an image (B, 1, H, W) into tokens (B, H / 4, W / 4, C)."""
        return self.norm(channels_last(self.proj(image)))


class PatchMerging(nn.Module):
    """Halve a map and double its channels: 2x2 neighbours side by side, norm, linear. An odd last row is dropped."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, H, W, C) into (B, H / 2, W / 2, 2C)."""
        x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class PatchExpanding(nn.Module):
    """Enlarge a map: linear, every token's vector laid out as a square of tokens, norm.

    Args:
        channels: Channels C that come in.
        factor: 2 between the decoder's stages, 4 back to pixels.
        outputs: Channels of each token that goes out.
    """

    def __init__(self, channels: int, factor: int, outputs: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(channels, factor**2 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, H, W, C) into (B, factor * H, factor * W, outputs)."""
        tokens = self.expand(x).unflatten(-1, (self.factor, self.factor, -1))
        return self.norm(tokens.transpose(2, 3).flatten(3, 4).flatten(1, 2))
