"""What the fused image of FusionMamba owes to each of its parts."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.data import Pair
from fusionkit.errors import unknown
from fusionkit.figures.anatomy_effects import Undo, undo_table, undo_words
from fusionkit.models.fusionmamba.convolution import DescriptiveConvolution, EfficientChannelAttention
from fusionkit.models.fusionmamba.fusion import CodeMixing, CrossModalityMixing, DynamicEnhancement
from fusionkit.models.scan2d import SelectiveScan2d


def _plain(ldc: DescriptiveConvolution, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
    return F.conv2d(inputs[0], ldc.conv.weight, padding=1)


def _one_weight(eca: EfficientChannelAttention, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
    return inputs[0] * eca.weights(inputs[0]).mean(1, keepdim=True)


def _passed_on(_scan: SelectiveScan2d, inputs: tuple[Tensor, ...], _output: Any) -> tuple[Tensor, ...]:
    return inputs


def _nothing(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _halves(dfem: DynamicEnhancement, inputs: tuple[Tensor, ...], _output: Any) -> tuple[Tensor, Tensor]:
    parts = dfem.parts(*inputs)
    return inputs[0] + parts.texture1 + parts.both / 2, inputs[1] + parts.texture2 + parts.both / 2


def _no_texture(dfem: DynamicEnhancement, inputs: tuple[Tensor, ...], output: Any) -> tuple[Tensor, Tensor]:
    parts = dfem.parts(*inputs)
    return output[0] - parts.texture1, output[1] - parts.texture2


def _own_gate(mixing: CodeMixing, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
    other = copy.copy(mixing)
    other.own_gate = True
    return other.forward(*inputs)


def _no_product(mixing: CrossModalityMixing, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
    other = copy.copy(mixing)
    other.hybrid = lambda first, second: first + second
    return other.forward(*inputs)


BLOCKS, FUSION = ("encoder", "decoder"), ("fusion",)
UNDO: dict[str, dict[str, Undo]] = {
    "block": {
        "LDC: a plain convolution": Undo(DescriptiveConvolution, BLOCKS, _plain),
        "ECA: one weight for all channels": Undo(EfficientChannelAttention, BLOCKS, _one_weight),
        "ES2D: passes its input on": Undo(SelectiveScan2d, BLOCKS, _passed_on),
        "LDC: gives nothing": Undo(DescriptiveConvolution, BLOCKS, _nothing),
        "ECA: gives nothing": Undo(EfficientChannelAttention, BLOCKS, _nothing),
    },
    "dfem": {
        "both shares 0.5": Undo(DynamicEnhancement, FUSION, _halves),
        "LDC: a plain convolution": Undo(DescriptiveConvolution, FUSION, _plain),
        "no texture maps": Undo(DynamicEnhancement, FUSION, _no_texture),
    },
    "cmfm": {
        "eq. 6 without the product": Undo(CrossModalityMixing, FUSION, _no_product),
        "second gate from the second modality": Undo(CodeMixing, FUSION, _own_gate),
        "ES2D: passes its input on": Undo(SelectiveScan2d, FUSION, _passed_on),
        "ECA: one weight for all channels": Undo(EfficientChannelAttention, FUSION, _one_weight),
        "ECA: gives nothing": Undo(EfficientChannelAttention, FUSION, _nothing),
    },
}


def effect_table(model: nn.Module, pairs: Sequence[Pair], group: str) -> pd.DataFrame:
    """Return what undoing each part of a group changes, everywhere in the network at once.

    Args:
        model: A FusionMamba.
        pairs: Loaded pairs.
        group: A key of ``UNDO``.

    Returns:
        As ``undo_table``, by the loss of eq. 9.

    Raises:
        FusionkitError: No group has this name.
    """
    if group not in UNDO:
        raise unknown("group of parts", group, UNDO)
    return undo_table(model, pairs, UNDO[group], "fusionmamba")


def effect_words(model: nn.Module, pairs: Sequence[Pair], group: str) -> str:
    """Return :func:`effect_table` in words, a line per part."""
    return undo_words(effect_table(model, pairs, group))


def effect_verdict(networks: Mapping[str, nn.Module], pairs: Sequence[Pair], group: str) -> str:
    """Return in one line what undoing each part of a group changes in each network, by title."""
    found = []
    for title, model in networks.items():
        changes = effect_table(model, pairs, group)["changes"]
        found.append(f"{title}: " + ", ".join(f"{name} {value:.2f}" for name, value in changes.items()))
    return "grey levels by which the image changes when a part is undone; " + "; ".join(found)
