"""Every loss term once; each paper's total is a preset: terms with weights.

All images are (B, 1, H, W) float tensors in [0, 1]; every term returns a scalar tensor, zero or larger.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import FusionkitError, unknown
from fusionkit.metrics.filters import Moments, sobel, window
from fusionkit.metrics.similarity import (
    GAUSSIAN,
    SCALE_WEIGHTS,
    SMALLEST_SIDE,
    multi_scale_ssim,
    ssim_map,
    structure_map,
)

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


def sobel_magnitude(image: Tensor) -> Tensor:
    """Return ``|Gx| + |Gy|`` of the 3x3 Sobel operator with zero padding, shape of ``image``."""
    gx, gy = sobel(image, "zero")
    return gx.abs() + gy.abs()


def intensity_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference to the pixelwise maximum (LightFusionNet, eq. 1)."""
    return F.l1_loss(fused, torch.maximum(a, b))


def intensity_max_squared(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference to the pixelwise maximum.

    Source: FusionMamba, eq. 11, which prints a norm divided by the number of pixels; the authors' code has the mean
    square.
    """
    return F.mse_loss(fused, torch.maximum(a, b))


def gradient_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference of Sobel magnitudes to their maximum (LightFusionNet, eq. 2).

    FusionMamba's eq. 10 is the same but for a missing modulus on the fused image, which its code has.
    """
    target = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    return F.l1_loss(sobel_magnitude(fused), target)


def ssim_to_sources(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``1 - (SSIM(fused, a) + SSIM(fused, b)) / 2``.

    Window: Gaussian 11x11, sigma 1.5, zero padding; constants 0.01^2 and 0.03^2 on [0, 1].

    Source: LightFusionNet, eqs. 3-4. The paper does not define I_XY; this reading is SwinFusion's medical loss,
    whose three weights equal those of eq. 5.
    """
    moments = Moments(window(GAUSSIAN, "zero"))
    of_a, of_b = (ssim_map(moments, fused, source, data_range=1.0).mean() for source in (a, b))
    return 1 - (of_a + of_b) / 2


def ssim_to_sources_inside(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``1 - (SSIM(fused, a) + SSIM(fused, b)) / 2`` over the windows that lie inside the images.

    Window: Gaussian 11x11, sigma 1.5; constants 0.01^2 and 0.03^2 on [0, 1]. Images of at least 11x11 pixels.

    Source: FusionMamba, eq. 12; the paper does not give window and border.
    """
    moments = Moments(window(GAUSSIAN))
    of_a, of_b = (ssim_map(moments, fused, source, data_range=1.0).mean() for source in (a, b))
    return 1 - (of_a + of_b) / 2


def normalised_ms_ssim_to_sources(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``1 - (S(fused, a) + S(fused, b)) / 2`` with the five-scale similarity S of FusionMamba's code.

    It differs from MS-SSIM: similarities are mapped from -1..1 to 0..1, so that unrelated images get about 0.57;
    windows shrink with the image; the coarsest similarity enters four times. Images of at least 32x32 pixels.

    Raises:
        FusionkitError: The images are too small for five scales.
    """
    smallest = 2 ** len(SCALE_WEIGHTS)
    if min(fused.shape[-2:]) < smallest:
        height, width = fused.shape[-2:]
        raise FusionkitError(
            f"loss term 'normalised_ms_ssim_to_sources' needs {smallest}x{smallest} pixels; got {height}x{width}"
        )
    return 1 - (_normalised_ms_ssim(fused, a) + _normalised_ms_ssim(fused, b)) / 2


def _normalised_ms_ssim(fused: Tensor, source: Tensor) -> Tensor:
    """Return the similarity of a batch to its sources, one number in 0..1."""
    fine: list[Tensor] = []
    for level, weight in enumerate(SCALE_WEIGHTS):
        if level:
            fused, source = F.avg_pool2d(fused, 2), F.avg_pool2d(source, 2)
        moments = Moments(window(_shrunk_window(fused)))
        # the code takes the dynamic range from the values of the fused image, anew at every scale
        low, high = float(fused.detach().min()), float(fused.detach().max())
        data_range = (255.0 if high > 128 else 1.0) + (1.0 if low < -0.5 else 0.0)
        last = level == len(SCALE_WEIGHTS) - 1
        similarity = (ssim_map if last else structure_map)(moments, fused, source, data_range).mean()
        fine.append(((similarity + 1) / 2) ** weight)
    return torch.stack(fine[:-1]).prod() * fine[-1] ** (len(fine) - 1)


def _shrunk_window(image: Tensor) -> tuple[float, ...]:
    """Return Gaussian taps of sigma 1.5: eleven, or as many as the image has; the peak of an even number is behind."""
    size = min(len(GAUSSIAN), *image.shape[-2:])
    taps = [math.exp(-((i - size // 2) ** 2) / (2 * 1.5**2)) for i in range(size)]
    return tuple(tap / math.fsum(taps) for tap in taps)


def ms_ssim_to_sources(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``1 - (MS-SSIM(fused, a) + MS-SSIM(fused, b)) / 2``, five scales, at least 176x176 pixels.

    NaN where the mean similarity of a scale is negative.

    Raises:
        FusionkitError: The images are too small for five scales.
    """
    if min(fused.shape[-2:]) < SMALLEST_SIDE:
        height, width = fused.shape[-2:]
        raise FusionkitError(
            f"loss term 'ms_ssim_to_sources' needs {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels; got {height}x{width}"
        )
    return 1 - multi_scale_ssim(fused, a, b, data_range=1.0).mean()


TERMS: dict[str, Term] = {
    "intensity_max": intensity_max,
    "intensity_max_squared": intensity_max_squared,
    "gradient_max": gradient_max,
    "ssim_to_sources": ssim_to_sources,
    "ssim_to_sources_inside": ssim_to_sources_inside,
    "normalised_ms_ssim_to_sources": normalised_ms_ssim_to_sources,
    "ms_ssim_to_sources": ms_ssim_to_sources,
}


@dataclass(frozen=True)
class FusionLoss:
    """A weighted sum of named terms.

    Args:
        weights: Weight per name in ``TERMS``.

    Raises:
        FusionkitError: A term is not known.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in TERMS:
                raise unknown("loss term", name, TERMS)

    def __call__(self, fused: Tensor, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Return each unweighted term and their weighted sum ``"total"``, scalars."""
        values = {name: TERMS[name](fused, a, b) for name in self.weights}
        total = sum(weight * values[name] for name, weight in self.weights.items())
        return values | {"total": total}


PRESETS: dict[str, FusionLoss] = {
    # LightFusionNet, eq. 5. Its Table 5 prints the same three numbers in another order.
    "lightfusionnet": FusionLoss({"intensity_max": 20.0, "gradient_max": 100.0, "ssim_to_sources": 50.0}),
    # FusionMamba, eqs. 9-12 and section 4.1.2.
    "fusionmamba": FusionLoss({"intensity_max_squared": 1.0, "gradient_max": 1.0, "ssim_to_sources_inside": 10.0}),
    # What the authors' code minimises; its first release had the weights 100, 10, 1, and an answer of the authors
    # advises 10, 1, 1 for infrared-visible pairs.
    "fusionmamba_code": FusionLoss(
        {"intensity_max_squared": 10.0, "gradient_max": 1.0, "normalised_ms_ssim_to_sources": 10.0}
    ),
    "fusionmamba_first_code": FusionLoss(
        {"intensity_max_squared": 100.0, "gradient_max": 10.0, "normalised_ms_ssim_to_sources": 1.0}
    ),
    "fusionmamba_advice": FusionLoss(
        {"intensity_max_squared": 10.0, "gradient_max": 1.0, "normalised_ms_ssim_to_sources": 1.0}
    ),
    # DIFF-MF, eqs. 11-14, which give no weights; these are SwinFusion's for infrared-visible pairs.
    "diffmf": FusionLoss({"intensity_max": 20.0, "gradient_max": 20.0, "ssim_to_sources": 10.0}),
}


def preset(name: str, weights: Mapping[str, float] | None = None) -> FusionLoss:
    """Return a paper's loss, with some of its weights replaced.

    Args:
        name: A key of ``PRESETS``.
        weights: Replacements by term name.

    Raises:
        FusionkitError: The preset or a term is not known.
    """
    if name not in PRESETS:
        raise unknown("loss", name, PRESETS)
    return FusionLoss({**PRESETS[name].weights, **(weights or {})})
