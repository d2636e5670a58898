"""What the fused image of S4Fusion owes to its fusion modules and to what happens inside them."""

import copy
from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from fusionkit.data import Pair
from fusionkit.figures.anatomy_effects import Undo, undo_table
from fusionkit.figures.s4fusion_anatomy import plain_scan
from fusionkit.models.s4fusion import S4Fusion
from fusionkit.models.s4fusion.cmsa import CrossScan, PairFusion

Two = tuple[Tensor, Tensor]


def _sum(_module: PairFusion, inputs: Two, _output: Tensor) -> Tensor:
    return inputs[0] + inputs[1]


def _unmarked(scan: CrossScan, inputs: Two, _output: Two) -> Two:
    other = copy.copy(scan)
    other.mark = "none"
    return other.forward(*inputs)


def _alone(scan: CrossScan, inputs: Two, _output: Two) -> tuple[Tensor, ...]:
    return plain_scan(scan, inputs)


def _passed_on(_scan: CrossScan, inputs: Two, _output: Two) -> Two:
    return inputs


def _visible_first(scan: CrossScan, inputs: Two, _output: Two) -> Two:
    """Let the visible place come first in every pair of the sequence; each modality keeps its own parameters."""
    other = copy.copy(scan)
    other._parameters = scan._parameters | {"x_proj_weight": scan.y_proj_weight, "y_proj_weight": scan.x_proj_weight}
    other.marked = lambda visible, infrared: scan.marked(infrared, visible)[::-1]
    visible, infrared = other.forward(*inputs[::-1])
    return infrared, visible


INSIDE = {
    "no patch mark": Undo(CrossScan, ("fusion",), _unmarked),
    "each modality scanned alone (SS2D)": Undo(CrossScan, ("fusion",), _alone),
    "no scan: passes its input on": Undo(CrossScan, ("fusion",), _passed_on),
    "visible first": Undo(CrossScan, ("fusion",), _visible_first),
}


def inside_table(model: S4Fusion, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return what undoing each part inside the fusion modules changes, in all of them at once; as ``undo_table``."""
    return undo_table(model, pairs, INSIDE, "s4fusion")


def scales_table(model: S4Fusion, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return what changes where the CMSA of one scale only adds both modalities' features up; as ``undo_table``."""
    scales = range(1, 1 + len(model.fusion))
    parts = {f"CMSA {scale}: a plain sum": Undo(PairFusion, (f"fusion.{scale - 1}",), _sum) for scale in scales}
    return undo_table(model, pairs, parts, "s4fusion")
