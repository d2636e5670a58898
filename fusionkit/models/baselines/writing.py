"""How authors' scripts write a fused image: from the floats of a network to 8 bits, each way under a name.

Every function takes images (B, C, H, W), one after the other in a batch, and returns grey levels divided by 255.
Levels are cut off (*truncate*) or rounded; a network's values are taken as they are, stretched so that the largest
becomes 255 (*maximum*), or stretched to 0..255 (*minmax*).
"""

from collections.abc import Callable

import torch
from torch import Tensor

LEVELS = 255
TINY = 1e-5


def clip(image: Tensor) -> Tensor:
    """Only clip to [0, 1]; for comparisons without 8 bits."""
    return image.clamp(0, 1)


def truncate(image: Tensor) -> Tensor:
    """Multiply by 255 and cast to uint8 without clipping: below 0 and above 255 the levels wrap around."""
    return torch.remainder(torch.trunc(LEVELS * image), LEVELS + 1) / LEVELS


def clip_truncate(image: Tensor) -> Tensor:
    """Clip to [0, 1], multiply by 255 and cut off."""
    return torch.floor(LEVELS * image.clamp(0, 1)) / LEVELS


def clip_round(image: Tensor) -> Tensor:
    """Clip to [0, 1], multiply by 255 and round."""
    return torch.round(LEVELS * image.clamp(0, 1)) / LEVELS


def maximum(image: Tensor) -> Tensor:
    """Stretch so that the largest value becomes 255, keep zero, clip and round."""
    largest = image.amax((1, 2, 3), keepdim=True)
    return _half_up((image / torch.where(largest > 0, largest, 1)).clamp(0, 1))


def minmax(image: Tensor) -> Tensor:
    """Stretch to 0..255 and round; an image of one value becomes black."""
    low, span = _range(image)
    return _half_up((image - low) / torch.where(span > 0, span, 1))


def minmax_truncate(image: Tensor) -> Tensor:
    """Stretch to 0..255, with 1e-5 added to the denominator, and cut off, so that 254 is the largest level."""
    return torch.floor(LEVELS * unit_range(image)) / LEVELS


def unit_range(image: Tensor) -> Tensor:
    """Stretch each image to [0, 1), with 1e-5 added to the denominator."""
    low, span = _range(image)
    return (image - low) / (span + TINY)


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    low, high = (pick(image, (1, 2, 3), keepdim=True) for pick in (torch.amin, torch.amax))
    return low, high - low


def _half_up(image: Tensor) -> Tensor:
    return torch.floor(LEVELS * image + 0.5) / LEVELS


POSTS: dict[str, Callable[[Tensor], Tensor]] = {
    way.__name__: way for way in (clip, truncate, clip_truncate, clip_round, maximum, minmax, minmax_truncate)
}
