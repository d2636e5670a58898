"""Guided-filter fusion (Li, Kang and Hu, IEEE Trans. Image Processing, 2013): two scales, weights that follow edges."""

import numpy as np
import scipy

from fusionkit.models.classical.pairwise import Image, PairwiseRule

# Side of the mean filter that splits base from detail, and the saliency's Gaussian (sigma, half its width).
BASE = 31
SALIENCY = 5
# Radius and regularisation of the filter that smooths the weights: of the base, of the detail.
SMOOTH = (45, 0.3)
SHARP = (7, 1e-6)


def box_mean(image: Image, radius: int) -> Image:
    """Return the mean over a square of side 2 * radius + 1, at the border over what lies in the image."""
    side = 2 * radius + 1
    inside = scipy.ndimage.uniform_filter(np.ones_like(image), side, mode="constant")
    return scipy.ndimage.uniform_filter(image, side, mode="constant") / inside


def guided_filter(guide: Image, image: Image, radius: int, eps: float) -> Image:
    """Return an image smoothed where the guide is flat and left alone at the guide's edges.

    In every square the output is the line ``slope * guide + offset`` nearest to the image; lines of all squares
    that hold a pixel are averaged.

    Args:
        guide: Image (H, W) whose edges count.
        image: Image (H, W) to be filtered.
        radius: The squares have side 2 * radius + 1.
        eps: Variance of the guide below which a square counts as flat.

    Source: He, Sun and Tang, ECCV 2010.
    """
    mean_guide, mean_image = box_mean(guide, radius), box_mean(image, radius)
    covariance = box_mean(guide * image, radius) - mean_guide * mean_image
    variance = box_mean(guide * guide, radius) - mean_guide**2
    slope = covariance / (variance + eps)
    offset = mean_image - slope * mean_guide
    return box_mean(slope, radius) * guide + box_mean(offset, radius)


def saliency(image: Image) -> Image:
    """Return how much local contrast surrounds each pixel: the absolute Laplacian, smoothed (equations 3 and 4)."""
    edges = np.abs(scipy.ndimage.laplace(image, mode="nearest"))
    return scipy.ndimage.gaussian_filter(edges, SALIENCY, radius=SALIENCY, mode="nearest")


class GuidedFilter(PairwiseRule):
    """Each pixel follows the more salient image; the choice is filtered with that image as guide, once per scale.

    Radii and regularisations are those of the paper's Section IV, for images in [0, 1].
    """

    def fuse(self, a: Image, b: Image) -> Image:
        """Fuse two images (H, W)."""
        first = (saliency(a) >= saliency(b)).astype(float)
        base_a, base_b = (scipy.ndimage.uniform_filter(x, BASE, mode="nearest") for x in (a, b))
        base = _blend(base_a, base_b, *(_weight(x, chosen, *SMOOTH) for x, chosen in ((a, first), (b, 1 - first))))
        sharp = (_weight(x, chosen, *SHARP) for x, chosen in ((a, first), (b, 1 - first)))
        return base + _blend(a - base_a, b - base_b, *sharp)


def _weight(guide: Image, chosen: Image, radius: int, eps: float) -> Image:
    """Return the filtered choice, kept in [0, 1] and above zero, so that weights can be divided by their sum."""
    return np.clip(guided_filter(guide, chosen, radius, eps), 1e-12, 1)


def _blend(a: Image, b: Image, weight_a: Image, weight_b: Image) -> Image:
    """Return the weighted mean."""
    return (weight_a * a + weight_b * b) / (weight_a + weight_b)
