"""Structural similarity to the sources: SSIM and MS-SSIM.

The maps and the multi-scale index are differentiable; `fusionkit.losses` uses them as well. Shapes: images are
(B, C, H, W); kernels take grey levels, whole numbers 0..255 in float64, and return (B, C).
"""

from collections.abc import Iterator

from torch import Tensor

from fusionkit.metrics.exposure import exposure_similarity
from fusionkit.metrics.filters import Border, Moments, Taps, box, correlate, gaussian, pad, window
from fusionkit.metrics.metric import Metric, Variant

GAUSSIAN = gaussian(11, 1.5)
# Importance of the scales, finest first (Wang, Simoncelli and Bovik 2003, section 3.2).
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = 11 * 2 ** (len(SCALE_WEIGHTS) - 1)


def structure_map(moments: Moments, x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """Return the local product of contrast and structure similarity, (2 cov + C2) / (var_x + var_y + C2).

    Args:
        moments: The window; shared by several calls it computes each local moment once.
        x: Images (B, C, H, W).
        y: Images, alike.
        data_range: Largest minus smallest possible value, L; C2 = (0.03 L)^2.

    Returns:
        Maps, -1 to 1, of the size that the window leaves.

    Source: Wang et al. 2004, IEEE Trans. Image Processing 13(4), eq. 13 without its first factor.
    """
    c2 = (0.03 * data_range) ** 2
    return (2 * moments.covariance(x, y) + c2) / (moments.variance(x) + moments.variance(y) + c2)


def ssim_map(moments: Moments, x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """Return the local structural similarity: `structure_map` times that of the means, with C1 = (0.01 L)^2.

    Args:
        moments: The window.
        x: Images (B, C, H, W).
        y: Images, alike.
        data_range: Largest minus smallest possible value, L.

    Returns:
        Maps, -1 to 1 for non-negative images.

    Source: Wang et al. 2004, IEEE Trans. Image Processing 13(4), eq. 13.
    """
    c1 = (0.01 * data_range) ** 2
    mean_x, mean_y = moments.mean(x), moments.mean(y)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return luminance * structure_map(moments, x, y, data_range)


def _scales(images: tuple[Tensor, ...], count: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield the images and coarser versions: 2x2 averages, then every second pixel, beginning with the first."""
    for level in range(count):
        if level:
            images = tuple(correlate(image, box(2), box(2), "symmetric")[..., ::2, ::2] for image in images)
        yield images


def multi_scale_ssim(fused: Tensor, a: Tensor, b: Tensor, data_range: float) -> Tensor:
    """Return the mean over both sources of the five-scale structural similarity.

    Args:
        fused: Images (B, C, H, W), at least 176x176.
        a: First sources, alike.
        b: Second sources, alike.
        data_range: Largest minus smallest possible value.

    Returns:
        (B, C), 0 to 1; NaN where the mean similarity of a scale is negative, as its power is not real.

    Source: Wang, Simoncelli and Bovik 2003, Asilomar Conference, eq. 7.
    """
    of_a, of_b = 1.0, 1.0
    for level, (f, x, y) in enumerate(_scales((fused, a, b), len(SCALE_WEIGHTS))):
        moments = Moments(window(GAUSSIAN))
        local = ssim_map if level == len(SCALE_WEIGHTS) - 1 else structure_map
        weight = SCALE_WEIGHTS[level]
        of_a = of_a * local(moments, f, x, data_range).mean(dim=(-2, -1)) ** weight
        of_b = of_b * local(moments, f, y, data_range).mean(dim=(-2, -1)) ** weight
    return (of_a + of_b) / 2


def _multi_scale_exposure(fused: Tensor, a: Tensor, b: Tensor, count: int) -> Tensor:
    """Product of the multi-exposure indices of some scales, each to the power of its share of the weights."""
    total = 1.0
    for level, images in enumerate(_scales((fused, a, b), count)):
        total = total * exposure_similarity(*images) ** (SCALE_WEIGHTS[level] / sum(SCALE_WEIGHTS[:count]))
    return total


def _extend(levels: Tensor, margin: int, border: Border) -> Tensor:
    """Add a margin; once per image, as doing so for every local moment takes as long as filtering."""
    return pad(pad(levels, margin, margin, -1, border), margin, margin, -2, border)


def _ssim(
    fused: Tensor,
    a: Tensor,
    b: Tensor,
    taps: Taps = GAUSSIAN,
    border: Border = "valid",
    data_range: float = 255.0,
    factor: float = 1.0,
    added: bool = False,
    exposure: bool = False,
) -> Tensor:
    """Mean over the sources of the mean structural similarity.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        taps: The window is their outer product.
        border: What the window meets outside the image.
        data_range: L of the constants.
        factor: Factor on local variances and covariances.
        added: Sum over the sources.
        exposure: The multi-exposure fusion index instead.
    """
    if exposure:
        return _multi_scale_exposure(fused, a, b, 1)
    fused, a, b = (_extend(levels, len(taps) // 2, border) for levels in (fused, a, b))
    moments = Moments(window(taps), factor)
    of_a, of_b = (ssim_map(moments, fused, source, data_range).mean(dim=(-2, -1)) for source in (a, b))
    return of_a + of_b if added else (of_a + of_b) / 2


def _ms_ssim(fused: Tensor, a: Tensor, b: Tensor, exposure: bool = False) -> Tensor:
    """Five-scale structural similarity, or the multi-exposure fusion index at three scales."""
    return _multi_scale_exposure(fused, a, b, 3) if exposure else multi_scale_ssim(fused, a, b, 255.0)


_UNIFORM = {"taps": box(7), "factor": 49 / 48, "added": True}
ssim = Metric(
    name="ssim",
    full_name="structural similarity",
    source="Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Trans. Image Processing 13(4)",
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images (2 where the sources are added); constant images are compared by their means "
    "alone (tang2022: always 1 if all three are constant)",
    kernel=_ssim,
    variants={
        "tang": Variant(
            "none",
            "-1 to 1",
            "constants of dynamic range 1 although levels are 0..255, so lower; replicated border",
            {"border": "replicate", "data_range": 1.0},
        ),
        "tang2022": Variant(
            "none",
            "-1 to 1",
            "not SSIM but the multi-exposure fusion index of Ma, Zeng and Wang 2015 at one scale",
            {"exposure": True},
            min_side=11,
        ),
        "vifb": Variant("none", "-2 to 2", "sum over the sources", {"added": True}, min_side=11),
        "cddfuse": Variant(
            "none",
            "-2 to 2",
            "sum over the sources; uniform 7x7 window, sample covariance, constants of dynamic range 2 as "
            "scikit-image assumed for floats",
            {**_UNIFORM, "data_range": 2.0},
            min_side=7,
        ),
        "cddfuse-uint8": Variant(
            "none",
            "-2 to 2",
            "sum over the sources; uniform 7x7 window, sample covariance; nothing wraps, as scikit-image computes "
            "in floats, but takes 255 as the dynamic range of uint8",
            _UNIFORM,
            min_side=7,
        ),
        "reference": Variant("none", "-1 to 1", "mean over the sources, inside the border", min_side=11),
    },
)

_EXPOSURE = Variant(
    "none",
    "0 to 1",
    "not MS-SSIM but the multi-exposure fusion index of Ma, Zeng and Wang 2015 at three scales",
    {"exposure": True},
    min_side=44,
)
ms_ssim = Metric(
    name="ms_ssim",
    full_name="multi-scale structural similarity",
    source="Wang, Simoncelli and Bovik 2003, Asilomar Conference on Signals, Systems and Computers",
    better="higher",
    needs="fused, a, b",
    edge_cases="1 for equal images; NaN where a scale is negative (its power would be complex)",
    kernel=_ms_ssim,
    variants={
        **{name: _EXPOSURE for name in ("tang", "tang2022", "rfn")},
        "reference": Variant("none", "0 to 1", "mean over the sources", min_side=SMALLEST_SIDE),
    },
)

METRICS = (ssim, ms_ssim)
