"""The orders in which the papers' networks read a feature map, as index permutations with exact inverses.

A state space model reads a sequence, an image is none: each paper chooses its own orders. Here an order is a list of
pixel numbers, so that every network shares one function that reads (:func:`gather`) and one that puts back
(:func:`scatter`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError, unknown

# Paths kept per family and device; a network uses one size per scale.
CACHED_SIZES = 32


@dataclass(frozen=True, eq=False)
class ScanPath:
    """K orders over the pixels of one map, or of the maps of two modalities.

    Pixels are numbered row by row, infrared (the first modality) before visible: pixel (r, c) of modality m is
    m*H*W + r*W + c. The K orders come in V rounds of K/V; each round visits every pixel exactly once.

    Attributes:
        name: Which family, for example ``"ss2d"``.
        height: H, rows of each map.
        width: W, columns of each map.
        modalities: How many maps are read together, 1 or 2.
        order: Pixel visited at each step, int64 (K, L); -1 where a zero is read instead (padding).
        inverse: Where each pixel is found, int64 (V, pixels): the place in round v's orders laid end to end.
        joined: Whether the modalities lie along channels, so that one step reads a pixel of both.
    """

    name: str
    height: int
    width: int
    modalities: int
    order: Tensor
    inverse: Tensor
    joined: bool = False

    @property
    def padded(self) -> bool:
        """Whether some steps read a zero instead of a pixel."""
        return self.order.numel() > self.inverse.numel()


def _cached(build: Callable[[int, int], ScanPath]) -> Callable[[int, int], ScanPath]:
    """Keep the latest paths of a family; they are ordinary tensors even when first asked for in inference mode."""
    cached = lru_cache(CACHED_SIZES)(torch.inference_mode(False)(build))

    @wraps(build)
    def checked(height: int, width: int) -> ScanPath:
        if min(height, width) < 1:
            raise FusionkitError(f"scan path {build.__name__}: a map of {height}x{width} has no pixel to read")
        return cached(height, width)

    return checked


@_cached
def ss2d(height: int, width: int) -> ScanPath:
    """Return SS2D's four orders: by rows, by columns, and both backwards; L = H*W.

    Source: VMamba's cross-scan, which S4Fusion (section 3.2) and DIFF-MF (section III-B, eq. 4) use as it is.
    """
    return _path("ss2d", (height, width), _four_ways(_numbers(height, width)))


@_cached
def es2d(height: int, width: int) -> ScanPath:
    """Return ES2D's four orders, each over every second row and column; L = ceil(H/2) * ceil(W/2).

    The map is padded with zeros to even sizes at the bottom and the right. Order k reads the pixels whose row has
    parity k % 2 and whose column has parity k // 2, by rows where the row is even, else by columns; none backwards.

    Source: FusionMamba, section 3.3 (ES2D of EfficientVMamba, skip step 2); the paper gives no formula, parities
    and odd sizes are those of the authors' code.
    """
    even = torch.full((height + height % 2, width + width % 2), -1, device="cpu")
    even[:height, :width] = _numbers(height, width)
    by_rows = [even[0::2, parity::2].flatten() for parity in (0, 1)]
    by_columns = [even[1::2, parity::2].T.flatten() for parity in (0, 1)]
    order = torch.stack([by_rows[0], by_columns[0], by_rows[1], by_columns[1]])
    return _path("es2d", (height, width), order, rounds=1)


@_cached
def interleave(height: int, width: int) -> ScanPath:
    """Return S4Fusion's four orders over two modalities: SS2D's, each pixel infrared first, then visible; L = 2*H*W.

    Infrared comes first in the backward orders as well. The patch mark (eqs. 3-4) depends on the pixel alone, so it
    can be added to the maps before they are read.

    Source: S4Fusion, section 3.3.2 (Interleaving) and 3.3.4 (Recovering, the sum over the orders).
    """
    first = _four_ways(_numbers(height, width))
    order = torch.stack([first, first + height * width], -1).flatten(1)
    return _path("interleave", (height, width), order, modalities=2)


@_cached
def realign_column(height: int, width: int) -> ScanPath:
    """Return SS2D's orders over an H x 2W map in which columns of infrared and visible alternate; L = 2*H*W.

    Source: DIFF-MF, eqs. 9-10, M_f^column; the superscripts are read as image columns.
    """
    first = _numbers(height, width)
    side_by_side = torch.stack([first, first + height * width], -1).flatten(1)
    return _path("realign_column", (height, width), _four_ways(side_by_side), modalities=2)


@_cached
def realign_row(height: int, width: int) -> ScanPath:
    """Return SS2D's orders over an H x 2W map, infrared on the left and visible on the right; L = 2*H*W.

    Source: DIFF-MF, eqs. 9-10, M_f^row; the superscripts are read as image columns.
    """
    first = _numbers(height, width)
    side_by_side = torch.cat([first, first + height * width], 1)
    return _path("realign_row", (height, width), _four_ways(side_by_side), modalities=2)


@_cached
def realign_concat(height: int, width: int) -> ScanPath:
    """Return SS2D's orders over two modalities that are concatenated along channels; L = H*W.

    Source: DIFF-MF, eq. 10, M_f^concat.
    """
    order = _four_ways(_numbers(height, width))
    return _path("realign_concat", (height, width), order, modalities=2, joined=True)


SCAN_PATHS: dict[str, Callable[[int, int], ScanPath]] = {
    build.__name__: build for build in (ss2d, es2d, interleave, realign_column, realign_row, realign_concat)
}


def scan_path(name: str, height: int, width: int) -> ScanPath:
    """Return a path by the name of its family, a key of ``SCAN_PATHS``.

    Raises:
        FusionkitError: No family has this name, or the size is not positive.
    """
    if name not in SCAN_PATHS:
        raise unknown("scan path", name, SCAN_PATHS)
    return SCAN_PATHS[name](height, width)


def gather(path: ScanPath, *features: Tensor) -> Tensor:
    """Read feature maps along a path.

    Args:
        path: Which orders.
        features: One map per modality, infrared first, each (B, C, H, W).

    Returns:
        Sequences (B, K, C, L), contiguous; (B, K, 2C, L) on a joined path. Padding is 0.

    Raises:
        FusionkitError: Another number of maps than the path reads, or maps of another shape.
    """
    _check_features(path, features)
    flat = [x.flatten(2) for x in features]
    pixels = flat[0] if path.modalities == 1 else torch.cat(flat, 1 if path.joined else 2)
    return _Read.apply(pixels, path)


def scatter(path: ScanPath, sequences: Tensor) -> tuple[Tensor, ...]:
    """Put sequences back into maps and add up what the K orders say about each pixel; the adjoint of :func:`gather`.

    Each pixel is visited four times, by ES2D once: ``scatter(path, gather(path, x))`` is 4x, or x.

    Args:
        path: Which orders.
        sequences: Sequences (B, K, C, L); (B, K, 2C, L) on a joined path. Values at padding are dropped.

    Returns:
        One map (B, C, H, W) per modality, infrared first.

    Raises:
        FusionkitError: Sequences of another number or length than the path has.
    """
    shape, wanted = tuple(sequences.shape), tuple(path.order.shape)
    if len(shape) != 4 or (shape[1], shape[3]) != wanted or (path.joined and shape[2] % 2):
        channels = "even C" if path.joined else "C"
        raise FusionkitError(
            f"{_where(path)}: sequences must be (B, {wanted[0]}, {channels}, {wanted[1]}), not {shape}"
        )
    pixels = _PutBack.apply(sequences, path)
    maps = pixels.chunk(path.modalities, 1 if path.joined else 2)
    return tuple(x.unflatten(2, (path.height, path.width)) for x in maps)


class _Read(torch.autograd.Function):
    """Pixels (B, C, N) to sequences (B, K, C, L); unlike autograd's own rule, backward needs no (B, K, C, N)."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, path: ScanPath) -> Tensor:
        ctx.path = path
        order, _ = _indices(path, pixels.device)
        batch, channels, _ = pixels.shape
        index = order.clamp(min=0)[None, :, None].expand(batch, -1, channels, -1)
        # gather with expanded views is 15 times faster on a CPU than index_select, and copies neither of them. Pixels
        # that come channels last are copied: reading them with strides takes twice as long as copy and gather.
        sequences = pixels.contiguous()[:, None].expand(-1, len(order), -1, -1).gather(3, index)
        return sequences.masked_fill_((order < 0)[:, None], 0) if path.padded else sequences

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _PutBack.apply(gradient, ctx.path), None


class _PutBack(torch.autograd.Function):
    """Sequences (B, K, C, L) to pixels (B, C, N), the sum over the rounds."""

    @staticmethod
    def forward(ctx: Any, sequences: Tensor, path: ScanPath) -> Tensor:
        ctx.path = path
        _, inverse = _indices(path, sequences.device)
        rounds = sequences.unflatten(1, (len(inverse), -1)).transpose(2, 3).flatten(3)
        batch, _, channels, _ = rounds.shape
        pixels = sequences.new_zeros(batch, channels, inverse.shape[1])
        for v, where in enumerate(inverse):
            pixels += rounds[:, v].gather(2, where.expand(batch, channels, -1))
        return pixels

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Read.apply(gradient, ctx.path), None


def _numbers(height: int, width: int) -> Tensor:
    return torch.arange(height * width, device="cpu").view(height, width)


def _four_ways(numbers: Tensor) -> Tensor:
    """Return the orders by rows, by columns and both backwards of a map of pixel numbers, (4, pixels)."""
    forward = torch.stack([numbers.flatten(), numbers.T.flatten()])
    return torch.cat([forward, forward.flip(1)])


def _path(
    name: str, size: tuple[int, int], order: Tensor, modalities: int = 1, rounds: int = 4, joined: bool = False
) -> ScanPath:
    pixels = size[0] * size[1] * (1 if joined else modalities)
    laid_end_to_end = order.view(rounds, -1)
    # Padding is numbered -1, so it comes first and is cut off.
    inverse = laid_end_to_end.argsort(1)[:, laid_end_to_end.shape[1] - pixels :]
    return ScanPath(name, *size, modalities, order, inverse.contiguous(), joined)


@lru_cache(4 * CACHED_SIZES)
def _indices(path: ScanPath, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return order and inverse on a device."""
    with torch.inference_mode(False):
        return path.order.to(device), path.inverse.to(device)


def _check_features(path: ScanPath, features: tuple[Tensor, ...]) -> None:
    if len(features) != path.modalities:
        raise FusionkitError(f"{_where(path)}: reads {path.modalities} map(s), {len(features)} given")
    shapes = [tuple(x.shape) for x in features]
    if len(shapes[0]) != 4 or shapes[0][2:] != (path.height, path.width) or len(set(shapes)) > 1:
        given = " and ".join(map(str, shapes))
        raise FusionkitError(f"{_where(path)}: maps must be (B, C, {path.height}, {path.width}) and alike, not {given}")


def _where(path: ScanPath) -> str:
    return f"scan path {path.name} {path.height}x{path.width}"
