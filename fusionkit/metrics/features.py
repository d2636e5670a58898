"""Feature maps whose information the feature mutual information compares.

Shapes: levels (..., H, W) hold whole numbers 0..255 in float64.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.metrics.filters import sobel

# Low-pass taps of MATLAB's discrete Meyer wavelet from the centre outwards; the other half mirrors them.
# They are the Meyer scaling filter cut off at 50 and normalised to the sum sqrt(2), but for 6e-11.
MEYER = (
    (0.743751004903787, 0.444095030766529, -0.035048287390595, -0.132696615358862, 0.030621243943425)
    + (0.063667300884468, -0.024321783959519, -0.032094063354505, 0.017403888210177, 0.015250913158586)
    + (-0.011044641900539, -0.006386728618548, 0.006045510596456, 0.002194775336459, -0.002702168733939)
    + (-0.000578185795273, 0.000859500213762, 0.000161189819725, -0.000093512893880, -0.000139913148217)
    + (-0.000075592870255, 0.000149713515389, 0.000024461956845, -0.000102779005085, 0.000037409665760)
    + (0.000032341311914, -0.000046428764284, 0.000014993523600, 0.000020106387691, -0.000024438005846)
    + (0.000006187580298, 0.000010503914271, -0.000014206928581, 0.000004849078300, 0.000007216527695)
    + (-0.000009556309846, 0.000002402288023, 0.000004837555802, -0.000006034501342, 0.000001674721859)
    + (0.000003353501538, -0.000004217789186, 0.000000982515602, 0.000002383148395, -0.000002879408033)
    + (0.000000698082276, 0.000001723223554, -0.000002096568870, 0.000000449585560, 0.000001278766757)
    + (-0.000001509740857,)
)
# Both filters have 102 taps, one of them zero.
_LOW = (*MEYER[:0:-1], *MEYER, 0.0)
_HIGH = (0.0, *(tap if k % 2 else -tap for k, tap in enumerate(_LOW[:-1])))


def edges(levels: Tensor) -> Tensor:
    """Return the edge map of MATLAB's ``edge`` (Sobel): strong gradients, thinned to ridges of the gradient.

    A pixel is an edge where its squared gradient exceeds four times the mean, and exceeds the next and is not below
    the previous one along an axis in which the gradient is the larger component. Pixels outside the image do not
    compete. Everything is compared on whole numbers, so ties are exact.

    Returns:
        Booleans (..., H, W).
    """
    gx, gy = (component.abs() for component in sobel(levels, "replicate"))
    power = gx.square() + gy.square()
    height, width = levels.shape[-2:]
    strong = power * (height * width) > 4 * power.sum(dim=(-2, -1), keepdim=True)
    return strong & (((gx >= gy) & _ridge(power, -1)) | ((gy >= gx) & _ridge(power, -2)))


def _ridge(power: Tensor, dim: int) -> Tensor:
    """Return where a pixel is not below its predecessor and above its successor."""
    before, after = power.narrow(dim, 0, power.shape[dim] - 1), power.narrow(dim, 1, power.shape[dim] - 1)
    first, last = ((1, 0), (0, 1)) if dim == -1 else ((0, 0, 1, 0), (0, 0, 0, 1))
    return F.pad(before <= after, first, value=True) & F.pad(before > after, last, value=True)


def gradient(levels: Tensor) -> Tensor:
    """Return the horizontal derivative: central differences inside, plain ones at both borders."""
    return torch.gradient(levels, dim=-1)[0]


def cosines(levels: Tensor) -> Tensor:
    """Return the orthonormal two-dimensional DCT-II of whole images."""
    rows, columns = (_cosine_basis(levels.shape[dim], levels) for dim in (-2, -1))
    # Without its mean level a constant image gives exact zeros instead of rounding errors.
    level = levels.mean(dim=(-2, -1), keepdim=True).round()
    coefficients = rows @ (levels - level) @ columns.mT
    coefficients[..., :1, :1] += level * math.sqrt(levels.shape[-2] * levels.shape[-1])
    return coefficients


def _cosine_basis(n: int, like: Tensor) -> Tensor:
    index = torch.arange(n, device=like.device)
    # The phase is reduced as a whole number, which keeps the cosine of large ones exact.
    phase = torch.outer(index, 2 * index + 1) % (4 * n)
    basis = torch.cos(phase.to(like.dtype) * (math.pi / (2 * n))) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def wavelet(levels: Tensor) -> Tensor:
    """Return the one-level transform with the discrete Meyer wavelet, scaled to 0..1 as a whole.

    Half-point symmetric extension. The bands lie side by side: approximation and details of horizontal edges above,
    details of vertical edges and of diagonals below. An all-black image gives zeros.

    Returns:
        (..., H', W') with H' = 2 floor((H + 101) / 2) and W' alike.
    """
    low, high = _decompose(levels, -1)
    bands = torch.cat([torch.cat(_decompose(low, -2), dim=-1), torch.cat(_decompose(high, -2), dim=-1)], dim=-2)
    smallest, largest = bands.amin(dim=(-2, -1), keepdim=True), bands.amax(dim=(-2, -1), keepdim=True)
    return torch.where(largest > smallest, (bands - smallest) / (largest - smallest), 0.0)


def _decompose(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Filter and keep every second value along one axis: low-pass and high-pass halves."""
    length = x.shape[dim]
    kept = (length + len(_LOW) - 1) // 2
    # Mirrored at both ends, as often as a short axis needs.
    position = torch.arange(2 - len(_LOW), 2 * kept, device=x.device) % (2 * length)
    extended = x.index_select(dim, torch.minimum(position, 2 * length - 1 - position))
    even, odd = extended.unflatten(dim, (-1, 2)).movedim(dim, 0).contiguous()
    return _weighted_sum(even, odd, _LOW, kept, dim), _weighted_sum(even, odd, _HIGH, kept, dim)


def _weighted_sum(even: Tensor, odd: Tensor, taps: tuple[float, ...], kept: int, dim: int) -> Tensor:
    """Sum taps[s] x[2k + s] over s, in this order and with every product rounded.

    A wavelet of a flat area holds nothing but rounding errors, which the windows of the metric blow up; the same
    operations at every pixel keep them equal there, and equal to those of a plain convolution.
    """
    total = torch.zeros_like(even.narrow(dim, 0, kept))
    product = torch.empty_like(total)
    for shift, tap in enumerate(taps):
        if tap:
            torch.mul((odd if shift % 2 else even).narrow(dim, shift // 2, kept), tap, out=product)
            total += product
    return total
