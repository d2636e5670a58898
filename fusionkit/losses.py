"""Every loss term once; each paper's total is a preset: terms with weights.

All images are (B, 1, H, W) float tensors in [0, 1]; every term returns a scalar tensor, zero or larger.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import FusionkitError, unknown
from fusionkit.metrics.filters import Moments, sobel, window
from fusionkit.metrics.similarity import GAUSSIAN, SMALLEST_SIDE, multi_scale_ssim, ssim_map

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


def sobel_magnitude(image: Tensor) -> Tensor:
    """Return ``|Gx| + |Gy|`` of the 3x3 Sobel operator with zero padding, shape of ``image``."""
    gx, gy = sobel(image, "zero")
    return gx.abs() + gy.abs()


def intensity_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference to the pixelwise maximum (LightFusionNet, eq. 1)."""
    return F.l1_loss(fused, torch.maximum(a, b))


def gradient_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference of Sobel magnitudes to their maximum (LightFusionNet, eq. 2)."""
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
    "gradient_max": gradient_max,
    "ssim_to_sources": ssim_to_sources,
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
