"""Files of named tensors: safetensors, npz, or a state dict that torch saved; nothing in them is ever executed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fusionkit.errors import FusionkitError

PICKLED = (".pth", ".pt")
SAFE, ARRAYS = ".safetensors", ".npz"
SUFFIXES = (SAFE, ARRAYS, *PICKLED)
# Where training scripts put the state dict.
ENVELOPES = ("state_dict", "model", "params", "weight")
# What torch's parallel wrappers put before each name.
WRAPPER = "module."


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a file's header, which only safetensors have, and its tensors.

    Raises:
        FusionkitError: The file is damaged, or no state dict.
    """
    if path.suffix in PICKLED:
        return {}, read_pickled(path)
    if path.suffix == ARRAYS:
        return {}, _read_arrays(path)
    try:
        with safe_open(path, "pt") as stream:
            return stream.metadata() or {}, {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FusionkitError(f"{path}: damaged or not a safetensors file ({error}); fetch or train it again") from error


def unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors without what torch's parallel wrappers put before each name."""
    if not all(name.startswith(WRAPPER) for name in tensors):
        return tensors
    return {name.removeprefix(WRAPPER): tensor for name, tensor in tensors.items()}


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """Return the arrays of a file that numpy saved; arrays of objects would be pickled and are refused."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except Exception as error:  # a damaged archive can raise anything
        raise FusionkitError(
            f"{path}: damaged, or more than arrays of numbers ({type(error).__name__}); fetch it again"
        ) from error


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file that torch saved, out of its envelope; objects in the file are never built.

    Raises:
        FusionkitError: The file is damaged, or more than a state dict.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise FusionkitError(
            f"{path}: damaged, or more than a plain state dict, which is never loaded ({type(error).__name__}); "
            "fetch it again, or save only `model.state_dict()`"
        ) from error
    if isinstance(content, Mapping):
        content = next((content[key] for key in ENVELOPES if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise FusionkitError(f"{path}: no state dict, but {type(content).__name__}; save `model.state_dict()`")
    wrong = [str(key) for key, tensor in content.items() if not (isinstance(key, str) and isinstance(tensor, Tensor))]
    if wrong:
        raise FusionkitError(f"{path}: no state dict, these are no named tensors: {wrong}; save `model.state_dict()`")
    return dict(content)
