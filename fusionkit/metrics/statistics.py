"""Statistics of the fused image alone: entropy, standard deviation, spatial frequency, gradient and edge strength.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import torch
from torch import Tensor

from fusionkit.metrics.conventions import round_half_up
from fusionkit.metrics.filters import sobel
from fusionkit.metrics.histograms import entropy, histogram
from fusionkit.metrics.metric import Metric, Variant


def _wrap(x: Tensor) -> Tensor:
    """Return what uint8 arithmetic leaves of whole numbers: the rest modulo 256."""
    return torch.remainder(x, 256)


def _entropy(levels: Tensor) -> Tensor:
    return entropy(histogram(levels))


def _standard_deviation(levels: Tensor, scale: float = 1.0, divide: bool = True, saturate: bool = False) -> Tensor:
    """Root of the mean squared deviation from the mean.

    Args:
        levels: Grey levels (B, C, H, W).
        scale: Factor on the result.
        divide: Mean of the squares instead of their sum.
        saturate: Deviations and squares in saturating uint8 arithmetic: none below 0, none above 255.
    """
    # An explicit quotient keeps the deviations of a constant image exactly zero on every device.
    n_pixels = levels.shape[-2] * levels.shape[-1]
    deviations = levels - levels.sum(dim=(-2, -1), keepdim=True) / n_pixels
    if saturate:
        squares = round_half_up(deviations.clamp(min=0)).square().clamp(max=255)
    else:
        squares = deviations.square()
    return (squares.sum(dim=(-2, -1)) / (n_pixels if divide else 1)).sqrt() * scale


def _spatial_frequency(
    levels: Tensor, scale: float = 1.0, own_count: bool = False, wrap: bool = False, beside: bool = False
) -> Tensor:
    """Root of the mean squared horizontal plus vertical differences.

    Args:
        levels: Grey levels (B, C, H, W).
        scale: Factor on the result.
        own_count: Divide each sum by its own number of differences instead of by H W.
        wrap: Differences and squares in uint8 arithmetic.
        beside: Put the channels side by side and measure that as one image.
    """
    if beside:
        levels = levels.transpose(1, 2).flatten(2).unsqueeze(1)
    total = levels.new_zeros(levels.shape[:2])
    for dim in (-1, -2):
        steps = levels.diff(dim=dim)
        squares = _wrap(steps.square()) if wrap else steps.square()
        total += squares.sum(dim=(-2, -1)) / (squares if own_count else levels)[0, 0].numel()
    return total.sqrt() * scale


def _central_differences(levels: Tensor, dim: int, wrap: bool) -> Tensor:
    """Halved differences over two pixels inside, plain differences at both borders.

    With wrap the halves are those of uint8 arithmetic; border steps stay as they are, since their squares
    agree modulo 256 either way.
    """
    n = levels.shape[dim]
    steps = levels.diff(dim=dim)
    inner = levels.narrow(dim, 2, n - 2) - levels.narrow(dim, 0, n - 2)
    inner = (_wrap(inner) / 2).floor() if wrap else inner / 2
    return torch.cat([steps.narrow(dim, 0, 1), inner, steps.narrow(dim, n - 2, 1)], dim=dim)


def _average_gradient(levels: Tensor, forward: bool = False, all_pixels: bool = False, wrap: bool = False) -> Tensor:
    """Sum of the gradient strengths sqrt((gx^2 + gy^2) / 2), divided by (H-1) (W-1).

    Args:
        levels: Grey levels (B, C, H, W).
        forward: Forward differences at pixels that have both neighbours, instead of central ones everywhere.
        all_pixels: Divide by H W.
        wrap: Everything before the division by 2 in uint8 arithmetic.
    """
    if forward:
        gx, gy = levels.diff(dim=-1)[..., :-1, :], levels.diff(dim=-2)[..., :-1]
    else:
        gx, gy = (_central_differences(levels, dim, wrap) for dim in (-1, -2))
    power = gx.square() + gy.square()
    strengths = ((_wrap(power) if wrap else power) / 2).sqrt()
    height, width = levels.shape[-2:]
    return strengths.sum(dim=(-2, -1)) / (height * width if all_pixels else (height - 1) * (width - 1))


def _edge_intensity(levels: Tensor) -> Tensor:
    """Mean magnitude of the unnormalised Sobel gradient; the border is replicated."""
    gx, gy = sobel(levels, "replicate")
    return gx.square().add_(gy.square()).sqrt_().mean(dim=(-2, -1))


_BITS = Variant("bit", "0 to 8")
en = Metric(
    name="en",
    full_name="entropy",
    source="Shannon 1948; for fusion Roberts, van Aardt and Ahmed 2008, J. Applied Remote Sensing 2",
    better="higher",
    needs="fused",
    edge_cases="0 for a constant image",
    kernel=_entropy,
    variants={name: _BITS for name in ("tang", "tang2022", "vifb", "cddfuse", "cddfuse-uint8", "reference")},
)

_GREY_LEVELS = Variant("grey levels", "0 to 127.5")
sd = Metric(
    name="sd",
    full_name="standard deviation",
    source="textbook statistic (population form)",
    better="higher",
    needs="fused",
    edge_cases="0 for a constant image",
    kernel=_standard_deviation,
    variants={
        "tang": _GREY_LEVELS,
        "tang2022": Variant(
            "grey levels",
            "0 to 15.97",
            "saturating uint8: only pixels above the mean count, each square at most 255",
            {"saturate": True},
        ),
        "vifb": Variant("grey levels", "0 to 127.5", 'called "Variance" there'),
        "cddfuse": _GREY_LEVELS,
        "cddfuse-uint8": _GREY_LEVELS,
        "rfn": Variant(
            "[0, 1] times root of pixels",
            "0 to sqrt(H W)/2",
            "sum not divided by the number of pixels, so it grows with the image",
            {"scale": 1 / 255, "divide": False},
        ),
        "reference": _GREY_LEVELS,
    },
)

_OWN_COUNT = Variant(
    "grey levels", "0 to 360.7", "each sum divided by its own number of differences", {"own_count": True}
)
sf = Metric(
    name="sf",
    full_name="spatial frequency",
    source="Eskicioglu and Fisher 1995, IEEE Trans. Communications 43(12)",
    better="higher",
    needs="fused",
    edge_cases="0 for a constant image",
    kernel=_spatial_frequency,
    variants={
        "tang": _OWN_COUNT,
        "tang2022": Variant(
            "[0, 1]", "0 to 1.415", _OWN_COUNT.note + "; on [0, 1]", {"own_count": True, "scale": 1 / 255}
        ),
        "vifb": Variant(
            "grey levels",
            "0 to 360.7",
            "sums divided by H W; colour channels side by side, seams included",
            {"beside": True},
        ),
        "cddfuse": _OWN_COUNT,
        "cddfuse-uint8": Variant(
            "none",
            "0 to 22.4",
            _OWN_COUNT.note + "; differences and squares modulo 256",
            {"own_count": True, "wrap": True},
        ),
        "reference": Variant("grey levels", "0 to 360.7", "sums divided by H W"),
    },
    min_side=2,
)

_CENTRAL = Variant(
    "grey levels",
    "0 to 255 H W / ((H-1) (W-1))",
    "central differences at all H W pixels, divided by (H-1) (W-1)",
)
ag = Metric(
    name="ag",
    full_name="average gradient",
    source="Cui, Feng, Xu, Li and Chen 2015, Optics Communications 341",
    better="higher",
    needs="fused",
    edge_cases="0 for a constant image",
    kernel=_average_gradient,
    variants={
        "tang": _CENTRAL,
        "tang2022": _CENTRAL,
        "vifb": _CENTRAL,
        "cddfuse": Variant(
            "grey levels", "0 to 255", "central differences, mean over all pixels", {"all_pixels": True}
        ),
        "cddfuse-uint8": Variant(
            "none",
            "0 to 11.3",
            "as cddfuse, with differences, halves and squares in uint8 arithmetic",
            {"all_pixels": True, "wrap": True},
        ),
        "reference": Variant(
            "grey levels", "0 to 255", "forward differences, mean over (H-1) (W-1) pixels", {"forward": True}
        ),
    },
    min_side=2,
)

_SOBEL = Variant("grey levels", "0 to 1140.4", "Sobel kernels that give 4 for a step of 1")
ei = Metric(
    name="ei",
    full_name="edge intensity",
    source="Rajalingam and Priya 2018, Int. J. Engineering Science Invention",
    better="higher",
    needs="fused",
    edge_cases="0 for a constant image",
    kernel=_edge_intensity,
    variants={"vifb": _SOBEL, "reference": _SOBEL},
)

METRICS = (en, sd, sf, ag, ei)
