"""Fused images that were released, as a method: ``published:<folder>``, one image per pair of a dataset.

They lie in ``published_fusions/<dataset>/<folder>`` of the data folder, each under the name of its source pair. Where
known ones come from stands in ``published.toml``; any other folder works alike, without that record.
"""

import tomllib
from functools import cache
from pathlib import Path

from torch import Tensor

from fusionkit import paths
from fusionkit.data.colour import to_luma
from fusionkit.data.images import SUFFIXES, read_image
from fusionkit.data.pairs import Pair
from fusionkit.errors import FusionkitError
from fusionkit.files import sha256
from fusionkit.provenance import config_hash

PUBLISHED = "published"
RECORD = Path(__file__).with_name("published.toml")


def is_published(method: str) -> bool:
    """Return whether a method id stands for a folder of fused images."""
    return method.partition(":")[0] == PUBLISHED


def published_here(method: str, dataset: str) -> bool:
    """Return whether the folder of a method id is here for a dataset."""
    return _place(method, dataset).is_dir()


def published_folder(method: str, dataset: str) -> Path:
    """Return the folder of fused images of a dataset.

    Args:
        method: ``published:<folder>``.
        dataset: Dataset name.

    Raises:
        FusionkitError: There is no such folder.
    """
    folder = _place(method, dataset)
    if not published_here(method, dataset):
        raise FusionkitError(f"{folder}: no published images of that name here")
    return folder


def published_image(method: str, pair: Pair) -> Tensor:
    """Return the fused image of a pair, luma (1, 1, H, W) in [0, 1].

    Args:
        method: ``published:<folder>``.
        pair: A pair of a registered dataset.

    Raises:
        FusionkitError: No such folder, no image of the pair's name, an unreadable one, or another size than the pair's.
    """
    return folder_image(published_folder(method, pair.dataset), pair)


def folder_image(folder: Path, pair: Pair) -> Tensor:
    """Return the fused image of a pair out of a folder, luma (1, 1, H, W) in [0, 1].

    Args:
        folder: Holds images under the names of their pairs; a pair without a suffix, such as a phantom, has ``.png``.
        pair: A pair of a registered dataset.

    Raises:
        FusionkitError: No image of the pair's name, an unreadable one, or another size than the pair's.
    """
    path = folder / (pair.name if Path(pair.name).suffix else f"{pair.name}.png")
    if not path.is_file():
        raise FusionkitError(f"{path}: no such image; the folder needs one for each pair, under the pair's name")
    image = to_luma(read_image(path))[None]
    if image.shape[-2:] != pair.a.shape[-2:]:
        (height, width), (rows, columns) = image.shape[-2:], pair.a.shape[-2:]
        raise FusionkitError(f"{path}: {width}x{height} pixels, but the pair has {columns}x{rows}")
    return image


def published_hash(method: str, dataset: str) -> str:
    """Return a hash of all images of a folder and their names.

    Raises:
        FusionkitError: There is no such folder.
    """
    files = sorted(p for p in published_folder(method, dataset).iterdir() if p.suffix.lower() in SUFFIXES)
    return config_hash({file.name: sha256(file) for file in files})


def published_origin(method: str, dataset: str) -> dict[str, str]:
    """Return ``repository commit path convention`` of released images, nothing where they are not on record."""
    folder = method.partition(":")[2]
    for release in _releases():
        if release["dataset"] == dataset and folder in release["methods"]:
            return {key: release[key] for key in ("repository", "commit", "path", "convention")}
    return {}


def _place(method: str, dataset: str) -> Path:
    return paths.data_dir() / "published_fusions" / dataset / method.partition(":")[2]


@cache
def _releases() -> list[dict]:
    return tomllib.loads(RECORD.read_text(encoding="utf-8"))["releases"]
