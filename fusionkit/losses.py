"""Every loss term once; each paper's total is a preset: terms with weights.

All images are (B, 1, H, W) float tensors in [0, 1]; every term returns a scalar tensor, zero or larger.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import unknown

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


def sobel_magnitude(image: Tensor) -> Tensor:
    """Return ``|Gx| + |Gy|`` of the 3x3 Sobel operator with zero padding, shape of ``image``."""
    row = image.new_tensor([-1.0, 0.0, 1.0])
    column = image.new_tensor([1.0, 2.0, 1.0])
    gx = torch.outer(column, row)
    kernels = torch.stack([gx, gx.T])[:, None]
    return F.conv2d(image, kernels, padding=1).abs().sum(1, keepdim=True)


def intensity_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference to the pixelwise maximum (LightFusionNet, eq. 1)."""
    return F.l1_loss(fused, torch.maximum(a, b))


def gradient_max(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference of Sobel magnitudes to their maximum (LightFusionNet, eq. 2)."""
    target = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    return F.l1_loss(sobel_magnitude(fused), target)


def _blur_matrix(length: int, like: Tensor) -> Tensor:
    """Return the (length, length) matrix that convolves with the Gaussian window, zeros outside."""
    x = torch.arange(-5, 6, dtype=like.dtype, device=like.device)
    window = torch.exp(-(x**2) / (2 * 1.5**2))
    window = window / window.sum()
    position = torch.arange(length, device=like.device)
    offset = position[:, None] - position + 5
    inside = (offset >= 0) & (offset <= 10)
    return torch.where(inside, window[offset.clamp(0, 10)], 0.0)


def _blur(images: Tensor) -> Tensor:
    """Blur (..., H, W) as two matrix products: on a CPU far faster than one-channel convolutions."""
    height, width = images.shape[-2:]
    return _blur_matrix(height, images) @ images @ _blur_matrix(width, images)


def ssim_to_sources(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``1 - (SSIM(fused, a) + SSIM(fused, b)) / 2``.

    Window: Gaussian 11x11, sigma 1.5, zero padding; constants 0.01^2 and 0.03^2 on [0, 1].

    Source: LightFusionNet, eqs. 3-4. The paper does not define I_XY; this reading is SwinFusion's medical loss,
    whose three weights equal those of eq. 5.
    """
    c1, c2 = 0.01**2, 0.03**2
    moments = torch.cat([fused, a, b, fused * fused, a * a, b * b, fused * a, fused * b], 1)
    mean_f, mean_a, mean_b, ff, aa, bb, fa, fb = _blur(moments).split(1, 1)
    total = fused.new_zeros(())
    for mean_s, ss, fs in ((mean_a, aa, fa), (mean_b, bb, fb)):
        luminance = (2 * mean_f * mean_s + c1) / (mean_f**2 + mean_s**2 + c1)
        variances = (ff - mean_f**2) + (ss - mean_s**2)
        structure = (2 * (fs - mean_f * mean_s) + c2) / (variances + c2)
        total = total + (luminance * structure).mean()
    return 1 - total / 2


TERMS: dict[str, Term] = {
    "intensity_max": intensity_max,
    "gradient_max": gradient_max,
    "ssim_to_sources": ssim_to_sources,
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
