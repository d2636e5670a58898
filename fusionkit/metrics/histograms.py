"""Grey-level histograms and their entropy, for whole batches at once."""

import math

import torch
from torch import Tensor

LEVELS = 256


def histogram(levels: Tensor) -> Tensor:
    """Count grey levels.

    Args:
        levels: Whole numbers 0..255, floats (..., H, W).

    Returns:
        Counts, int64 (..., 256).
    """
    return _count(levels, LEVELS)


def joint_histogram(x: Tensor, y: Tensor) -> Tensor:
    """Count pairs of grey levels at the same pixel.

    Args:
        x: Whole numbers 0..255, floats (..., H, W).
        y: The same, of a shape that broadcasts with x.

    Returns:
        Counts, int64 (..., 256, 256); the level of x is the row.
    """
    return _count(torch.add(y, x, alpha=LEVELS), LEVELS**2).unflatten(-1, (LEVELS, LEVELS))


def entropy(counts: Tensor, base: float = 2.0) -> Tensor:
    """Return the Shannon entropy of a histogram.

    Args:
        counts: Counts over the last axis, (..., K).
        base: Base of the logarithm: 2 for bits, e for nats.

    Returns:
        Float64 entropies (...); empty bins count as zero.
    """
    counts = counts.double()
    probability = counts / counts.sum(dim=-1, keepdim=True)
    return torch.special.entr(probability).sum(dim=-1) / math.log(base)


def _count(codes: Tensor, n_codes: int) -> Tensor:
    """Run one bincount over all images, each with its own block of codes."""
    images = codes.flatten(-2).flatten(0, -2)
    n_bins = len(images) * n_codes
    # Short integers are counted twice as fast.
    images = images.to(torch.int32 if n_bins < 2**31 else torch.int64)
    blocks = torch.arange(0, n_bins, n_codes, device=codes.device, dtype=images.dtype).unsqueeze(1)
    counts = torch.bincount((images + blocks).flatten(), minlength=n_bins)
    return counts.view(*codes.shape[:-2], n_codes)
