"""Features by phase congruency, as Kovesi measures it, and how well the fused image keeps them.

Where the Fourier components of an image are in phase there is an edge, a line or a corner, whatever its contrast.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from fusionkit.metrics.filters import Moments, gaussian, window
from fusionkit.metrics.metric import Metric, Variant

_WAVELENGTHS = tuple(3 * 2.1**scale for scale in range(4))
_DIRECTIONS = tuple(k * math.pi / 6 for k in range(6))
_CUT_OFF, _STEEPNESS = 0.5, 10
_EPSILON = 1e-4
# Threshold in units of the noise amplitude: mean plus two standard deviations of a Rayleigh distribution, over 1.7.
_NOISE_THRESHOLD = (math.sqrt(math.pi / 2) + 2 * math.sqrt(2 - math.pi / 2)) / 1.7
_FEATURE_THRESHOLD = 0.1
_STABILISER = 1e-4


class _Features(NamedTuple):
    """Feature maps of an image, (B, C, H, W) each.

    Attributes:
        congruency: Phase congruency over all orientations, 0 to 1.
        edges: Larger moment of the congruency per orientation: strength of edges.
        corners: Smaller moment: strength of corners.
    """

    congruency: Tensor
    edges: Tensor
    corners: Tensor


class _Bank(NamedTuple):
    """Log-Gabor filters in the frequency domain, zero frequency first; a filter is radial times angular factor.

    Attributes:
        radial: One map per wavelength, (4, H, W).
        angular: One map per orientation, (6, H, W).
        noise: Amplitude of the noise in the summed responses per amplitude of the finest response, (6,).
    """

    radial: Tensor
    angular: Tensor
    noise: Tensor


def _frequencies(n: int) -> Tensor:
    """Return frequencies of -0.5 to 0.5, zero first; an odd number of them reaches 0.5 on both sides."""
    centred = torch.arange(n, dtype=torch.float64) - n // 2
    return torch.fft.ifftshift(centred / (n - n % 2))


def _low_pass(height: int, width: int) -> Tensor:
    y, x = ((torch.arange(n, dtype=torch.float64) - n // 2) / n for n in (height, width))
    gain = 1 / (1 + (torch.hypot(y[:, None], x) / 0.45) ** 30)
    # Kovesi's code shifts forward where backward is meant; for an odd size this moves the filter by a frequency.
    return torch.fft.fftshift(gain)


def _bells(values: Tensor, spread: float) -> Tensor:
    """Turn distances into weights exp(-d^2 / (2 spread^2)), in place."""
    return values.square_().mul_(-1 / (2 * spread**2)).exp_()


# Filters depend on the size alone, and making them takes a fifth of the time of measuring an image.
@lru_cache(maxsize=2)
def _bank(height: int, width: int, device: torch.device) -> _Bank:
    y, x = -_frequencies(height)[:, None], _frequencies(width)
    radius, angle = torch.hypot(y, x), torch.atan2(y, x)
    radius[0, 0] = 1
    wavelengths, directions = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (_WAVELENGTHS, _DIRECTIONS))
    radial = _bells(radius.log_() + wavelengths.log(), math.log(0.55))
    radial[:, 0, 0] = 0
    distances = (angle - directions).add_(math.pi).remainder_(2 * math.pi).sub_(math.pi)
    angular = _bells(distances, math.pi / len(_DIRECTIONS) / 1.2).mul_(_low_pass(height, width))
    summed, noise = radial.sum(dim=0), []
    for part in angular:
        power = torch.fft.ifft2(summed * part).real.square().sum() * part.numel() / (radial[0] * part).square().sum()
        noise.append((power / math.log(2)).sqrt())
    return _Bank(radial.to(device), angular.to(device), torch.stack(noise).to(device))


def _median(maps: Tensor) -> Tensor:
    """Return the median over the pixels, (B, C, 1, 1); the mean of the two middle values of an even number."""
    flat = maps.flatten(2)
    n = flat.shape[-1]
    upper_half = flat.topk(n // 2 + 1, sorted=False).values
    return upper_half.topk(2 - n % 2, largest=False).values.mean(dim=-1)[..., None, None]


def _length(vectors: Tensor) -> Tensor:
    # Several times faster on a CPU than the absolute value of complex numbers.
    return vectors.real.square().addcmul_(vectors.imag, vectors.imag).sqrt_()


def _in_phase(responses: list[Tensor]) -> Tensor:
    """Sum over the scales of how far a response goes in the direction of their sum, less how far it goes astray."""
    total = reduce(torch.add, responses)
    length = _length(total)
    energy = length.square()
    for response in responses:
        energy -= (response.real * total.imag).addcmul_(response.imag, total.real, value=-1).abs_()
    return energy.div_(length.add_(_EPSILON))


def _oriented_energy(spectrum: Tensor, bank: _Bank, index: int) -> tuple[Tensor, Tensor]:
    """Return the energy above the noise, weighted by how many scales take part, and the summed amplitudes.

    Args:
        spectrum: Fourier transform of the image, (B, C, H, W).
        bank: Filters.
        index: Number of the orientation.
    """
    # The real part of a response is the one to lines, the imaginary part the one to steps.
    responses = [torch.fft.ifft2(spectrum * (radial * bank.angular[index])) for radial in bank.radial]
    summed = _length(responses[0])
    threshold = _median(summed.square()).sqrt_() * bank.noise[index] * _NOISE_THRESHOLD
    largest = summed.clone()
    for response in responses[1:]:
        amplitude = _length(response)
        summed += amplitude
        torch.maximum(largest, amplitude, out=largest)
    width = (summed / largest.add_(_EPSILON)).div_(len(responses))
    weight = width.sub_(_CUT_OFF).mul_(_STEEPNESS).sigmoid_()
    return _in_phase(responses).sub_(threshold).clamp_(min=0).mul_(weight), summed


def _phase_features(levels: Tensor) -> _Features:
    """Measure phase congruency and its moments.

    Follows Kovesi 1999 (Videre 1(3)) and 2003 (DICTA) with 4 scales, 6 orientations and the default constants of
    his MATLAB function `phasecong2`.

    Args:
        levels: Grey levels 0..255, float64 (B, C, H, W), at least 2x2.
    """
    bank, spectrum = _bank(*levels.shape[-2:], levels.device), torch.fft.fft2(levels)
    energies, amplitudes, xx, yy, xy = (torch.zeros_like(levels) for _ in range(5))
    for index, direction in enumerate(_DIRECTIONS):
        energy, amplitude = _oriented_energy(spectrum, bank, index)
        energies += energy
        amplitudes += amplitude
        # A constant image may have no amplitude at all; it has no features either.
        square = torch.where(amplitude > 0, energy.div_(amplitude), 0).square_()
        cosine, sine = math.cos(direction), math.sin(direction)
        for moment, factor in ((xx, cosine * cosine), (yy, sine * sine), (xy, cosine * sine)):
            moment.add_(square, alpha=factor / 3)
    root = (xy.square() / 4 + (xx - yy).square()).sqrt_().add_(_EPSILON)
    return _Features(energies.div_(amplitudes.add_(_EPSILON)), (xx + yy + root) / 2, (xx + yy - root) / 2)


def _correlation(moments: Moments, source: Tensor, fused: Tensor) -> Tensor:
    spread = (moments.variance(source) * moments.variance(fused)).abs_().sqrt_()
    return (moments.covariance(source, fused) + _STABILISER) / (spread + _STABILISER)


def _feature_preservation(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Product over congruency, edges and corners of the mean best local correlation with a source or their maximum.

    Only pixels whose phase congruency exceeds 0.1 count, in each source and in the maximum of both.
    """
    in_fused, in_a, in_b = (_phase_features(levels) for levels in (fused, a, b))
    first = in_a.congruency > in_b.congruency
    strongest = _Features(*(torch.where(first, x, y) for x, y in zip(in_a, in_b, strict=True)))
    masks = [features.congruency > _FEATURE_THRESHOLD for features in (in_a, in_b, strongest)]
    product = 1.0
    for fused_map, *source_maps in zip(in_fused, in_a, in_b, strongest, strict=True):
        moments = Moments(window(gaussian(11, 1.5), "zero"))
        correlations = (
            torch.where(mask, _correlation(moments, torch.where(mask, source, 0), fused_map), 0)
            for mask, source in zip(masks, source_maps, strict=True)
        )
        best = reduce(torch.maximum, correlations)
        product = product * best.sum(dim=(-2, -1)) / masks[-1].sum(dim=(-2, -1))
    return product


_QP = Variant("none", "up to 1")
q_p = Metric(
    name="q_p",
    full_name="Q_P, preservation of phase congruency",
    source="Zhao, Laganiere and Liu 2007, Int. J. Innovative Computing, Information and Control 3(6A)",
    better="higher",
    needs="fused, a, b",
    edge_cases="close to 1 for a constant fused image, and for identical images; NaN if neither source has features",
    kernel=_feature_preservation,
    variants={"liu": _QP, "reference": _QP},
    min_side=2,
)

METRICS = (q_p,)
