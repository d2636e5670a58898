"""How well the fused image keeps the edges of its sources, and how many it makes up: Qabf, Q_G, Nabf.

All three compare strength and direction of the Sobel gradient pixel by pixel.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.metrics.filters import SOBEL_SMOOTH, SOBEL_STEP, correlate, pad, sobel
from fusionkit.metrics.metric import Metric, Variant


@dataclass(frozen=True)
class _Edges:
    """Maps of gradient strength and of gradient angle, the latter from -pi/2 to pi/2."""

    strength: Tensor
    angle: Tensor


def _sum(maps: Tensor) -> Tensor:
    return maps.sum(dim=(-2, -1))


def _strength(x: Tensor, y: Tensor) -> Tensor:
    """Return sqrt(x^2 + y^2), the root correctly rounded.

    The root of torch on a CPU may be off in its last bit, which makes and breaks ties on [0, 1] data.
    """
    power = x.square() + y.square()
    root = power.sqrt()
    # In two halves of 26 bits, the square of the root is known without rounding.
    spread = root * (2.0**27 + 1)
    high = spread - (spread - root)
    low = root - high
    square = root.square()
    rest = (high.square() - square).add_(2 * high * low).add_(low.square_())
    correction = (power - square).sub_(rest).div_(2 * root).masked_fill_(root == 0, 0)
    return root.add_(correction)


def _sobel_in_order(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return Sobel responses with zero border, positive where values rise to the left and downwards.

    MATLAB's conv2 takes the neighbours from the right column to the left, in each from the bottom to the top. On
    [0, 1] data this order decides which responses cancel to exactly 0 and which gradients are equally strong.
    """
    height, width = images.shape[-2:]
    padded = pad(pad(images, 1, 1, -1, "zero"), 1, 1, -2, "zero")
    x, y = torch.zeros_like(images), torch.zeros_like(images)
    for j in (1, 0, -1):
        for i in (1, 0, -1):
            neighbours = padded[..., 1 + i : 1 + i + height, 1 + j : 1 + j + width]
            if j:
                x.add_(neighbours, alpha=-j * (2 - abs(i)))
            if i:
                y.add_(neighbours, alpha=i * (2 - abs(j)))
    return x, y


def _qabf(
    fused: Tensor, a: Tensor, b: Tensor, unit: bool = False, tie: float | None = 1.0, truncate: bool = False
) -> Tensor:
    """How far strength and angle of the sources' edges are kept, weighted by their strength.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        unit: Measure levels / 255.
        tie: Ratio of two equal strengths, as a factor on the strength; None sets the ratio to 1.
        truncate: Angles and ratios are stored as uint8, strengths as float32.
    """
    fused_edges, *sources = (_qabf_edges(image / 255 if unit else image, truncate) for image in (fused, a, b))
    kept = sum(_preservation(edges, fused_edges, tie, truncate).mul_(edges.strength) for edges in sources)
    present = sources[0].strength + sources[1].strength
    return _sum(kept) / (_sum_of_float32(present) if truncate else _sum(present))


def _qabf_edges(image: Tensor, truncate: bool) -> _Edges:
    x, y = _sobel_in_order(image)
    angle = (y / x).atan_().masked_fill_(x == 0, math.pi / 2)
    if truncate:
        return _Edges(_strength(x, y).float().double(), _stored_as_uint8(angle))
    return _Edges(_strength(x, y), angle)


def _stored_as_uint8(x: Tensor) -> Tensor:
    return x.trunc().remainder_(256)


def _sum_of_float32(maps: Tensor) -> Tensor:
    """Add up maps as numpy does in float32; its rounding is larger than 1e-9."""
    images = maps.float().flatten(0, 1).cpu().numpy()
    return maps.new_tensor([float(image.sum()) for image in images]).view(maps.shape[:2])


def _preservation(source: _Edges, fused: _Edges, tie: float | None, truncate: bool) -> Tensor:
    ratio = torch.minimum(source.strength, fused.strength) / torch.maximum(source.strength, fused.strength)
    equal = 1.0 if tie is None else fused.strength * tie
    ratio = torch.where(source.strength == fused.strength, equal, ratio)
    turn = source.angle - fused.angle
    if truncate:
        ratio, turn = _stored_as_uint8(ratio), turn.remainder_(256)
    agreement = 1 - turn.abs_().div_(math.pi / 2)
    by_strength = torch.sigmoid(ratio.sub_(0.5).mul_(15)).mul_(0.9994)
    return by_strength.mul_(torch.sigmoid(agreement.sub_(0.8).mul_(22)).mul_(0.9879))


def _parallel(angle: Tensor, other: Tensor) -> Tensor:
    """Return 1 for gradients along the same line, falling linearly to 0 for perpendicular ones."""
    return (angle - other).abs_().sub_(math.pi / 2).abs_().mul_(2 / math.pi)


Q_G_ZERO = 1e-5  # stands in for strengths and horizontal responses of 0


def _q_g(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean over the pixels of how far edges are kept, each pixel a mean of its sources weighted by strength."""
    fused_edges, *sources = (_q_g_edges(image) for image in (fused, a, b))
    fused_strength = fused_edges.strength
    kept, present = 0.0, 0.0
    for edges in sources:
        weight, floored = edges.strength.clamp(min=Q_G_ZERO), fused_strength.clamp(min=Q_G_ZERO)
        ratio = torch.where(edges.strength > fused_strength, fused_strength / weight, weight / floored)
        by_strength = torch.sigmoid(ratio.sub_(0.5).mul_(10))
        by_angle = torch.sigmoid(_parallel(edges.angle, fused_edges.angle).sub_(0.75).mul_(20))
        kept = by_strength.mul_(by_angle).mul_(weight).add_(kept)
        present = weight + present
        # The reference code keeps the floor of the fused strengths once it has compared the first source.
        fused_strength = floored
    return (kept / present).mean(dim=(-2, -1))


def _q_g_edges(levels: Tensor) -> _Edges:
    x, y = sobel(levels)
    return _Edges(_strength(x, y), (y / torch.where(x == 0, Q_G_ZERO, x)).atan_())


WEAK, WEAK_WEIGHT = 2.0, 0.001


def _nabf(fused: Tensor, a: Tensor, b: Tensor, unit: bool = False) -> Tensor:
    """Edge information that is not the sources', where the fused image has the strongest edge of the three.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        unit: Measure levels / 255.
    """
    fused_edges, *sources = (_nabf_edges(image / 255 if unit else image) for image in (fused, a, b))
    artefact = fused_edges.strength > torch.maximum(*(edges.strength for edges in sources))
    made_up, present = 0.0, 0.0
    for edges in sources:
        by_strength = torch.sigmoid((edges.strength / fused_edges.strength).sub_(0.5).mul_(19)).mul_(0.9999)
        by_angle = torch.sigmoid(_parallel(edges.angle, fused_edges.angle).sub_(0.5).mul_(22)).mul_(0.9995)
        weight = torch.where(edges.strength < WEAK, WEAK_WEIGHT, edges.strength.pow(1.5))
        lost = by_strength.mul_(by_angle).sqrt_().neg_().add_(1).mul_(weight)
        made_up = made_up + _sum(torch.where(artefact, lost, 0))
        present = present + _sum(weight)
    return made_up / present


def _nabf_edges(image: Tensor) -> _Edges:
    # Down the columns first: on [0, 1] data the reference's order of addition counts.
    smooth, step = (correlate(image, None, taps, "reflect") for taps in (SOBEL_SMOOTH, SOBEL_STEP))
    x = correlate(smooth, SOBEL_STEP, None, "reflect") / 8
    y = correlate(step, SOBEL_SMOOTH, None, "reflect") / 8
    return _Edges(_strength(x, y), (x / y).atan_().nan_to_num_(nan=0.0))


def _nabf_as_driven(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Nabf with the first source taken for the fused image."""
    return _nabf(a, b, fused)


_TIE = "two equally strong edges have this strength as their ratio, even 0 for flat pixels"
_NOISE = "on [0, 1], where rounding decides over ties and zeros; sums are formed in MATLAB's order"
qabf = Metric(
    name="qabf",
    full_name="edge preservation",
    source="Xydeas and Petrovic 2000, Electronics Letters 36(4)",
    better="higher",
    needs="fused, a, b",
    edge_cases="NaN if both sources are black; other flat images are compared along their frame, outside which "
    "0 is assumed; 0.975 for three equal images",
    kernel=_qabf,
    variants={
        "tang": Variant("none", "0 to 0.98", _TIE),
        "tang2022": Variant("none", "0 to 0.98", f"{_TIE}; {_NOISE}", {"unit": True}),
        "vifb": Variant("none", "0 to 0.98", _TIE + "; on 0..65025", {"tie": 255.0}),
        "cddfuse": Variant("none", "0 to 0.98", _TIE),
        "cddfuse-uint8": Variant(
            "none",
            "0 to 0.98",
            _TIE + "; angles and ratios lose their fraction and wrap modulo 256, so most edges count nothing",
            {"truncate": True},
        ),
        "reference": Variant("none", "0 to 0.98", "two equally strong edges have the ratio 1", {"tie": None}),
    },
)

q_g = Metric(
    name="q_g",
    full_name="gradient preservation",
    source="Zheng Liu's reading of Xydeas and Petrovic 2000, the publication behind qabf",
    better="higher",
    needs="fused, a, b",
    edge_cases="flat pixels count as kept",
    kernel=_q_g,
    variants={
        "liu": Variant("none", "0 to 0.99", "mean of the locally weighted preservation instead of qabf's ratio of sums")
    },
)

_UNIT = Variant(
    "none", "0 to 1", "on [0, 1], where all weights are equal: the mean loss, not weighted by edges", {"unit": True}
)
nabf = Metric(
    name="nabf",
    full_name="fusion artefacts",
    source="Shreyamsha Kumar 2013, Signal, Image and Video Processing 7(6)",
    better="lower",
    needs="fused, a, b",
    edge_cases="0 if fused is constant or equals a source",
    kernel=_nabf,
    variants={
        "tang": Variant("none", "0 to 1", "arguments in the order that the function expects"),
        "tang2022": _UNIT,
        "rfn": _UNIT,
        "reference": Variant("none", "0 to 1"),
    },
    min_side=2,
)
nabf_asdriven = Metric(
    name="nabf_asdriven",
    full_name="fusion artefacts, arguments in the driver's order",
    source=nabf.source,
    better="lower",
    needs="fused, a, b",
    edge_cases="0 if the first source is constant or equals b or fused",
    kernel=_nabf_as_driven,
    variants={"tang": Variant("none", "0 to 1", "takes a for the fused image and b and fused for the sources")},
    min_side=2,
)

METRICS = (qabf, q_g, nabf, nabf_asdriven)
