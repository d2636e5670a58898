"""DIFF-MF (Sun et al., arXiv 2601.05538, 2026), rebuilt from its paper, and the ablations of its Tables II to VI."""

from fusionkit.models.diffmf.config import SIZES, Config, configure
from fusionkit.models.diffmf.extraction import State, difference
from fusionkit.models.diffmf.network import DiffMF

__all__ = ["SIZES", "Config", "DiffMF", "State", "configure", "difference"]
