"""Structural similarity to the sources, weighted by which of them matters where: Q_S, Q_W, Q_E, Q_Y, Q_C.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.metrics.filters import Border, Moments, box, correlate, gaussian, window
from fusionkit.metrics.metric import Metric, Variant
from fusionkit.metrics.similarity import GAUSSIAN, ssim_map

# Local variances of flat windows are rounding noise below this; others are larger, as levels are whole numbers.
FLAT = 1e-8


def _quotient(numerator: Tensor, denominator: Tensor, otherwise: float) -> Tensor:
    """Quotient of local moments, with a value for windows in which the (non-negative) denominator vanishes."""
    return torch.where(denominator < FLAT, otherwise, numerator / denominator)


def _universal_map(moments: Moments, x: Tensor, y: Tensor) -> Tensor:
    """Local universal image quality index: SSIM without constants.

    A factor that is 0/0 counts as 1, so two flat windows are compared by their means alone and two black ones give 1.

    Source: Wang and Bovik 2002, IEEE Signal Processing Letters 9(3), eq. 1; 0/0 as in their code.
    """
    mean_x, mean_y = moments.mean(x), moments.mean(y)
    luminance = _quotient(2 * mean_x * mean_y, mean_x.square() + mean_y.square(), 1.0)
    return luminance * _quotient(2 * moments.covariance(x, y), moments.variance(x) + moments.variance(y), 1.0)


@dataclass(frozen=True)
class _Reading:
    """What a convention takes for Piella and Heijmans' indices.

    Attributes:
        average: Mean over a window.
        index: Local similarity of two images.
        flat_saliency: Saliency of windows in which both sources are flat.
        border: What the edge operator meets outside the image.
    """

    average: Callable[[Tensor], Tensor]
    index: Callable[[Moments, Tensor, Tensor], Tensor]
    flat_saliency: float
    border: Border


_LIU = _Reading(window(GAUSSIAN), partial(ssim_map, data_range=255.0), 0.5, "zero")
_ORIGINAL = _Reading(window(box(8)), _universal_map, 0.0, "valid")


def _quality(fused: Tensor, a: Tensor, b: Tensor, reading: _Reading) -> tuple[Tensor, Tensor]:
    """Local similarity to both sources, each weighted by its share of the variance, and the larger variance."""
    moments = Moments(reading.average)
    variance_a, variance_b = moments.variance(a), moments.variance(b)
    total = variance_a + variance_b
    share = _quotient(variance_a, total, 0.5)
    quality = share * reading.index(moments, fused, a) + (1 - share) * reading.index(moments, fused, b)
    return quality, torch.where(total < FLAT, reading.flat_saliency, torch.maximum(variance_a, variance_b))


def _fusion_quality(fused: Tensor, a: Tensor, b: Tensor, reading: _Reading) -> Tensor:
    return _quality(fused, a, b, reading)[0].mean(dim=(-2, -1))


def _weighted_quality(fused: Tensor, a: Tensor, b: Tensor, reading: _Reading) -> Tensor:
    quality, saliency = _quality(fused, a, b, reading)
    return (quality * saliency).sum(dim=(-2, -1)) / saliency.sum(dim=(-2, -1))


def _edges(levels: Tensor, border: Border) -> Tensor:
    """Magnitude of the unnormalised Prewitt responses."""
    step, even = (-1.0, 0.0, 1.0), (1.0, 1.0, 1.0)
    return (correlate(levels, step, even, border).square() + correlate(levels, even, step, border).square()).sqrt()


def _edge_quality(fused: Tensor, a: Tensor, b: Tensor, reading: _Reading) -> Tensor:
    """Weighted quality of the images times that of their edge images."""
    edges = (_edges(levels, reading.border) for levels in (fused, a, b))
    return _weighted_quality(fused, a, b, reading) * _weighted_quality(*edges, reading)


def _yang_quality(fused: Tensor, a: Tensor, b: Tensor, black: float = 0.5) -> Tensor:
    """Weighted similarity where the sources resemble each other, elsewhere similarity to the nearer one.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        black: Share of the first source in windows in which both are black.
    """
    moments = Moments(window(gaussian(7, 1.5)))
    variance_a, variance_b = moments.variance(a), moments.variance(b)
    share = _quotient(variance_a, variance_a + variance_b, 0.5)
    share = torch.where(moments.mean(a) + moments.mean(b) == 0, black, share)
    to_a, to_b = (_universal_map(moments, source, fused) for source in (a, b))
    alike = _universal_map(moments, a, b) >= 0.75
    quality = torch.where(alike, share * to_a + (1 - share) * to_b, torch.maximum(to_a, to_b))
    return quality.mean(dim=(-2, -1))


def _cvejic_quality(
    fused: Tensor, a: Tensor, b: Tensor, average: Callable[[Tensor], Tensor], clip_quality: bool, unrelated: float
) -> Tensor:
    """Similarity to both sources, each weighted by its share of the covariance with the fused image.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        average: Mean over a window.
        clip_quality: Where the share is outside [0, 1], put the exceeded bound in place of the quality instead of
            the share.
        unrelated: Share of the first source in windows in which neither source varies with the fused image.
    """
    moments = Moments(average)
    covariances = (moments.covariance(source, fused) for source in (a, b))
    # Without this the sign of rounding noise would decide whether a share is below 0.
    with_a, with_b = (torch.where(covariance.abs() < FLAT, 0.0, covariance) for covariance in covariances)
    share = torch.where((with_a == 0) & (with_b == 0), unrelated, with_a / (with_a + with_b))
    bounded = share.clamp(0, 1)
    to_a, to_b = (_universal_map(moments, source, fused) for source in (a, b))
    quality = bounded * to_a + (1 - bounded) * to_b
    if clip_quality:
        quality = torch.where(bounded == share, quality, bounded)
    return quality.mean(dim=(-2, -1))


_PIELLA = "Piella and Heijmans 2003, Int. Conf. Image Processing III, 173-176"
_LIU_NOTE = "SSIM (Gaussian 11x11, sigma 1.5, L = 255) instead of the universal index on 8x8 windows"
_ORIGINAL_NOTE = "universal image quality index on uniform 8x8 windows"
q_s = Metric(
    name="q_s",
    full_name="fusion quality index of Piella and Heijmans",
    source=_PIELLA,
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images; windows in which both sources are flat give each half the weight",
    kernel=_fusion_quality,
    variants={
        "liu": Variant("none", "-1 to 1", _LIU_NOTE, {"reading": _LIU}, min_side=11),
        "reference": Variant("none", "-1 to 1", _ORIGINAL_NOTE, {"reading": _ORIGINAL}, min_side=8),
    },
)

q_w = Metric(
    name="q_w",
    full_name="weighted fusion quality index of Piella and Heijmans",
    source=_PIELLA,
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images; NaN if both sources are constant (liu: the value of q_s)",
    kernel=_weighted_quality,
    variants={
        "liu": Variant(
            "none",
            "-1 to 1",
            _LIU_NOTE + "; windows in which both sources are flat have saliency 0.5 instead of 0",
            {"reading": _LIU},
            min_side=11,
        ),
        "reference": Variant("none", "-1 to 1", _ORIGINAL_NOTE, {"reading": _ORIGINAL}, min_side=8),
    },
)

q_e = Metric(
    name="q_e",
    full_name="edge-dependent fusion quality index of Piella and Heijmans",
    source=_PIELLA,
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images; NaN if both sources or both edge images are constant (liu: a number then)",
    kernel=_edge_quality,
    variants={
        "liu": Variant(
            "none",
            "-1 to 1",
            _LIU_NOTE + "; edge images: magnitude of the Prewitt responses, zero border. The code stops at an "
            "undefined variable, taken to be q_w",
            {"reading": _LIU},
            min_side=11,
        ),
        "reference": Variant(
            "none",
            "-1 to 1",
            _ORIGINAL_NOTE + "; alpha = 1; edge images by liu's Prewitt operator, but inside the frame only",
            {"reading": _ORIGINAL},
            min_side=10,
        ),
    },
)

q_y = Metric(
    name="q_y",
    full_name="similarity-based quality index of Yang et al.",
    source="Yang, Zhang, Wang and Liu 2008, Information Fusion 9(2)",
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images; windows in which both sources are flat give each half the weight (liu: NaN if "
    "both are black; equally flat ones share their rounding noise, which comes to one half)",
    kernel=_yang_quality,
    variants={
        "liu": Variant("none", "-1 to 1", "NaN if the sources share a black window", {"black": math.nan}, min_side=11),
        "reference": Variant(
            "none", "-1 to 1", "liu's formula and Gaussian 7x7 window, sigma 1.5, with 0/0 defined", min_side=7
        ),
    },
)

q_c = Metric(
    name="q_c",
    full_name="similarity-weighted quality index of Cvejic et al.",
    source="Cvejic, Loza, Bull and Canagarajah 2005, Int. J. Signal Processing 2(3)",
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images; windows in which neither source varies with the fused image, so all flat ones of "
    "the latter, give each half the weight (liu: NaN; its code weighs by rounding noise unless that is exactly 0)",
    kernel=_cvejic_quality,
    variants={
        "liu": Variant(
            "none",
            "-1 to 1",
            "Gaussian 7x7 window, sigma 1.5; where the weight is outside [0, 1] the quality itself becomes 0 or 1, "
            "which depends on the order of the sources; NaN if neither source varies with the fused image in a window",
            {"average": window(gaussian(7, 1.5)), "clip_quality": True, "unrelated": math.nan},
            min_side=11,
        ),
        "reference": Variant(
            "none",
            "-1 to 1",
            "universal index and weights within [0, 1] on adjoining 4x4 blocks, as in the authors' code",
            {"average": partial(F.avg_pool2d, kernel_size=4), "clip_quality": False, "unrelated": 0.5},
            min_side=4,
        ),
    },
)

METRICS = (q_s, q_w, q_e, q_y, q_c)
