"""Weights that the authors of baselines released: where they belong, and whether a file really holds them.

Nothing of this is part of the project. A file is looked for in ``$FUSIONKIT_WEIGHTS``, by default the folder
``weights`` below the data folder, under the authors' names of tensors.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from fusionkit import paths
from fusionkit.errors import FusionkitError, unknown
from fusionkit.models import build_model, model_entry
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Release, digest
from fusionkit.tensors import SUFFIXES, read_tensors, unwrapped


def released_folder() -> Path:
    """Return the folder of released weights."""
    return Path(os.environ.get("FUSIONKIT_WEIGHTS") or paths.data_dir() / "weights").expanduser()


def list_released(model: str) -> Mapping[str, Release]:
    """Return the releases of a model by name, whether they are here or not; the first is the model's bare name."""
    published = model_entry(model).published
    return published.releases if published else {}


def is_absent(model: str, weights: str) -> bool:
    """Return whether weights are a release of which no file is here; what a file holds is seen when it is loaded."""
    releases = list_released(model)
    return weights in releases and _file(releases[weights]) is None


def find_released(model: str, weights: str) -> Path:
    """Return the file of a release.

    Raises:
        FusionkitError: There is no such release, or no file: then it says what is wanted, and from where.
    """
    releases = list_released(model)
    if weights not in releases:
        raise unknown(f"released weights of {model}", weights, releases)
    file = _file(releases[weights])
    if file is None:
        published, name = model_entry(model).published, releases[weights].file
        raise FusionkitError(
            f"weights missing: {model}:{weights} needs {name}{SUFFIXES[0]} (or {', '.join(SUFFIXES[1:])}) in "
            f"{released_folder()}, with the authors' names of tensors; the authors released {published.form}, at "
            f"{published.url} (licence: {published.licence})"
        )
    return file


def load_released(model: str, weights: str) -> nn.Module:
    """Build a model with its authors' weights, in evaluation mode.

    Raises:
        FusionkitError: No such release or file, a damaged file, other tensors than the model's (all are listed),
            weights of another release, or weights that the authors did not release.
    """
    file = find_released(model, weights)
    releases = list_released(model)
    wanted, tensors = releases[weights], unwrapped(read_tensors(file)[1])
    found = digest(tensors)
    other = next((release.file for release in releases.values() if release.digest == found != wanted.digest), None)
    if other:
        raise FusionkitError(f"{file}: holds the weights {other}, not {wanted.file}; rename it")
    network: Baseline = build_model(model, **wanted.options).load_authors(tensors, str(file))
    if found != wanted.digest:
        raise FusionkitError(
            f"{file}: fits {model}, but these are not the weights that its authors released (SHA-256 of the tensors "
            f"{found}, not {wanted.digest}); fetch them again, or use the file by its path, {model}:{file}"
        )
    return network


def _file(release: Release) -> Path | None:
    files = (released_folder() / f"{release.file}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)
