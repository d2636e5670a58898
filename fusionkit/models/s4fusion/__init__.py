"""S4Fusion (Ma et al., arXiv 2405.20881, 2024), as the authors' code computes it, and the ablations of its Table 3."""

from fusionkit.models.s4fusion.config import FUSIONS, MARKS, SIZES, Config, configure
from fusionkit.models.s4fusion.network import S4Fusion
from fusionkit.models.s4fusion.official import load_official
from fusionkit.models.s4fusion.steps import Steps, step_sizes

__all__ = ["FUSIONS", "MARKS", "SIZES", "Config", "S4Fusion", "Steps", "configure", "load_official", "step_sizes"]
