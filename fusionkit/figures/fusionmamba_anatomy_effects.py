"""What the fused image of FusionMamba owes to one of its parts: the trained network runs again with the part undone.

A network was not trained without the part, so a large effect says that it is needed here, not that no other network
could do without it. A small one says that it is there in vain.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.data import Pair
from fusionkit.errors import unknown
from fusionkit.figures.fusionmamba_anatomy import run_network
from fusionkit.losses import preset
from fusionkit.models.fusionmamba.convolution import DescriptiveConvolution, EfficientChannelAttention
from fusionkit.models.fusionmamba.fusion import CodeMixing, CrossModalityMixing, DynamicEnhancement
from fusionkit.models.scan2d import SelectiveScan2d

GREY_LEVELS = 255
Replace = Callable[[Any, tuple[Tensor, ...], Any], Any]


@dataclass(frozen=True)
class Undo:
    """How a part is undone: which modules, and what each gives instead.

    Attributes:
        kind: Type of the modules.
        place: What their paths start with, one of several.
        replace: Instead of its output, from the module, its inputs and its output.
    """

    kind: type[nn.Module]
    place: tuple[str, ...]
    replace: Replace


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


def fuse_without(model: nn.Module, pair: Pair, undo: Undo) -> np.ndarray:
    """Return the image that a network fuses with a part undone everywhere, (H, W) in [0, 1].

    Raises:
        FusionkitError: As ``run_network``.
    """
    handles = [part.register_forward_hook(undo.replace) for part in _parts(model, undo)]
    try:
        return run_network(model, pair).fused
    finally:
        for handle in handles:
            handle.remove()


def _parts(model: nn.Module, undo: Undo) -> list[nn.Module]:
    return [part for path, part in model.named_modules() if isinstance(part, undo.kind) and path.startswith(undo.place)]


def effect(pair: Pair, fused: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """Return how another image (H, W) of a pair differs from the fused one.

    Returns:
        ``changes``: mean absolute difference in grey levels of 255; ``loss``: relative change of the paper's loss.
    """
    change = paper_loss(pair, image) / paper_loss(pair, fused) - 1
    return {"changes": GREY_LEVELS * float(np.abs(image - fused).mean()), "loss": change}


def paper_loss(pair: Pair, image: np.ndarray) -> float:
    """Return the paper's loss (eq. 9) of an image (H, W)."""
    fused = torch.from_numpy(image)[None, None].to(pair.a)
    return float(preset("fusionmamba")(fused, pair.a[None], pair.b[None])["total"])


def effect_table(model: nn.Module, pairs: Sequence[Pair], group: str) -> pd.DataFrame:
    """Return what undoing each part of a group changes, everywhere in the network at once.

    Args:
        model: A FusionMamba.
        pairs: Loaded pairs.
        group: A key of ``UNDO``.

    Returns:
        One row per part that the network has: :func:`effect`, means over the pairs.

    Raises:
        FusionkitError: No group has this name.
    """
    if group not in UNDO:
        raise unknown("group of parts", group, UNDO)
    fused = [run_network(model, pair).fused for pair in pairs]
    rows = {}
    for title, undo in UNDO[group].items():
        if _parts(model, undo):
            images = [fuse_without(model, pair, undo) for pair in pairs]
            found = [effect(*each) for each in zip(pairs, fused, images, strict=True)]
            rows[title] = pd.DataFrame(found).mean()
    return pd.DataFrame(rows).T.rename_axis("undone")


def change_words(row: Mapping[str, float]) -> str:
    """Return an :func:`effect` in words."""
    return f"the image changes by {row['changes']:.2f} grey levels, the paper's loss by {row['loss']:+.1%}"


def effect_words(model: nn.Module, pairs: Sequence[Pair], group: str) -> str:
    """Return :func:`effect_table` in words, a line per part."""
    table = effect_table(model, pairs, group)
    return "\n".join(f"undone, {name}: {change_words(row)}" for name, row in table.iterrows())


def effect_verdict(networks: Mapping[str, nn.Module], pairs: Sequence[Pair], group: str) -> str:
    """Return in one line what undoing each part of a group changes in each network, by title."""
    found = []
    for title, model in networks.items():
        changes = effect_table(model, pairs, group)["changes"]
        found.append(f"{title}: " + ", ".join(f"{name} {value:.2f}" for name, value in changes.items()))
    return "grey levels by which the image changes when a part is undone; " + "; ".join(found)
