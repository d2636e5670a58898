"""Trained weights: safetensors files that carry the options of their model, each with a card beside it.

``fusionkit/weights/<paper>/`` holds what a plain installation needs, ``results/weights/<paper>/`` ablations and
further seeds. The card ``<run>.json`` says how the weights came about, ``<run>.csv`` holds the loss curve.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fusionkit import paths
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import atomic_path
from fusionkit.models import build_model


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
    if str(weights).endswith(".safetensors"):
        if not Path(weights).is_file():
            raise FusionkitError(f"weights not found: {weights}")
        return Path(weights)
    known = list_weights(model)
    if str(weights) not in known:
        raise unknown(f"weights of {model}", str(weights), known)
    return known[str(weights)]


def save_weights(path: Path, model: nn.Module, name: str, options: dict[str, Any]) -> None:
    """Write a model's state with its name and options, complete or not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"model": name, "options": json.dumps(options, sort_keys=True)})


def read_weights(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a weights file's header and tensors.

    Raises:
        FusionkitError: The file is truncated or not safetensors.
    """
    try:
        with safe_open(path, "pt") as stream:
            return stream.metadata() or {}, {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FusionkitError(f"{path}: damaged or not a safetensors file ({error}); fetch or train it again") from error


def load_model(name: str, weights: str | Path) -> nn.Module:
    """Build the model that a weights file describes and load it strictly, in evaluation mode.

    Raises:
        FusionkitError: No such weights, a damaged file, another model's weights, or keys that do not fit.
    """
    path = find_weights(name, weights)
    header, tensors = read_weights(path)
    if header.get("model") != name:
        raise FusionkitError(f"{path}: holds weights of {header.get('model', 'an unknown model')!r}, not of {name!r}")
    model = build_model(name, **json.loads(header.get("options", "{}")))
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape)
    if missing or extra or wrong:
        raise FusionkitError(f"{path}: does not fit {name}: missing {missing}, unexpected {extra}, other shape {wrong}")
    model.load_state_dict(tensors)
    return model.eval()
