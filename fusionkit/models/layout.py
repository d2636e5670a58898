"""Feature maps in the two layouts that networks mix: channels last for linear layers, channels first for convolutions.

A channels-first view of a channels-last map costs nothing, and convolutions on a CPU are faster on it.
"""

from torch import Tensor


def channels_first(x: Tensor) -> Tensor:
    """View (B, H, W, C) as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """View (B, C, H, W) as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)
