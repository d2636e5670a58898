"""From what users hold (uint8 or floats in [0, 1], grey or colour) to what metrics measure: grey levels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.metrics.conventions import Convention, GreyRule

FLOATS = (torch.float16, torch.float32, torch.float64)


def prepare(images: Mapping[str, Tensor], convention: Convention) -> dict[str, Tensor]:
    """Check images and turn them into the grey levels that a convention measures.

    Args:
        images: Name to image (B, 1, H, W) or (B, 3, H, W); uint8, or floats in [0, 1]. Batch, height, width
            and device agree; the number of channels need not.
        convention: Decides quantisation and colour.

    Returns:
        The same names with whole numbers 0..255 in float64, (B, C, H, W); C is 1 unless the convention
        measures channels one by one.

    Raises:
        FusionkitError: If an image is no such tensor, or the images do not belong together.
    """
    for name, image in images.items():
        _check_form(name, image)
    _check_together(images)
    for name, image in images.items():
        _check_values(name, image)
    return {name: _grey(_levels(image.detach()), convention.grey) for name, image in images.items()}


def _check_form(name: str, image: Tensor) -> None:
    if not isinstance(image, Tensor):
        raise FusionkitError(f"{name} is a {type(image).__name__}; pass a tensor (torch.from_numpy)")
    shape = tuple(image.shape)
    if image.ndim != 4 or shape[1] not in (1, 3) or image.numel() == 0:
        raise FusionkitError(f"{name} has shape {shape}; metrics take non-empty (B, 1, H, W) or (B, 3, H, W)")
    if image.dtype not in (torch.uint8, *FLOATS):
        raise FusionkitError(f"{name} has dtype {image.dtype}; pass uint8, or float16/32/64 in [0, 1]")


def _check_together(images: Mapping[str, Tensor]) -> None:
    sizes = {name: f"{len(x)}x{x.shape[2]}x{x.shape[3]}" for name, x in images.items()}
    devices = {name: str(x.device) for name, x in images.items()}
    for what, values in (("size (batch x height x width)", sizes), ("device", devices)):
        if len(set(values.values())) > 1:
            found = ", ".join(f"{name} {value}" for name, value in values.items())
            raise FusionkitError(f"images differ in {what}: {found}; make them equal")


def _check_values(name: str, image: Tensor) -> None:
    if image.dtype == torch.uint8:
        return
    if not torch.isfinite(image).all():
        raise FusionkitError(f"{name} holds NaN or infinity; metrics take finite values in [0, 1]")
    low, high = image.min().item(), image.max().item()
    if low < 0 or high > 1:
        raise FusionkitError(
            f"{name} spans {low:g} to {high:g}; floats must lie in [0, 1]: clamp, or pass 0..255 as uint8"
        )


def _levels(image: Tensor) -> Tensor:
    levels = image.double()
    return levels if image.dtype == torch.uint8 else torch.round(levels * 255)


def _grey(levels: Tensor, rule: GreyRule | None) -> Tensor:
    return levels if rule is None or levels.shape[1] == 1 else rule.convert(levels)
