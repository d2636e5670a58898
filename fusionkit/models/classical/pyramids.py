"""Fusion in pyramids of ever smaller images: what each level adds to the next coarser one competes."""

import abc

import skimage

from fusionkit.errors import FusionkitError
from fusionkit.models.classical.pairwise import Image, PairwiseRule, stronger

# Added to both parts of a ratio, half a grey level of 8 bits: ratios to black say nothing.
DARK = 0.5 / 255


def gaussian_pyramid(image: Image, levels: int) -> list[Image]:
    """Return an image (H, W) and up to ``levels`` coarser ones, each smoothed and half as large, rounded up."""
    return list(skimage.transform.pyramid_gaussian(image, max_layer=levels))


def enlarge(image: Image, like: Image) -> Image:
    """Return a level at the size of the next finer one."""
    height, width = like.shape
    return skimage.transform.pyramid_expand(image)[:height, :width]


class _Pyramid(PairwiseRule):
    """A pyramid of what each level adds to the enlarged next one; of both images the stronger addition stays.

    The coarsest level is the mean. Smoothing and sizes are scikit-image's.

    Args:
        levels: How often the image is halved.

    Raises:
        FusionkitError: ``levels`` is less than one.
    """

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        if levels < 1:
            raise FusionkitError(f"levels = {levels} is not possible; pass 1 or more")
        self.levels = levels

    @staticmethod
    @abc.abstractmethod
    def detail(fine: Image, coarse: Image) -> Image:
        """Return what a level has on top of the enlarged next one: zero where nothing."""

    @staticmethod
    @abc.abstractmethod
    def restore(detail: Image, coarse: Image) -> Image:
        """Return the level of which ``detail`` is the detail."""

    def fuse(self, a: Image, b: Image) -> Image:
        """Fuse two images (H, W)."""
        levels = list(zip(*(gaussian_pyramid(x, self.levels) for x in (a, b)), strict=True))
        fused = sum(levels[-1]) / 2
        for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
            details = (self.detail(x, enlarge(y, x)) for x, y in zip(fine, coarse, strict=True))
            fused = self.restore(stronger(*details), enlarge(fused, fine[0]))
        return fused


class LaplacianPyramid(_Pyramid):
    """Detail is the difference to the coarser level.

    Source: Burt and Adelson, IEEE Trans. Communications, 1983.
    """

    @staticmethod
    def detail(fine: Image, coarse: Image) -> Image:
        """Return the difference of two levels of one size."""
        return fine - coarse

    @staticmethod
    def restore(detail: Image, coarse: Image) -> Image:
        """Add the difference."""
        return coarse + detail


class RatioPyramid(_Pyramid):
    """Detail is the contrast: the ratio to the coarser level, less one.

    Source: Toet, Pattern Recognition Letters, 1989.
    """

    @staticmethod
    def detail(fine: Image, coarse: Image) -> Image:
        """Return the contrast of two levels of one size."""
        return (fine + DARK) / (coarse + DARK) - 1

    @staticmethod
    def restore(detail: Image, coarse: Image) -> Image:
        """Multiply by the ratio."""
        return (detail + 1) * (coarse + DARK) - DARK
