"""Classical fusion rules without training: the traditional rows of benchmarks such as VIFB.

CSMCA (Liu et al., IEEE Signal Processing Letters, 2019), the traditional row of FusionMamba's tables, is not among
them: it codes both images in two dictionaries of convolution kernels that its authors learned, and neither the
kernels nor the images they were learned from can be had from the paper.
"""

from fusionkit.models.classical.gradient_transfer import GradientTransfer
from fusionkit.models.classical.guided_filter import GuidedFilter
from fusionkit.models.classical.pyramids import LaplacianPyramid, RatioPyramid
from fusionkit.models.classical.two_scale import TwoScaleSaliency
from fusionkit.models.classical.wavelets import DiscreteWavelet, StationaryWavelet

__all__ = [
    "DiscreteWavelet",
    "GradientTransfer",
    "GuidedFilter",
    "LaplacianPyramid",
    "RatioPyramid",
    "StationaryWavelet",
    "TwoScaleSaliency",
]
