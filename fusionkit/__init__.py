"""fusionkit: four image fusion papers rebuilt, their printed numbers beside measured ones."""

from typing import Any

from torch import nn

from fusionkit.errors import FusionkitError
from fusionkit.models import build_model, list_models
from fusionkit.weights import load_model

__version__ = "0.1.0"
__all__ = ["FusionkitError", "create_model", "list_models"]


def create_model(name: str, weights: str | None = None, **options: Any) -> nn.Module:
    """Return a fusion model in evaluation mode: ``forward(a, b) -> fused``, all (B, 1, H, W) in [0, 1].

    Args:
        name: One of ``list_models()``.
        weights: Name of trained weights or path of a weights file (safetensors, or an authors' .pth or .pt, where
            the model reads them); the file then decides the options.
        options: The model's options; not together with ``weights``.

    Raises:
        FusionkitError: Unknown model, weights or option; damaged or unfitting weights.
    """
    if weights is None:
        return build_model(name, **options)
    if options:
        raise FusionkitError(f"weights {weights!r} decide the options of {name}; leave out {', '.join(options)}")
    return load_model(name, weights)
