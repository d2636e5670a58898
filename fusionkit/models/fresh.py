"""Networks as they are before training."""

from typing import Any

import torch
from torch import nn

from fusionkit.models import build_model


def fresh_model(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """Return an untrained model, in evaluation mode, and leave the random state as it was.

    Args:
        name: The model.
        seed: Decides its values; training from the same seed starts from them.
        **options: Of ``build_model``.

    Raises:
        FusionkitError: As ``build_model``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(name, **options).eval()
