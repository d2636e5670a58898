"""Metrics built on models of human vision: contrast preservation (Chen-Blum), regional error (Chen-Varshney).

Both stretch every image to its full range, and weight frequencies by the eye's contrast sensitivity; frequencies
are cycles per image divided by a constant that stands for the viewing distance.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.metrics.conventions import round_half_up
from fusionkit.metrics.filters import correlate, sobel
from fusionkit.metrics.metric import Metric, Variant

_BLOCK = 16


def _stretch(levels: Tensor) -> Tensor:
    """Stretch each channel to 0..255 and round; a constant one becomes NaN, except a black one, which stays."""
    low, high = levels.amin(dim=(-2, -1), keepdim=True), levels.amax(dim=(-2, -1), keepdim=True)
    return torch.where(high == 0, levels, round_half_up((levels - low) / (high - low) * 255))


def _weight_frequencies(images: Tensor, sensitivity: Callable[[Tensor], Tensor], distance: float) -> Tensor:
    """Multiply the spectrum by the sensitivity at each radius, in cycles per image over distance (periodic)."""
    height, width = images.shape[-2:]
    fy = torch.fft.fftfreq(height, 1 / height, dtype=images.dtype, device=images.device)
    fx = torch.fft.rfftfreq(width, 1 / width, dtype=images.dtype, device=images.device)
    gain = sensitivity(torch.hypot(fy[:, None], fx) / distance)
    return torch.fft.irfft2(torch.fft.rfft2(images) * gain, s=(height, width))


def _difference_of_gaussians(radius: Tensor) -> Tensor:
    return torch.exp(-((radius / 15.387) ** 2)) - 0.7622 * torch.exp(-((radius / 1.3456) ** 2))


def _mannos_sakrison(radius: Tensor) -> Tensor:
    return 2.6 * (0.0192 + 0.144 * radius) * torch.exp(-((0.144 * radius) ** 1.1))


def _blur(images: Tensor, sigma: float) -> Tensor:
    # Continuous amplitude, as the reference has it: the 31 taps sum to slightly less than 1 for sigma 4.
    taps = [math.exp(-(x**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma) for x in range(-15, 16)]
    return correlate(images, taps, taps, "zero")


def _masked_contrast(levels: Tensor) -> Tensor:
    """Visible local contrast C^3 / (C^2 + 1e-4), C = |G2 I / G4 I - 1| of the contrast-sensitive image I."""
    seen = _weight_frequencies(_stretch(levels), _difference_of_gaussians, distance=15)
    contrast = (_blur(seen, 2) / _blur(seen, 4) - 1).abs()
    return contrast**3 / (contrast**2 + 1e-4)


def _contrast_preservation(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean of the preserved contrast min/max of either source, weighted by its squared contrast."""
    in_fused, found, total = _masked_contrast(fused), 0.0, 0.0
    for contrast in (_masked_contrast(a), _masked_contrast(b)):
        saliency = contrast.square()
        found = found + saliency * torch.minimum(contrast, in_fused) / torch.maximum(contrast, in_fused)
        total = total + saliency
    return (found / total).mean(dim=(-2, -1))


def _block_means(maps: Tensor) -> Tensor:
    # Blocks that stick out are padded with zeros, and still divided by all 256 pixels.
    return F.avg_pool2d(maps, _BLOCK, ceil_mode=True, divisor_override=_BLOCK**2)


def _regional_error(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Squared contrast-sensitive difference of blocks, weighted by the sums of their sources' gradients^5."""
    fused, found, total = _stretch(fused), 0.0, 0.0
    for source in (_stretch(a), _stretch(b)):
        gx, gy = sobel(source)
        power = gx.square() + gy.square()
        saliency = _block_means(power.square() * power.sqrt())
        seen = _weight_frequencies(source - fused, _mannos_sakrison, distance=4)
        found = found + (saliency * _block_means(seen.square())).sum(dim=(-2, -1))
        total = total + saliency.sum(dim=(-2, -1))
    return found / total


_FLAT = "NaN for a constant image"
_QCB = Variant("none", "0 to 1")
qcb = Metric(
    name="qcb",
    full_name="Q_CB, contrast preservation after Chen and Blum",
    source="Chen and Blum 2009, Image and Vision Computing 27(10)",
    better="higher",
    needs="fused, a, b",
    edge_cases=_FLAT,
    kernel=_contrast_preservation,
    variants={"liu": _QCB, "vifb": _QCB, "reference": _QCB},
)

_QCV = Variant("grey levels squared", "0 upwards")
qcv = Metric(
    name="qcv",
    full_name="Q_CV, regional error after Chen and Varshney",
    source="Chen and Varshney 2007, Information Fusion 8(2)",
    better="lower",
    needs="fused, a, b",
    edge_cases=f"{_FLAT} that is not black; 0 for identical images",
    kernel=_regional_error,
    variants={"liu": _QCV, "vifb": _QCV, "reference": _QCV},
)

METRICS = (qcb, qcv)
