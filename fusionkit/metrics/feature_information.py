"""Feature mutual information (FMI): how much of the sources' local features the fused image keeps.

Every 3x3 window of a feature map, scaled to sum 1, is read as the distribution of the position k = 1..9 in it. From
the marginal distributions of two windows and their correlation follows a joint distribution, and from that their
mutual information. Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fusionkit.metrics import features
from fusionkit.metrics.metric import Metric, Variant

# Cells of a window; windows worked on at a time, few enough that a CPU keeps their distributions in its cache.
CELLS = 9
CPU_WINDOWS, GPU_WINDOWS = 2**12, 2**17
TINY = 1e-300


def _feature_information(fused: Tensor, a: Tensor, b: Tensor, feature: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean similarity of all windows of real-valued feature maps."""
    maps = feature(torch.stack((fused, a, b))).flatten(1, 2)
    count, height, width = maps.shape[1], maps.shape[2] - 2, maps.shape[3] - 2
    rows = max(1, _windows_at_a_time(maps) // (count * width))
    total = maps.new_zeros(count)
    for top in range(0, height, rows):
        similarity = window_similarity(_windows(maps[:, :, top : top + rows + 2]).flatten(2))
        total += similarity.view(2, count, -1).sum(dim=(0, 2))
    return (total / (2 * height * width)).view(fused.shape[:2])


def _edge_information(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean similarity of all windows of edge maps: few distinct windows, so each pair of them is measured once."""
    windows = _windows(features.edges(torch.stack((fused, a, b))))
    powers = 2 ** torch.arange(CELLS, device=fused.device)
    codes = sum(window * power for window, power in zip(windows, powers.int(), strict=True))
    pairs = codes[:1] * 2**CELLS + codes[1:]
    present = torch.bincount(pairs.flatten(), minlength=4**CELLS).nonzero().squeeze(1)
    both = torch.stack((present // 2**CELLS, present % 2**CELLS))
    patterns = (both // powers.view(-1, 1, 1) % 2).to(fused.dtype)
    table = fused.new_zeros(4**CELLS)
    table[present] = torch.cat([window_similarity(some) for some in patterns.split(_windows_at_a_time(fused), -1)], 1)
    return table[pairs].mean(dim=(0, -2, -1))


def _windows_at_a_time(maps: Tensor) -> int:
    return CPU_WINDOWS if maps.device.type == "cpu" else GPU_WINDOWS


def _windows(maps: Tensor) -> Tensor:
    """Return all 3x3 windows of (..., H, W) as (9, ..., H-2, W-2), cells column by column."""
    return maps.unfold(-1, 3, 1).unfold(-3, 3, 1).movedim((-2, -1), (0, 1)).flatten(0, 1)


def window_similarity(windows: Tensor) -> Tensor:
    """Compare windows of the fused image with those of the sources: 2 I(X, Y) / (H(X) + H(Y)).

    The joint distribution is phi J + (1 - phi) p q'. J is the Frechet upper bound, or the lower one for negatively
    correlated windows; phi is the correlation of the windows over that of the positions under J. Where phi exceeds 1
    some "probabilities" are negative: as the reference does, only the real part of their logarithm counts.

    Args:
        windows: (9, 1 + S, N): the cells of the fused image's windows, then those of S sources.

    Returns:
        (S, N): 1 for equal windows and for two constant ones, 0 where a window is one cell above eight equal ones.
    """
    p, flat = _distributions(windows)
    entropies, deviations = -_x_log_x(p).sum(dim=0), _deviations(p)
    correlation = _correlations(p, flat)
    # The lower bound is the upper bound with one variable reversed.
    reverse = (correlation < 0).to(p.dtype)
    fused, source = p[:, 0], torch.lerp(p[:, 1:], p[:, 1:].flip(0), reverse)
    bound, i, j = _upper_bound(fused, source)
    covariance = (bound * (i * j)).sum(dim=0) - _means(fused) * _means(source)
    phi = _finite(correlation.abs() * deviations[0] * deviations[1:] / covariance)
    # Where J is zero the joint distribution is a multiple of p q', whose entropy is known: only J's cells are summed.
    independent = fused.unsqueeze(1).expand_as(source).gather(0, i) * source.gather(0, j) * (1 - phi)
    joint = bound * phi + independent
    own = entropies[0] + entropies[1:]
    shared = phi * own + _x_log_x(1 - phi) + _x_log_x(joint).sum(dim=0) - _x_log_x(independent).sum(dim=0)
    return torch.where((windows[:, :1] == windows[:, 1:]).all(dim=0), 1.0, _finite(2 * shared / own))


def _x_log_x(x: Tensor) -> Tensor:
    """x ln|x|, 0 for 0."""
    return x.abs().add_(TINY).log_().mul_(x)


def _finite(x: Tensor) -> Tensor:
    return x.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _distributions(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Turn windows into distributions, and tell which are constant; those become uniform."""
    above = windows - windows.amin(dim=0)
    total = above.sum(dim=0)
    flat = total == 0
    above += flat
    return above / torch.where(flat, CELLS, total), flat


def _means(p: Tensor) -> Tensor:
    """Return the mean position, counted from 0."""
    return torch.tensordot(torch.arange(CELLS).to(p), p, dims=1)


def _deviations(p: Tensor) -> Tensor:
    """Return the standard deviation of the position."""
    squares = torch.tensordot(torch.arange(CELLS).to(p).square(), p, dims=1)
    return (squares - _means(p).square()).clamp(min=0).sqrt()


def _correlations(p: Tensor, flat: Tensor) -> Tensor:
    """Pearson correlation of the fused window's nine probabilities with those of the sources.

    Constant windows have none. The reference gives two of them 1, out of equal rounding errors, and so do we.
    """
    variances = torch.where(flat, torch.inf, CELLS * p.square().sum(dim=0) - 1)
    covariances = CELLS * (p[:, :1] * p[:, 1:]).sum(dim=0) - 1
    return covariances / (variances[0] * variances[1:]).sqrt() + (flat[0] & flat[1:])


def _upper_bound(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cells of the Frechet upper bound min(P, Q) that may hold probability: a staircase of 17.

    Mark the cumulative sums P and Q on the interval from 0 to 1: each of the 17 pieces between neighbouring marks
    lies in one cell i of p and one cell j of q, and its length is the probability of (i, j).

    Args:
        p: (9, N).
        q: (9, S, N).

    Returns:
        Probabilities, rows i and columns j, (17, S, N) each.
    """
    steps = p.new_ones(CELLS - 1, CELLS).tril()
    falling = torch.tensordot(steps.flip(0), q, dims=1)
    marks = torch.cat([(steps @ p).unsqueeze(1).expand_as(falling), falling])
    # The last bit of a mark says whose it is, and survives the sorting.
    bits = marks.view(torch.int64)
    bits[: CELLS - 1] &= -2
    bits[CELLS - 1 :] |= 1
    # Bitonic merge of a rising and a falling sequence of eight.
    for half in (8, 4, 2, 1):
        low, high = marks.unflatten(0, (-1, 2, half)).unbind(1)
        marks = torch.stack([torch.minimum(low, high), torch.maximum(low, high)], dim=1).flatten(0, 2)
    nothing = torch.zeros_like(marks[:1])
    length = torch.diff(marks, dim=0, prepend=nothing, append=nothing + 1)
    j = torch.cat([nothing.long(), (marks.view(torch.int64) & 1).cumsum(dim=0)])
    return length, torch.arange(len(j), device=j.device).view(-1, 1, 1) - j, j


def _fmi(name: str, feature: str, kernel: Callable[..., Tensor], edge_cases: str) -> Metric:
    variant = Variant("none", "0 to about 1", "3x3 windows")
    return Metric(
        name=name,
        full_name=f"feature mutual information of {feature}",
        source="Haghighat, Aghagolzadeh and Seyedarabi 2011, Computers and Electrical Engineering 37(5); fast version: "
        "Haghighat and Razian 2014, AICT",
        better="higher",
        needs="fused, a, b",
        edge_cases=f"1 for three equal images; {edge_cases}",
        kernel=kernel,
        variants=dict.fromkeys(("tang", "tang2022", "reference"), variant),
        min_side=3,
    )


_FLAT = "two constant windows count as equal, a constant one shares nothing with any other"
fmi_edge = _fmi("fmi_edge", "Sobel edges", _edge_information, "windows without an edge count as equal")
fmi_dct = _fmi(
    "fmi_dct",
    "DCT coefficients",
    partial(_feature_information, feature=features.cosines),
    "noise if an image varies along one axis only",
)
fmi_w = _fmi("fmi_w", "wavelet coefficients", partial(_feature_information, feature=features.wavelet), _FLAT)
fmi_gradient = _fmi(
    "fmi_gradient", "the horizontal gradient", partial(_feature_information, feature=features.gradient), _FLAT
)
fmi_none = _fmi("fmi_none", "grey levels", partial(_feature_information, feature=torch.clone), _FLAT)

METRICS = (fmi_edge, fmi_dct, fmi_w, fmi_gradient, fmi_none)
