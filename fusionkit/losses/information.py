"""S4Fusion's weighted terms: each modality counts as much as it holds information, image by image.

Information is the mean square of Sobel magnitudes over four maps. The paper takes the maps of a ResNet50
(:mod:`fusionkit.losses.perception`); without its weights the fallback here takes the image itself at four scales, which
every table must name ("no perception").
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.losses.gradient import sobel_magnitude
from fusionkit.metrics.filters import Moments, window
from fusionkit.metrics.similarity import GAUSSIAN

SCALES = (1, 2, 4, 8)
C1, C2, EPSILON = 0.01**2, 0.03**2, 1e-12
# Median over RoadScene's training pairs of how much the two modalities' information differs; a test computes it again.
IMAGE_TEMPERATURE = 0.1265
Weights = tuple[Tensor, Tensor]


def information(maps: Sequence[Tensor]) -> Tensor:
    """Return how much goes on in some maps: the mean square of their Sobel magnitudes, map by map, then over maps.

    Args:
        maps: Each (B, C, H, W), of sizes of their own.

    Returns:
        (B,), without a gradient.

    Source: S4Fusion, section 3.4; the authors' compiled loss.
    """
    with torch.no_grad():
        return torch.stack([sobel_magnitude(x).square().mean((1, 2, 3)) for x in maps]).mean(0)


def pyramid(image: Tensor) -> list[Tensor]:
    """Return the maps that the fallback takes: an image (B, 1, H, W) at full to an eighth of its size."""
    return [F.avg_pool2d(image, scale) for scale in SCALES]


def modality_weights(information_a: Tensor, information_b: Tensor, temperature: float) -> Weights:
    """Return the weights of both modalities, (B,) each: a softmax of information over temperature."""
    share = torch.sigmoid((information_a - information_b) / temperature)
    return share, 1 - share


def image_weights(a: Tensor, b: Tensor) -> Weights:
    """Return the fallback's weights of images (B, 1, H, W), (B,) each."""
    return modality_weights(information(pyramid(a)), information(pyramid(b)), IMAGE_TEMPERATURE)


def weighted_intensity(fused: Tensor, a: Tensor, b: Tensor, weights: Weights) -> Tensor:
    """Return the mean absolute differences to both sources, each image's weighted by (B,) weights (S4Fusion, L_1)."""
    return sum(
        (weight * (source - fused).abs().mean((1, 2, 3))).mean() for weight, source in zip(weights, (a, b), strict=True)
    )


def weighted_dissimilarity(fused: Tensor, a: Tensor, b: Tensor, weights: Weights) -> Tensor:
    """Return the structural dissimilarities to both sources, each image's weighted by (B,) weights (S4Fusion, L_ssim).

    Dissimilarity is (1 - SSIM) / 2, limited to 0..1. Window: Gaussian 11x11, sigma 1.5, reflected borders; constants
    0.01^2 and 0.03^2 on [0, 1]. Images of at least 6x6 pixels.
    """
    moments = Moments(window(GAUSSIAN, "reflect"))
    return sum(
        (weight * _dissimilarity(moments, source, fused).mean((1, 2, 3))).mean()
        for weight, source in zip(weights, (a, b), strict=True)
    )


def _dissimilarity(moments: Moments, x: Tensor, y: Tensor) -> Tensor:
    """Return a map; the small number in the denominator is that of the library which the authors call."""
    mean_x, mean_y = moments.mean(x), moments.mean(y)
    above = (2 * mean_x * mean_y + C1) * (2 * moments.covariance(x, y) + C2)
    below = (mean_x.square() + mean_y.square() + C1) * (moments.variance(x) + moments.variance(y) + C2)
    return ((1 - above / (below + EPSILON)) / 2).clamp(0, 1)


def informed_intensity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return :func:`weighted_intensity` under the fallback's weights."""
    return weighted_intensity(fused, a, b, image_weights(a, b))


def informed_dissimilarity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return :func:`weighted_dissimilarity` under the fallback's weights."""
    return weighted_dissimilarity(fused, a, b, image_weights(a, b))
