"""The multi-exposure fusion (MEF) index: similarity to the patch that the two sources together ask for."""

import math

import torch
from torch import Tensor

from fusionkit.metrics.filters import Moments, gaussian, window

SIDE = 11
N = SIDE**2
OFFSET = 0.001
LARGEST_EXPONENT = 10.0
C = (0.03 * 255) ** 2
EPS = torch.finfo(torch.float64).eps
# Sums of unit vectors shorter than 1e-6 are rounding noise around 0.
VANISHED = 1e-12


def _products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inner products <a, a>, <b, b>, <a, b> of the centred 11x11 patches around every pixel inside the border.

    Sums of whole numbers (of fractions of 256 on coarser scales) are exact, so flat patches give exactly 0.
    """
    total = window((1.0,) * SIDE)
    sum_a, sum_b = total(a), total(b)
    sums = ((a * a, sum_a * sum_a), (b * b, sum_b * sum_b), (a * b, sum_a * sum_b))
    aa, bb, ab = ((N * total(product) - product_of_sums) / N for product, product_of_sums in sums)
    return aa, bb, ab


def _desired(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the centred patches of a and b in the desired patch.

    The more the two patches agree in direction, the more the stronger one rules: weights are powers of their
    contrasts. The desired patch has the direction of the weighted sum and the larger contrast.
    """
    aa, bb, ab = _products(a, b)
    norm_a, norm_b = aa.sqrt(), bb.sqrt()
    norm_sum = (aa + bb + 2 * ab).clamp(min=0).sqrt()
    agreement = ((norm_sum + EPS) / (norm_a + norm_b + EPS)).clamp(EPS, 1 - EPS)
    exponent = torch.tan(math.pi / 2 * agreement).clamp(max=LARGEST_EXPONENT)
    contrast_a, contrast_b = norm_a + OFFSET, norm_b + OFFSET
    weight_a, weight_b = ((contrast / SIDE) ** exponent + EPS for contrast in (contrast_a, contrast_b))
    total = weight_a + weight_b
    factor_a, factor_b = weight_a / total / contrast_a, weight_b / total / contrast_b
    squared_norm = factor_a.square() * aa + factor_b.square() * bb + 2 * factor_a * factor_b * ab
    scale = torch.where(
        squared_norm > VANISHED, torch.maximum(contrast_a, contrast_b) / squared_norm.clamp(min=VANISHED).sqrt(), 1.0
    )
    return factor_a * scale, factor_b * scale


def exposure_similarity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the multi-exposure fusion index at one scale, -1 to 1.

    Contrast and structure of every 11x11 patch of the fused image, under a Gaussian window, against the patch
    desired from the sources. Luminance plays no role.

    Args:
        fused: Grey levels, float64 (B, C, H, W), at least 11x11.
        a: First sources, alike.
        b: Second sources, alike.

    Returns:
        (B, C).

    Source: Ma, Zeng and Wang 2015, IEEE Trans. Image Processing 24(11), with the constants of its published code.
    """
    factor_a, factor_b = _desired(a, b)
    moments = Moments(window(gaussian(SIDE, 1.5)))
    variance = (
        factor_a.square() * moments.variance(a)
        + factor_b.square() * moments.variance(b)
        + 2 * factor_a * factor_b * moments.covariance(a, b)
    )
    covariance = factor_a * moments.covariance(a, fused) + factor_b * moments.covariance(b, fused)
    return ((2 * covariance + C) / (variance + moments.variance(fused) + C)).mean(dim=(-2, -1))
