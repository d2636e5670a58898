"""What the fused image of DIFF-MF owes to its guidance, its channel exchange, its spatial exchange and their scans."""

import copy
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_effects import Undo, change_words, undo_table
from fusionkit.models.diffmf import DiffMF, State
from fusionkit.models.diffmf.blocks import TransformerBlock
from fusionkit.models.diffmf.channel import (
    AttentionExchange,
    ChannelExchange,
    MatrixExchange,
    ResidualWeights,
    StaticWeights,
)
from fusionkit.models.diffmf.channel import Pair as Two
from fusionkit.models.diffmf.config import EXCHANGES
from fusionkit.models.diffmf.extraction import DifferenceStage
from fusionkit.models.diffmf.spatial import ScanFusion
from fusionkit.models.vss import VisualBlock


def _unguided(stage: DifferenceStage, inputs: tuple[State], output: State) -> State:
    """Let both modalities keep what their own blocks say: a difference of 0."""
    (state,) = inputs
    return output._replace(infrared=stage.infrared(state.infrared), visible=stage.visible(state.visible))


def _replaced(stage: DifferenceStage, inputs: tuple[State], output: State) -> State:
    """Give both modalities the visible image's features: a difference of 1."""
    (state,) = inputs
    visible = stage.visible(state.visible)
    return output._replace(infrared=visible, visible=visible)


def _own_matrices(module: MatrixExchange | AttentionExchange, inputs: Two, _output: Two) -> Two:
    other = copy.copy(module)
    other.sources = EXCHANGES["none"]
    return other.forward(*inputs)


def _not_reweighted(module: ChannelExchange, inputs: Two, _output: Two) -> Two:
    return module.exchange(*inputs)


def _zeros(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _passed_on(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
    return inputs[0]


BLOCK = VisualBlock | TransformerBlock
GENERATOR, FUSION = "channel_exchange.reweight.generator", "spatial_exchange.fusion"
PARTS: Mapping[str, Undo] = {
    "guidance: difference 0": Undo(DifferenceStage, ("stages",), _unguided),
    "guidance: difference 1": Undo(DifferenceStage, ("stages",), _replaced),
    "blocks of the stages: pass their input on": Undo(BLOCK, ("stages",), _passed_on),
    "exchange: each keeps its own matrices": Undo(MatrixExchange | AttentionExchange, ("channel",), _own_matrices),
    "no reweighting (eqs. 7-8)": Undo(ChannelExchange, ("channel",), _not_reweighted),
    "eq. 7: no residual": Undo(ResidualWeights | StaticWeights, ("channel",), _zeros),
    "eq. 8: w = 0, no blend": Undo(nn.Sequential, (GENERATOR,), _zeros),
    "spatial exchange: full size gives 0": Undo(ScanFusion, (f"{FUSION}.0",), _zeros),
    "spatial exchange: half and quarter give 0": Undo(ScanFusion, (f"{FUSION}.1", f"{FUSION}.2"), _zeros),
    "spatial exchange: blocks pass their input on": Undo(BLOCK, (FUSION,), _passed_on),
}


def effect_table(model: DiffMF, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return what undoing each part changes, everywhere in the network at once; as ``undo_table``."""
    return undo_table(model, pairs, PARTS, "diffmf")


def effect_verdict(title: str, table: pd.DataFrame) -> str:
    """Say which part the image owes most to, and which least.

    Args:
        title: What the network is called.
        table: Result of :func:`effect_table`.
    """
    ranked = table.sort_values("loss")
    least, most = ranked.index[0], ranked.index[-1]
    idle = ", ".join(ranked.index[ranked["changes"] < 1]) or "none"
    return (
        f"{title}: undoing costs most for {most!r} ({change_words(ranked.loc[most])}) and least for {least!r} "
        f"({change_words(ranked.loc[least])}); parts that move the image by less than one grey level: {idle}."
    )
