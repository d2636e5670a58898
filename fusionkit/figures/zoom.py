"""Where to look: the boxes in which fused images differ most."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor


class Box(NamedTuple):
    """A rectangle in pixels: first row, first column, height, width."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return this part of an image (H, W, ...)."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def zoom_boxes(
    images: Sequence[Tensor], sources: Sequence[Tensor] = (), count: int = 2, share: float = 0.22
) -> list[Box]:
    """Choose the boxes in which images of one scene differ most; the same images give the same boxes.

    The score of a box is the mean over its pixels of the variance between the images' details, which are what is
    left of each image without its local mean: a mere offset in a flat background attracts no box. Where sources
    are given, the score is multiplied by the detail of the poorer one, since fusion shows where both have
    something to say. Later boxes keep clear of earlier ones. One box is twice as wide as high, several are squares.

    Args:
        images: At least two images, (1, H, W) in [0, 1].
        sources: The images that were fused, same shape.
        count: Number of boxes.
        share: Height of a box relative to the shorter side of the image.

    Returns:
        Boxes inside the image, most different first; fewer than ``count`` where there is no more room.
    """
    high, wide = images[0].shape[-2:]
    height = max(int(min(high, wide) * share), 1)
    width = min(height * 2, wide) if count == 1 else height
    scores = _window_means(_details(images, height / 8).var(0), height, width)
    if sources:
        richness = [_window_means(detail**2, height, width) for detail in _details(sources, height / 8)]
        scores = scores * (np.sqrt(np.min(richness, 0)) + 1e-3)
    # Rounding makes equal places differ between libraries in the last digits, and would move a box.
    scores = scores.round(9)
    boxes = []
    for _ in range(count):
        if np.isneginf(scores).all():
            break
        top, left = (int(i) for i in np.unravel_index(scores.argmax(), scores.shape))
        boxes.append(Box(top, left, height, width))
        scores[max(top - height, 0) : top + height + 1, max(left - width, 0) : left + width + 1] = -np.inf
    return boxes


def _details(images: Sequence[Tensor], blur: float) -> np.ndarray:
    """Return images (N, H, W) without their local means."""
    stack = torch.stack([image[0].double() for image in images]).numpy()
    return stack - gaussian_filter(stack, (0, blur, blur))


def _window_means(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the mean of every ``height`` x ``width`` window that lies inside, indexed by its top left corner."""
    means = uniform_filter(values, (height, width), mode="constant")
    top, left = height // 2, width // 2
    return means[top : top + values.shape[0] - height + 1, left : left + values.shape[1] - width + 1].clip(0)
