"""Two-scale fusion by saliency (Bavirisetti and Dhuli, Infrared Physics & Technology, 2016), "TIF" in benchmarks."""

import numpy as np
import scipy

from fusionkit.models.classical.pairwise import Image, PairwiseRule

# Sides of the mean filter, which splits base from detail, and of the median filter.
MEAN = 35
MEDIAN = 3


class TwoScaleSaliency(PairwiseRule):
    """The mean of both bases, and details weighted by saliency: how far a small median lies from a wide mean.

    The windows are the paper's; at the border, edge pixels repeat. Where neither image is salient, both count alike.
    """

    def fuse(self, a: Image, b: Image) -> Image:
        """Fuse two images (H, W)."""
        base_a, base_b = (scipy.ndimage.uniform_filter(x, MEAN, mode="nearest") for x in (a, b))
        salient_a, salient_b = (
            np.abs(base - scipy.ndimage.median_filter(x, MEDIAN, mode="nearest"))
            for x, base in ((a, base_a), (b, base_b))
        )
        both = salient_a + salient_b
        share = np.divide(salient_a, both, out=np.full_like(both, 0.5), where=both > 0)
        return (base_a + base_b) / 2 + share * (a - base_a) + (1 - share) * (b - base_b)
