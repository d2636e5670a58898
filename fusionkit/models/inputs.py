"""What a network demands of its two images, and how images of any size are brought to a multiple of its stride."""

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError

SMALLEST = 16
TOLERANCE = 1e-3


def check_images(a: Tensor, b: Tensor) -> None:
    """Refuse images that a network would silently make nonsense of.

    Args:
        a: First modality, should be (B, 1, H, W) in [0, 1], each side at least 16 pixels.
        b: Second modality, alike.

    Raises:
        FusionkitError: Another shape, type or range, or values that are no numbers.
    """
    for name, image in (("first", a), ("second", b)):
        if image.ndim != 4 or image.shape[1] != 1:
            raise FusionkitError(f"{name} image: must be (B, 1, H, W), one channel; got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise FusionkitError(f"{name} image: must be floating point in [0, 1]; got {image.dtype}; divide by 255")
    if a.shape != b.shape:
        raise FusionkitError(f"the two images must be alike; got {tuple(a.shape)} and {tuple(b.shape)}")
    if min(a.shape[-2:]) < SMALLEST:
        raise FusionkitError(f"images must be at least {SMALLEST}x{SMALLEST} pixels; got {a.shape[-2]}x{a.shape[-1]}")
    if a.is_meta:
        return
    for name, image in (("first", a), ("second", b)):
        low, high = (float(x) for x in torch.aminmax(image.detach()))
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # this way round, NaN fails too
            raise FusionkitError(f"{name} image: values must be in [0, 1]; got {low:.4g} to {high:.4g}")


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Mirror an image (B, C, H, W) at its right and lower edge until both sides are multiples.

    The edge pixels themselves are not repeated. Images narrower than what is missing are mirrored more than once.
    """
    for axis in (2, 3):
        size = image.shape[axis]
        missing = -size % multiple
        if missing:
            place = torch.arange(size + missing, device=image.device) % (2 * size - 2)
            image = image.index_select(axis, torch.minimum(place, 2 * size - 2 - place))
    return image
