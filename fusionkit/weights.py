"""Trained weights: safetensors files that carry the options of their model, each with a card beside it.

``fusionkit/weights/<paper>/`` holds what a plain installation needs, ``results/weights/<paper>/`` ablations and
further seeds. The card ``<run>.json`` says how the weights came about, ``<run>.csv`` holds the loss curve.

Files that a paper's authors saved can be given by path, too, where the model can read them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fusionkit import paths
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import atomic_path
from fusionkit.models import MODELS, build_model, model_entry

PICKLED = (".pth", ".pt")
SUFFIXES = (".safetensors", *PICKLED)
# Where training scripts put the state dict, and what torch's parallel wrappers put before each key.
ENVELOPES = ("state_dict", "model", "params")
WRAPPER = "module."
HALF_FROM = 1_000_000


def weight_folders() -> tuple[Path, Path]:
    """Return the folder inside the package and the one inside the results."""
    return paths.PACKAGE / "weights", paths.results_dir() / "weights"


def list_weights(model: str) -> dict[str, Path]:
    """Return the weights files of a model by name."""
    found = {}
    for folder in reversed(weight_folders()):
        found |= {path.stem: path for path in sorted((folder / model).glob("*.safetensors"))}
    return found


def find_weights(model: str, weights: str | Path) -> Path:
    """Return the file of weights given by name or by path.

    Raises:
        FusionkitError: There is no such file or name.
    """
    if str(weights).endswith(SUFFIXES):
        if not Path(weights).is_file():
            raise FusionkitError(f"weights not found: {weights}")
        return Path(weights)
    known = list_weights(model)
    if str(weights) not in known:
        raise unknown(f"weights of {model}", str(weights), known)
    return known[str(weights)]


def save_weights(path: Path, model: nn.Module, name: str, options: dict[str, Any]) -> None:
    """Write a model's state with its name and options, complete or not at all.

    Networks of more than ``HALF_FROM`` values are written in float16, which keeps the files small; loaded, they are
    float32 again.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if sum(tensor.numel() for tensor in tensors.values()) > HALF_FROM:
        tensors = {key: x.half() if x.dtype == torch.float32 else x for key, x in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"model": name, "options": json.dumps(options, sort_keys=True)})


def read_weights(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a weights file's header, empty for files that torch saved, and its tensors.

    Raises:
        FusionkitError: The file is damaged, or no state dict.
    """
    if path.suffix in PICKLED:
        return {}, _read_pickled(path)
    try:
        with safe_open(path, "pt") as stream:
            return stream.metadata() or {}, {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FusionkitError(f"{path}: damaged or not a safetensors file ({error}); fetch or train it again") from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file that torch saved, out of its envelope; objects in the file are never built."""
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


def load_model(name: str, weights: str | Path) -> nn.Module:
    """Build the model that a weights file describes and load it strictly, in evaluation mode.

    A file without our header is taken for one of the paper's authors: safetensors, or a state dict in ``.pth`` or
    ``.pt``.

    Args:
        name: The model.
        weights: Name of trained weights, or path of a file.

    Raises:
        FusionkitError: No such weights, a damaged file, another model's weights, keys that do not fit, or an authors'
            file for a model that cannot read it.
    """
    path = find_weights(name, weights)
    header, tensors = read_weights(path)
    if "model" not in header:
        return _load_authors(name, path, tensors)
    if header["model"] != name:
        raise FusionkitError(f"{path}: holds weights of {header['model']!r}, not of {name!r}")
    model = build_model(name, **json.loads(header.get("options", "{}")))
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape)
    if missing or extra or wrong:
        raise FusionkitError(f"{path}: does not fit {name}: missing {missing}, unexpected {extra}, other shape {wrong}")
    model.load_state_dict(tensors)
    return model.eval()


def _load_authors(name: str, path: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Load a state dict of a paper's authors."""
    read = model_entry(name).read_authors
    if read is None:
        able = ", ".join(known for known, entry in MODELS.items() if entry.read_authors)
        raise FusionkitError(
            f"{path}: not written by fusionkit; authors' files are not supported for {name}, only for {able}"
        )
    if all(key.startswith(WRAPPER) for key in tensors):
        tensors = {key.removeprefix(WRAPPER): tensor for key, tensor in tensors.items()}
    return read(tensors, str(path))
