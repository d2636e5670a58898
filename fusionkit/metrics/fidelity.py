"""How much visual information of the sources the fused image keeps: VIF and VIFF.

Both model each local window of the fused image as gain times source plus noise, at four scales, and compare the
information that an eye with internal noise draws from the fused image with what it draws from the source.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.metrics.filters import gaussian, window
from fusionkit.metrics.metric import Metric, Variant

SIZES = (17, 9, 5, 3)
# The windows fit at all four scales from this size on.
MIN_SIDE = 41
FLAT = 1e-10  # local variances below this one count as 0

Average = Callable[[Tensor], Tensor]
Product = Callable[[Tensor, Tensor], Tensor]
# What x * y gives on whole numbers: as it is, and in uint8 arithmetic of MATLAB and of numpy.
PRODUCTS: dict[str, Product] = {
    "exact": torch.mul,
    "saturate": lambda x, y: (x * y).clamp_(max=255),
    "wrap": lambda x, y: (x * y).remainder_(256),
}


def _average(size: int) -> Average:
    return window(gaussian(size, size / 5))


def _coarser(image: Tensor, size: int) -> Tensor:
    return _average(size)(image)[..., ::2, ::2].contiguous()


def _pyramid(
    images: Sequence[Tensor], coarser: Callable[[Tensor, int], Tensor]
) -> Iterator[tuple[int, Sequence[Tensor]]]:
    """Yield the window size of each scale and the images at this scale, finest first."""
    for size in SIZES:
        if size < SIZES[0]:
            images = [coarser(image, size) for image in images]
        yield size, images


@dataclass(frozen=True)
class _Channel:
    """Maps of the local moments of one source and the fused image."""

    mean: Tensor
    variance: Tensor
    covariance: Tensor
    fused_mean: Tensor
    fused_variance: Tensor

    def ratio(self) -> Tensor:
        """Return the gain that fits best, whatever it is worth."""
        return self.covariance / (self.variance + FLAT)

    def gain(self) -> Tensor:
        """Return the gain of the model: 0 where an image is flat or the fused image runs against the source."""
        related = (self.variance >= FLAT) & (self.fused_variance >= FLAT) & (self.covariance > 0)
        return self.ratio().mul_(related)

    def kept(self, noise: float) -> Tensor:
        """Return the information that the fused image conveys to an eye with noise of this variance."""
        gain = self.gain()
        distortion = (self.fused_variance - gain * self.covariance).clamp_(min=FLAT)
        return (gain.square_() * self.variance).div_(distortion.add_(noise)).add_(1).log10_()

    def present(self, noise: float) -> Tensor:
        """Return the information that the source itself conveys to this eye."""
        return self.variance.masked_fill(self.variance < FLAT, 0).div_(noise).add_(1).log10_()


def _channels(
    fused: Tensor, sources: Sequence[Tensor], average: Average, product: Product = torch.mul
) -> list[_Channel]:
    """Return one channel per source."""
    # Subtracting a common level first would lower the rounding noise of flat areas near that level and raise it
    # elsewhere; the reference codes do not, and plain levels come closest to them.
    mean = average(fused)
    variance = average(product(fused, fused)).sub_(mean * mean)
    channels = []
    for source in sources:
        source_mean = average(source)
        source_variance = average(product(source, source)).sub_(source_mean * source_mean).clamp_(min=0)
        covariance = average(product(source, fused)).sub_(source_mean * mean)
        channels.append(_Channel(source_mean, source_variance, covariance, mean, variance))
    return channels


def _sum(maps: Tensor) -> Tensor:
    return maps.sum(dim=(-2, -1))


VIF_NOISE = 2.0


def _vif(fused: Tensor, a: Tensor, b: Tensor, products: str = "exact", without_information: float = math.nan) -> Tensor:
    """Information kept over information present, added up over the two sources.

    Args:
        fused: Grey levels of the fused image.
        a: Grey levels of the first source.
        b: Grey levels of the second source.
        products: Arithmetic of the products at the finest scale, a key of `PRODUCTS`.
        without_information: What counts for a constant source.
    """
    kept, present, product = [0.0, 0.0], [0.0, 0.0], PRODUCTS[products]
    for size, (image, *sources) in _pyramid((fused, a, b), _coarser):
        for k, channel in enumerate(_channels(image, sources, _average(size), product)):
            kept[k] = kept[k] + _sum(channel.kept(VIF_NOISE))
            present[k] = present[k] + _sum(channel.present(VIF_NOISE))
        product = torch.mul
    parts = [torch.where(p > 0, k / p, without_information) for k, p in zip(kept, present, strict=True)]
    return parts[0] + parts[1]


VIFF_NOISE = 0.005 * 255**2
VIFF_WEIGHTS = (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15)
VIFF_OFFSET = 1e-7
ROUNDING = 2.0**-46  # relative error of a window's sum, with room to spare


def _viff(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Ratio of sums per scale, each pixel from the source that was kept with the smaller gain, then weighted.

    Where the gains agree but for rounding (crossed ramps and their average, or areas flat at a level other than 0),
    the reference's choice hangs on the last bits of its sums, so these are formed again in its order.
    """
    total = 0.0
    for weight, (size, images) in zip(VIFF_WEIGHTS, _pyramid((fused, a, b), _coarser_term_by_term), strict=True):
        if not weight:
            continue
        channels = _channels(images[0], images[1:], _average(size))
        maps = [_gain_and_information(channel) for channel in channels]
        undecided = _undecided(*channels)
        if undecided.any():
            again = _channels(images[0], images[1:], _average_at(undecided, images[0].shape, size))
            for channel, values in zip(again, maps, strict=True):
                values[:, undecided] = _gain_and_information(channel)
        first, second = maps
        kept, present = torch.where(first[0] < second[0], first[1:], second[1:]) + VIFF_OFFSET
        total = total + weight * _sum(kept) / _sum(present)
    return total


def _gain_and_information(channel: _Channel) -> Tensor:
    return torch.stack([channel.gain(), channel.kept(VIFF_NOISE), channel.present(VIFF_NOISE)])


def _undecided(first: _Channel, second: _Channel) -> Tensor:
    """Return where the gains differ by no more than rounding may have moved them."""
    difference, doubt = 0.0, 0.0
    for channel, sign in ((first, 1), (second, -1)):
        ratio = channel.ratio()
        power = channel.mean * (channel.mean + channel.fused_mean) + channel.variance
        difference = difference + sign * ratio
        doubt = doubt + ROUNDING * power * (1 + ratio.abs()) / (channel.variance + FLAT)
    return (difference != 0) & (difference.abs() < doubt)


def _term_by_term(pixels: Callable[[int, int], Tensor], size: int) -> Tensor:
    """Average over Gaussian windows, adding in the order of MATLAB's 2-D convolution as GNU Octave runs it.

    Args:
        pixels: Takes row and column in the window and returns what lies there, of any shape.
        size: Height and width of the window.
    """
    offsets = range(-(size // 2), size // 2 + 1)
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * (size / 5) ** 2)) for j in offsets for i in offsets}
    # Not `sum`, which makes up for rounding from Python 3.12 on.
    norm = 0.0
    for weight in weights.values():
        norm += weight
    total: Tensor | float = 0.0
    for (i, j), weight in reversed(weights.items()):
        total = total + pixels(i + size // 2, j + size // 2) * (weight / norm)
    return total


def _coarser_term_by_term(image: Tensor, size: int) -> Tensor:
    height, width = (side - size + 1 for side in image.shape[-2:])
    return _term_by_term(lambda i, j: image[..., i : i + height : 2, j : j + width : 2], size)


def _average_at(places: Tensor, shape: Sequence[int], size: int) -> Average:
    """Return the average over the windows that a mask selects, of images (B, C, H, W) of a given shape."""
    _, channels, height, width = shape
    image, channel, row, column = places.nonzero().unbind(dim=1)
    corners = ((image * channels + channel) * height + row) * width + column
    return lambda x: _term_by_term(lambda i, j: x.take(corners + (i * width + j)), size)


_RANGE = "0 to 2 unless contrast is amplified"
_SUM = "pixel-domain VIF, sum of both sources"
_CDDFUSE = "a constant source counts 1"
vif = Metric(
    name="vif",
    full_name="visual information fidelity",
    source="Sheikh and Bovik 2006, IEEE Trans. Image Processing 15(2)",
    better="higher",
    needs="fused, a, b",
    edge_cases="0 if fused is constant; NaN if a source is constant (cddfuse: that source counts 1); "
    "2 less 1e-11 for three equal images",
    kernel=_vif,
    variants={
        "tang": Variant("none", _RANGE, _SUM),
        "tang2022": Variant(
            "none",
            _RANGE,
            _SUM + "; uint8 products at the finest scale saturate at 255, which raises most values",
            {"products": "saturate"},
        ),
        "cddfuse": Variant("none", _RANGE, f'{_SUM}; called "VIFF" there; {_CDDFUSE}', {"without_information": 1.0}),
        "cddfuse-uint8": Variant(
            "none",
            _RANGE,
            f"{_SUM}; uint8 products at the finest scale wrap modulo 256; {_CDDFUSE}",
            {"products": "wrap", "without_information": 1.0},
        ),
        "reference": Variant(
            "none", _RANGE, "the pixel-domain version that the authors published, noise variance 2; sum of both sources"
        ),
    },
    min_side=MIN_SIDE,
)

_HAN = "ratio of sums per scale; the second of the four scales has weight 0"
viff = Metric(
    name="viff",
    full_name="visual information fidelity for fusion",
    source="Han, Cai, Cao and Xu 2013, Information Fusion 14(2)",
    better="higher",
    needs="fused, a, b",
    edge_cases="near 0 if fused is constant; 1 for three equal or three constant images; where both sources are "
    "kept equally well the second one counts",
    kernel=_viff,
    variants={
        "han": Variant("none", "0 to 1 unless contrast is amplified", _HAN),
        "reference": Variant("none", "0 to 1 unless contrast is amplified", _HAN + "; numbers of the authors' code"),
    },
    min_side=MIN_SIDE,
)

METRICS = (vif, viff)
