"""A method that the package does not know, measured like those that it knows: a callable, a network, or a folder."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fusionkit.data.pairs import Pair, load_pair
from fusionkit.data.published import folder_image
from fusionkit.data.registry import split_names
from fusionkit.errors import FusionkitError
from fusionkit.measure import measure_pair
from fusionkit.models.inputs import TOLERANCE

Fuse = Callable[[Tensor, Tensor], Tensor]


def measure_extra(
    method: Fuse | Path | str, dataset: str, split: str, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Measure a method on the pairs of a split; nothing is kept on file.

    Args:
        method: What takes two images (1, 1, H, W) in [0, 1] and returns the fused one, alike: a function, or a network
            in evaluation mode. Or a folder that holds one fused image for each pair, under the pair's name.
        dataset: Dataset name.
        split: Split name.
        names: Some of the split's pairs; None takes all.

    Returns:
        What a measurement holds: a row per pair, a column per quantity. ``fusionkit.tables.build`` shows it beside the
        printed rows of a panel, ``build(panel, recorded(panel) | {"mine": values})``.

    Raises:
        FusionkitError: Unknown names, images that are not here, or a fused image that is none: another shape or type,
            values that are no numbers or lie outside [0, 1].
    """
    fuse = partial(folder_image, Path(method)) if isinstance(method, str | Path) else partial(fused_by, method)
    rows = {name: measure_pair(fuse, load_pair(dataset, split, name)) for name in names or split_names(dataset, split)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("pair")


def fused_by(method: Fuse, pair: Pair) -> Tensor:
    """Return the image (1, 1, H, W) that a callable makes of a pair.

    Raises:
        FusionkitError: It is no image of the pair's size in [0, 1].
    """
    fused = method(pair.a[None], pair.b[None])
    where = f"{pair.dataset}/{pair.split}/{pair.name}: the method"
    if not isinstance(fused, Tensor) or not fused.is_floating_point():
        found = f"a tensor of {fused.dtype}" if isinstance(fused, Tensor) else type(fused).__name__
        raise FusionkitError(f"{where} returned {found}; return a floating-point tensor (1, 1, H, W) in [0, 1]")
    if fused.shape != pair.a[None].shape:
        raise FusionkitError(f"{where} returned the shape {tuple(fused.shape)} for {tuple(pair.a[None].shape)}")
    broken = int((~fused.isfinite()).sum())
    if broken:
        raise FusionkitError(f"{where} returned {broken} values that are no finite numbers")
    low, high = (float(value) for value in torch.aminmax(fused))
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise FusionkitError(f"{where} returned values from {low:.4g} to {high:.4g}; bring them into [0, 1]")
    return fused
