"""What a fused image owes to a part of its network: the trained network runs again with the part undone.

A network was not trained without the part, so a large effect says that it is needed here, not that no other network
could do without it. A small one says that it is there in vain.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_run import watch
from fusionkit.losses import measured_preset, preset

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


def fuse_without(model: nn.Module, pair: Pair, undo: Undo) -> np.ndarray:
    """Return the image that a network fuses with a part undone everywhere, (H, W) in [0, 1]."""
    handles = [part.register_forward_hook(undo.replace) for part in _parts(model, undo)]
    try:
        return watch(model, pair).fused
    finally:
        for handle in handles:
            handle.remove()


def _parts(model: nn.Module, undo: Undo) -> list[nn.Module]:
    return [part for path, part in model.named_modules() if isinstance(part, undo.kind) and path.startswith(undo.place)]


def effect(pair: Pair, fused: np.ndarray, image: np.ndarray, paper: str) -> dict[str, float]:
    """Return how another image (H, W) of a pair differs from the fused one.

    Returns:
        ``changes``: mean absolute difference in grey levels of 255; ``loss``: relative change of the loss by which
        networks of the paper are measured.
    """
    change = _loss(pair, image, paper) / _loss(pair, fused, paper) - 1
    return {"changes": GREY_LEVELS * float(np.abs(image - fused).mean()), "loss": change}


def _loss(pair: Pair, image: np.ndarray, paper: str) -> float:
    fused = torch.from_numpy(image)[None, None].to(pair.a)
    return float(preset(measured_preset(paper))(fused, pair.a[None], pair.b[None])["total"])


def undo_table(model: nn.Module, pairs: Sequence[Pair], parts: Mapping[str, Undo], paper: str) -> pd.DataFrame:
    """Return what undoing each of some parts changes, everywhere in the network at once.

    Args:
        model: A trained network.
        pairs: Loaded pairs.
        parts: By title.
        paper: Whose loss counts.

    Returns:
        One row per part that the network has: :func:`effect`, means over the pairs.
    """
    fused = [watch(model, pair).fused for pair in pairs]
    rows = {}
    for title, undo in parts.items():
        if _parts(model, undo):
            images = [fuse_without(model, pair, undo) for pair in pairs]
            found = [effect(*each, paper) for each in zip(pairs, fused, images, strict=True)]
            rows[title] = pd.DataFrame(found).mean()
    return pd.DataFrame(rows).T.rename_axis("undone")


def change_words(row: Mapping[str, float]) -> str:
    """Return an :func:`effect` in words."""
    return f"the image changes by {row['changes']:.2f} grey levels, the loss by {row['loss']:+.1%}"


def undo_words(table: pd.DataFrame) -> str:
    """Return an :func:`undo_table` in words, a line per part."""
    return "\n".join(f"undone, {name}: {change_words(row)}" for name, row in table.iterrows())
