"""Procedural image pairs, seeded and labelled, one family for each kind of fusion task."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fusionkit.data.phantoms import brain, cells, street
from fusionkit.data.phantoms.fields import Bytes, Shape
from fusionkit.errors import FusionkitError, unknown

_Family = Callable[[np.random.Generator, Shape], tuple[Bytes, Bytes, Bytes]]

_FAMILIES: dict[str, tuple[_Family, tuple[str, ...]]] = {
    "ct-mri": (brain.ct_mri, brain.LABEL_NAMES),
    "pet-mri": (brain.pet_mri, brain.LABEL_NAMES),
    "spect-mri": (brain.spect_mri, brain.LABEL_NAMES),
    "ir-vis": (street.ir_vis, street.LABEL_NAMES),
    "gfp-pc": (cells.gfp_pc, cells.LABEL_NAMES),
}

TASKS: tuple[str, ...] = tuple(_FAMILIES)
MIN_SIZE = 16


@dataclass(frozen=True)
class Phantom:
    """One registered pair with its ground truth.

    Attributes:
        task: One of ``TASKS``.
        index: Which phantom of that task.
        a: CT, PET, SPECT, infrared or fluorescence; uint8 (H, W), or (H, W, 3) for PET, SPECT, fluorescence.
        b: MR, visible or phase contrast; uint8 (H, W), or (H, W, 3) for visible.
        labels: What lies at each pixel, uint8 (H, W), indices into ``label_names``.
        label_names: Names of the labels.
    """

    task: str
    index: int
    a: Bytes
    b: Bytes
    labels: Bytes
    label_names: tuple[str, ...]


def phantom(task: str, index: int, size: int | tuple[int, int] = 256) -> Phantom:
    """Draw one image pair; the same arguments always give the same pair.

    Args:
        task: One of ``TASKS``.
        index: Which phantom, from 0 on; each is a different scene.
        size: Side of a square in pixels, or (H, W); at least 16. The scene stays the same at every
            size of one aspect ratio, only the noise differs.

    Raises:
        FusionkitError: The task is unknown, the index negative or the size too small.
    """
    if task not in _FAMILIES:
        raise unknown("phantom task", task, TASKS)
    if index < 0:
        raise FusionkitError(f"phantom index {index} is negative; number phantoms from 0")
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < MIN_SIZE:
        raise FusionkitError(
            f"phantom size {shape[0]}x{shape[1]} is too small; ask for at least {MIN_SIZE} pixels a side"
        )
    draw, label_names = _FAMILIES[task]
    rng = np.random.default_rng([zlib.crc32(task.encode()), index])
    a, b, labels = draw(rng, shape)
    return Phantom(task, index, a, b, labels, label_names)
