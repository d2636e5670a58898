"""Registered image pairs: from names to tensors."""

import hashlib
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from fusionkit.data.colour import rgb_to_ycbcr, to_luma
from fusionkit.data.images import read_image
from fusionkit.data.phantoms import phantom
from fusionkit.data.registry import Dataset, get_dataset, image_path, split_names
from fusionkit.errors import FusionkitError, unknown

PHANTOM_TEST_OFFSET = 10_000


@dataclass(frozen=True)
class Pair:
    """Two registered images of one scene.

    Attributes:
        a: First modality's luma (CT, PET, SPECT, infrared, GFP), float32 (1, H, W) in [0, 1].
        b: Second modality's luma (MRI, visible, phase contrast), same shape and range.
        chroma: Cb and Cr of the colour modality, (2, H, W), or None where both are grey.
        colour: Which modality the chroma belongs to: ``"first"``, ``"second"`` or ``"none"``.
    """

    dataset: str
    split: str
    name: str
    a: Tensor
    b: Tensor
    chroma: Tensor | None
    colour: str


def make_pair(first: Tensor, second: Tensor, where: tuple[str, str, str], colour: str | None = None) -> Pair:
    """Build a pair from two images (1 or 3, H, W).

    Args:
        first: First modality.
        second: Second modality.
        where: Dataset, split and name, for messages.
        colour: Whose chroma to keep; None finds out (a first modality in colour has precedence).

    Raises:
        FusionkitError: The sizes differ.
    """
    if first.shape[-2:] != second.shape[-2:]:
        sizes = " and ".join(f"{x.shape[-1]}x{x.shape[-2]}" for x in (first, second))
        raise FusionkitError(f"{'/'.join(w for w in where if w)}: the two images differ in size ({sizes})")
    if colour is None:
        colour = "first" if first.shape[0] == 3 else "second" if second.shape[0] == 3 else "none"
    carrier = {"first": first, "second": second}.get(colour)
    chroma = rgb_to_ycbcr(carrier)[1] if carrier is not None and carrier.shape[0] == 3 else None
    return Pair(*where, to_luma(first), to_luma(second), chroma, colour)


def load_pair(dataset: str, split: str, name: str) -> Pair:
    """Load one pair of a registered dataset, or draw it where the dataset is procedural.

    Raises:
        FusionkitError: Unknown dataset, split or name; an image is missing or damaged; sizes differ.
    """
    entry = get_dataset(dataset)
    if name not in _known_names(dataset, split):
        raise unknown(f"pair of {dataset}/{split}", name, _known_names(dataset, split))
    if entry.procedural:
        return _draw(entry, split, name)
    first, second = (image_path(dataset, split, modality, name) for modality in entry.modalities)
    for path in (first, second):
        if not path.is_file():
            raise FusionkitError(
                f"{path} is missing; `fusionkit data list` says how to get {dataset}, and FUSIONKIT_DATA "
                "names the folder that holds the datasets"
            )
    images = [_cut(read_image(path), entry.border) for path in (first, second)]
    return make_pair(*images, (dataset, split, name), entry.colour)


def present(dataset: str, split: str) -> bool:
    """Tell whether a split is not empty and every pair of it can be loaded here."""
    entry = get_dataset(dataset)
    if entry.procedural:
        return True
    names = split_names(dataset, split)
    files = (image_path(dataset, split, modality, name) for name in names for modality in entry.modalities)
    return bool(names) and all(file.is_file() for file in files)


def dataset_hash(dataset: str, split: str) -> str:
    """Return a SHA-256 over the names and decoded luma of a split as it is here (64 hex digits)."""
    digest = hashlib.sha256()
    for name in split_names(dataset, split):
        pair = load_pair(dataset, split, name)
        digest.update(name.encode())
        for image in (pair.a, pair.b):
            digest.update((image * 65535).round().to(torch.int32).numpy().tobytes())
    return digest.hexdigest()


@cache
def _known_names(dataset: str, split: str) -> frozenset[str]:
    return frozenset(split_names(dataset, split))


def _cut(image: Tensor, border: int) -> Tensor:
    return image[:, border:-border, border:-border] if border else image


def _draw(entry: Dataset, split: str, name: str) -> Pair:
    index = int(name) + (PHANTOM_TEST_OFFSET if split == "test" else 0)
    drawn = phantom(entry.task, index)
    first, second = (
        torch.from_numpy(x).view(*x.shape[:2], -1).permute(2, 0, 1).float() / 255 for x in (drawn.a, drawn.b)
    )
    return make_pair(first, second, (entry.name, split, name), entry.colour)
