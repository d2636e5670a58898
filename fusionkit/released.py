"""Weights that the authors of baselines released: where they belong, and whether a file really holds them.

Nothing of this is part of the project. A file is looked for in ``$FUSIONKIT_WEIGHTS``, by default the folder
``weights`` below the data folder, under the authors' names of tensors.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

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


def get_release(model: str, weights: str) -> Release:
    """Return a release of a model.

    Raises:
        FusionkitError: There is no such release.
    """
    releases = list_released(model)
    if weights not in releases:
        raise unknown(f"released weights of {model}", weights, releases)
    return releases[weights]


def is_absent(model: str, weights: str) -> bool:
    """Return whether weights are a release of which no file is here; what a file holds is seen when it is loaded."""
    releases = list_released(model)
    return weights in releases and _file(releases[weights]) is None


def find_released(model: str, weights: str) -> Path:
    """Return the file of a release.

    Raises:
        FusionkitError: There is no such release, or no file: then it says what is wanted, and from where.
    """
    release = get_release(model, weights)
    file = _file(release)
    if file is None:
        published, name = model_entry(model).published, release.file
        raise FusionkitError(
            f"weights missing: {model}:{weights} needs {name}{SUFFIXES[0]} (or {', '.join(SUFFIXES[1:])}) in "
            f"{released_folder()}, with the authors' names of tensors; the authors released {published.form}, at "
            f"{published.url} (licence: {published.licence}); get them by `fusionkit models {model}:{weights} --fetch`"
        )
    return file


def load_released(model: str, weights: str) -> nn.Module:
    """Build a model with its authors' weights, in evaluation mode.

    Raises:
        FusionkitError: No such release or file, a damaged file, other tensors than the model's (all are listed),
            weights of another release, or weights that the authors did not release.
    """
    file = find_released(model, weights)
    return fitted(model, weights, unwrapped(read_tensors(file)[1]), str(file))


def fitted(model: str, weights: str, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
    """Build a model with the tensors of a release, in evaluation mode.

    Args:
        model: A baseline.
        weights: Name of the release.
        tensors: Under the authors' names.
        source: The file they come from, for messages.

    Raises:
        FusionkitError: Other tensors than the model's (all are listed), weights of another release, or weights that
            the authors did not release.
    """
    releases, wanted, found = list_released(model), get_release(model, weights), digest(tensors)
    other = next((release.file for release in releases.values() if release.digest == found != wanted.digest), None)
    if other:
        raise FusionkitError(f"{source}: holds the weights {other}, not {wanted.file}; rename it")
    network: Baseline = build_model(model, **wanted.options).load_authors(tensors, source)
    if found != wanted.digest:
        raise FusionkitError(
            f"{source}: fits {model}, but these are not the weights that its authors released (SHA-256 of the tensors "
            f"{found}, not {wanted.digest}); fetch them again, or use weights of your own by path, {model}:PATH"
        )
    return network


def _file(release: Release) -> Path | None:
    files = (released_folder() / f"{release.file}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)
