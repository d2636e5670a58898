"""How much the fused image should resemble its sources: one minus structural similarity, in several forms."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import FusionkitError
from fusionkit.metrics.filters import Moments, window
from fusionkit.metrics.similarity import (
    GAUSSIAN,
    SCALE_WEIGHTS,
    SMALLEST_SIDE,
    multi_scale_ssim,
    ssim_map,
    structure_map,
)


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
