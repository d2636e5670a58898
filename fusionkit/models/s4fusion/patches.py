"""Between pixels and tokens: overlapping patches, their folding, and the sizes that they cover.

Patches of 4x4 pixels lie 3 apart, so neighbours share a row or column of pixels, and S pixels are covered by
(S - 1) / 3 patches. Both mergings halve their number, hence legal sizes are 12k + 1 with three stages.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.layout import channels_first, channels_last

PATCH, STEP = 4, 3
HEAD_CHANNELS_PER = 4


class OverlapEmbedding(nn.Module):
    """One token per patch: a strided convolution and a norm.

    Source: S4Fusion, section 3.2 and appendix A.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, channels, PATCH, STEP)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Turn an image (B, 1, H, W) into tokens (B, (H - 1) // 3, (W - 1) // 3, C)."""
        return self.norm(channels_last(self.proj(image)))


class FoldingHead(nn.Module):
    """Back to pixels: every token becomes a patch of C / 4 channels, patches add up where they overlap, then a 1x1.

    Pixels that two patches share get two contributions, those at crossings four, unless ``normalize`` divides by
    their number. ``norm`` is stored, as in the authors' code, and never applied.

    Source: S4Fusion, section 3.2, whose text says that folding removes the overlaps; the sum is the code's.
    """

    def __init__(self, channels: int, normalize: bool = False) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, channels // HEAD_CHANNELS_PER * PATCH**2, bias=False)
        self.norm = nn.LayerNorm(channels // HEAD_CHANNELS_PER)
        self.conv = nn.Conv2d(channels // HEAD_CHANNELS_PER, 1, 1)
        self.normalize = normalize

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn tokens (B, h, w, C) into an image (B, 1, H, W) of a given size."""
        patches = channels_first(self.expand(tokens))
        pixels = fold(patches, size)
        if self.normalize:
            pixels = pixels / fold(torch.ones_like(patches[:1, : PATCH**2]), size).clamp(min=1)
        return self.conv(pixels)


def fold(patches: Tensor, size: tuple[int, int]) -> Tensor:
    """Add patches up where they overlap.

    Args:
        patches: (B, 16C, h, w): the 16 pixels of the patch's first channel row by row, then those of the next.
        size: Height and width of the result; pixels that no patch covers are 0.

    Returns:
        (B, C, H, W).
    """
    return F.fold(patches.flatten(2), size, kernel_size=PATCH, stride=STEP)


def next_legal(size: int, step: int) -> int:
    """Return the smallest legal size, ``step`` times k + 1, that is not below ``size``."""
    return size + (1 - size) % step


def pad_to_legal(image: Tensor, step: int) -> tuple[Tensor, tuple[slice, slice]]:
    """Surround an image (B, C, H, W) by zeros up to the next legal size.

    An odd row or column goes to the bottom and the right, as in the authors' test script.

    Returns:
        The larger image, and where in it the old one lies: rows and columns.
    """
    height, width = image.shape[-2:]
    tall, wide = next_legal(height, step) - height, next_legal(width, step) - width
    top, left = tall // 2, wide // 2
    padded = F.pad(image, (left, wide - left, top, tall - top))
    return padded, (slice(top, top + height), slice(left, left + width))
