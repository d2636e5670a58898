"""Attention inside windows of pixels that shift by half a window from block to block, as in Swin Transformer."""

import torch
from torch import Tensor, nn

WINDOW = 8
# Added to the similarity of two pixels that only the shift brought into one window.
APART = -100.0


def to_windows(x: Tensor) -> Tensor:
    """Cut features (B, H, W, C) with sides that are multiples of 8 into windows, (B * windows, 64, C)."""
    rows = x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))
    return rows.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def from_windows(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Put windows back together to features (B, *size, C)."""
    down, across = (side // WINDOW for side in size)
    tiles = windows.unflatten(1, (WINDOW, WINDOW)).unflatten(0, (-1, down, across))
    return tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def separation(size: tuple[int, int], shift: int, device: torch.device) -> Tensor:
    """Return what is added to similarities in shifted windows, (windows, 64, 64): 0 or ``APART``."""
    regions = []
    for side in size:
        places = torch.arange(side, device=device)
        regions.append((places >= side - WINDOW).int() + (places >= side - shift).int())
    region = to_windows((3 * regions[0][:, None] + regions[1])[None, :, :, None]).squeeze(-1)
    return (region[:, :, None] != region[:, None]).float() * APART


def _pair_index() -> Tensor:
    """Return the row of the table of positions that belongs to each pair of pixels of a window, (64, 64)."""
    place = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
    difference = place[:, None] - place + WINDOW - 1
    return difference[..., 0] * (2 * WINDOW - 1) + difference[..., 1]


class WindowAttention(nn.Module):
    """Attention of the pixels of a window to those of the same window, in the same or in other features.

    Args:
        channels: Channels C.
        heads: Number of heads; divides C.
        cross: Whether keys and values come from other features; only the names of the parameters depend on it.
    """

    def __init__(self, channels: int, heads: int, cross: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("pair_index", _pair_index(), persistent=False)
        if cross:
            self.q = nn.Linear(channels, channels)
            self.kv = nn.Linear(channels, 2 * channels)
        else:
            self.qkv = nn.Linear(channels, 3 * channels)
        self.softmax = nn.Softmax(dim=-1)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, other: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return windows (N, 64, C) of windows of that shape; ``mask`` is (windows of one image, 64, 64) or None."""
        together = self.qkv(x) if other is None else torch.cat([self.q(x), self.kv(other)], -1)
        query, key, value = together.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.pair_index].permute(2, 0, 1)
        similarity = query * query.shape[-1] ** -0.5 @ key.mT + bias
        if mask is not None:
            similarity = (similarity.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        return self.proj((self.softmax(similarity) @ value).transpose(1, 2).flatten(2))


class ShiftedAttention(nn.Module):
    """Window attention on whole features, the windows shifted.

    Args:
        channels: Channels C.
        heads: Number of heads.
        shift: How far the windows are shifted.
        cross: See :class:`WindowAttention`.
    """

    def __init__(self, channels: int, heads: int, shift: int, cross: bool = False) -> None:
        super().__init__()
        self.shift = shift
        self.windows = WindowAttention(channels, heads, cross)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return features (B, H, W, C), H and W multiples of 8."""
        size, mask = tuple(x.shape[1:3]), None
        inputs = [x] if other is None else [x, other]
        if self.shift:
            mask = separation(size, self.shift, x.device)
            inputs = [torch.roll(y, (-self.shift, -self.shift), (1, 2)) for y in inputs]
        x, other = (*map(to_windows, inputs), None)[:2]
        attended = from_windows(self.windows(x, other, mask), size)
        return torch.roll(attended, (self.shift, self.shift), (1, 2)) if self.shift else attended


def mlp(channels: int, hidden: int) -> nn.Sequential:
    """Return two linear layers with GELU between them."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
