"""Luma and chroma: networks fuse the luma, the chroma of the colour modality is put back afterwards.

Float BT.601, full range. 8-bit YUV is avoided on purpose: it saturates on strongly coloured PET displays.
"""

import torch
from torch import Tensor


def rgb_to_ycbcr(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split colour images into luma and chroma.

    Args:
        rgb: (..., 3, H, W) in [0, 1].

    Returns:
        Luma (..., 1, H, W) in [0, 1] and chroma (Cb, Cr) (..., 2, H, W) in about [-0.5, 0.5].
    """
    red, green, blue = rgb.split(1, -3)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma, torch.cat([0.564 * (blue - luma), 0.713 * (red - luma)], -3)


def ycbcr_to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """Join luma (..., 1, H, W) and chroma (..., 2, H, W) to RGB (..., 3, H, W), clipped to [0, 1]."""
    cb, cr = chroma.split(1, -3)
    red, blue = luma + cr / 0.713, luma + cb / 0.564
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return torch.cat([red, green, blue], -3).clamp(0, 1)


def to_luma(image: Tensor) -> Tensor:
    """Return the luma (..., 1, H, W) of grey or colour images (..., 1 or 3, H, W)."""
    return rgb_to_ycbcr(image)[0] if image.shape[-3] == 3 else image
