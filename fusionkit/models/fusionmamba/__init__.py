"""FusionMamba (Xie et al., arXiv 2404.09498, 2024) in two readings: the paper's equations and the authors' code."""

from fusionkit.models.fusionmamba.config import MODES, SIZES, Config, configure
from fusionkit.models.fusionmamba.network import FusionMamba
from fusionkit.models.fusionmamba.official import load_official

__all__ = ["MODES", "SIZES", "Config", "FusionMamba", "configure", "load_official"]
