"""Fusion of wavelet coefficients: the stronger detail stays, the coarsest approximation is the mean."""

import numpy as np
import pywt

from fusionkit.errors import FusionkitError
from fusionkit.models.classical.pairwise import Image, PairwiseRule, stronger

# The coarsest approximation, then per level, the coarsest first, details along rows, columns and diagonals.
Coefficients = list[Image | tuple[Image, Image, Image]]


def merge(a: Coefficients, b: Coefficients) -> Coefficients:
    """Return the coefficients of the fused image."""
    (base_a, *details_a), (base_b, *details_b) = a, b
    pairs = zip(details_a, details_b, strict=True)
    return [(base_a + base_b) / 2, *(tuple(map(stronger, x, y)) for x, y in pairs)]


class _Wavelet(PairwiseRule):
    """What both transforms share: which wavelet, how many levels.

    Args:
        wavelet: Name of a discrete wavelet in PyWavelets.
        levels: How often the approximation is split again, at most.

    Raises:
        FusionkitError: ``levels`` is less than one, or the wavelet unknown.
    """

    def __init__(self, wavelet: str = "sym4", levels: int = 3) -> None:
        super().__init__()
        if levels < 1:
            raise FusionkitError(f"levels = {levels} is not possible; pass 1 or more")
        if wavelet not in pywt.wavelist(kind="discrete"):
            raise FusionkitError(f"unknown wavelet {wavelet!r}; see pywt.wavelist(kind='discrete')")
        self.wavelet = pywt.Wavelet(wavelet)
        self.levels = levels


class DiscreteWavelet(_Wavelet):
    """The decimated transform: each level has half the size. Small images get fewer levels than asked for.

    Source: Li, Manjunath and Mitra, Graphical Models and Image Processing, 1995; their rule without its check of
    neighbours.
    """

    def fuse(self, a: Image, b: Image) -> Image:
        """Fuse two images (H, W)."""
        levels = min(self.levels, max(pywt.dwtn_max_level(a.shape, self.wavelet), 1))
        split = (pywt.wavedec2(x, self.wavelet, mode="symmetric", level=levels) for x in (a, b))
        height, width = a.shape
        return pywt.waverec2(merge(*split), self.wavelet, mode="symmetric")[:height, :width]


class StationaryWavelet(_Wavelet):
    """The undecimated transform: every level has the full size, so that a shift of the images shifts the result.

    PyWavelets' transform is periodic: images are mirrored outwards by the reach of the longest filter and cropped
    afterwards, so that opposite edges do not meet.

    Source: Rockinger, ICIP 1997 (shift invariance); Nason and Silverman, 1995 (the transform).
    """

    def fuse(self, a: Image, b: Image) -> Image:
        """Fuse two images (H, W)."""
        reach = self.wavelet.dec_len << self.levels - 1
        sides = [(reach, reach + -(size + 2 * reach) % (1 << self.levels)) for size in a.shape]
        wide = (np.pad(x, sides, mode="symmetric") for x in (a, b))
        split = (pywt.swt2(x, self.wavelet, self.levels, trim_approx=True, norm=True) for x in wide)
        fused = pywt.iswt2(merge(*split), self.wavelet, norm=True)
        return fused[tuple(slice(reach, reach + size) for size in a.shape)]
