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
from safetensors.torch import save_file
from torch import Tensor, nn

from fusionkit import paths
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import atomic_path, sha256
from fusionkit.models import MODELS, build_model, model_entry
from fusionkit.released import find_released, list_released, load_released
from fusionkit.tensors import SUFFIXES, read_tensors, unwrapped

HALF_FROM = 300_000


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
    if weights in list_released(model):
        return find_released(model, str(weights))
    known = list_weights(model)
    if str(weights) not in known:
        raise unknown(f"weights of {model}", str(weights), [*known, *list_released(model)])
    return known[str(weights)]


def weights_hash(model: str, weights: str) -> str | None:
    """Return what identifies weights: of released ones the digest of their tensors, else the SHA-256 of the file.

    Args:
        model: The model.
        weights: Name or path; empty for a model without weights, which gives None. Released ones need not be here.

    Raises:
        FusionkitError: There is no such file or name.
    """
    if not weights:
        return None
    released = list_released(model)
    return released[weights].digest if weights in released else sha256(find_weights(model, weights))


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


def load_model(name: str, weights: str | Path) -> nn.Module:
    """Build the model that a weights file describes and load it strictly, in evaluation mode.

    A file without our header is taken for one of the paper's authors: safetensors, npz, or a state dict in ``.pth`` or
    ``.pt``. Weights that the authors of a baseline released are given by the name of the release.

    Args:
        name: The model.
        weights: Name of trained weights, or path of a file.

    Raises:
        FusionkitError: No such weights, a damaged file, another model's weights, keys that do not fit, or an authors'
            file for a model that cannot read it.
    """
    if weights in list_released(name):
        return load_released(name, str(weights))
    path = find_weights(name, weights)
    header, tensors = read_tensors(path)
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
    return read(unwrapped(tensors), str(path))
