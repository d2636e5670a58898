"""Test images that are also training images, found by comparing decoded pixels.

Two files show the same slice without being equal when a repository exported them anew: other rounding,
another colour map, a trace of resampling. Measured on the Harvard sets: exports of one slice correlate by
0.9979 or more, while neighbouring slices of one patient reach 0.989 at most. ``SAME`` lies between the two.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from fusionkit.data.identity import decode
from fusionkit.data.registry import get_dataset, image_path, split_names
from fusionkit.errors import FusionkitError

SAME = 0.995
THUMBNAIL = 32
CANDIDATES = 8
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class _Images:
    """One modality of a split: names, pixels (H, W, C) uint8, standardised luma thumbnails (N, 32 * 32)."""

    names: list[str]
    pixels: list[np.ndarray]
    thumbnails: np.ndarray


def overlap(dataset: str, test_split: str = "test", train_split: str = "train") -> pd.DataFrame:
    """Look for every test pair in the training split of the same dataset.

    For each test image the nearest training images by the correlation of 32x32 thumbnails are compared
    pixel by pixel: the correlation of luma, which is what networks see, and the differences of all
    channels. Images of another size do not count.

    Args:
        dataset: Name of a dataset whose two splits are present.
        test_split: Split whose pairs are looked up.
        train_split: Split that is searched.

    Returns:
        One row per test pair: ``name``; per modality ``<modality>_nearest`` (name of the most similar
        training image), ``_corr`` (Pearson, up to 1), ``_max_diff`` and ``_mean_diff`` (absolute, 0 to 255);
        and ``verdict``: ``pair`` (both images belong to one training pair), ``functional_only`` (the first
        modality is in train), ``structural_only`` (the second is) or ``no``.

    Raises:
        FusionkitError: An image is not there.
    """
    modalities = get_dataset(dataset).modalities
    found = []
    for modality in modalities:
        test, train = (_read(dataset, split, modality) for split in (test_split, train_split))
        found.append(_compare(test, train))
    rows = []
    for i, name in enumerate(split_names(dataset, test_split)):
        row: dict[str, object] = {"name": name}
        for modality, tables in zip(modalities, found, strict=True):
            row |= {f"{modality}_{key}": value for key, value in tables[i].iloc[0].items()}
        rows.append(row | {"verdict": _verdict(*(_same(tables[i]) for tables in found))})
    return pd.DataFrame(rows)


def _verdict(first: set[str], second: set[str]) -> str:
    if first & second:
        return "pair"
    if first:
        return "functional_only"
    return "structural_only" if second else "no"


def _same(table: pd.DataFrame) -> set[str]:
    return set(table["nearest"][table["corr"] >= SAME])


def _compare(test: _Images, train: _Images) -> list[pd.DataFrame]:
    """Return, per test image, its candidates in ``train``, best first."""
    similarity = test.thumbnails @ train.thumbnails.T
    best = np.argsort(-similarity, axis=1)[:, :CANDIDATES]
    return [
        pd.DataFrame([_difference(pixels, train.pixels[j], train.names[j]) for j in row])
        .sort_values("corr", ascending=False, kind="stable")
        .reset_index(drop=True)
        for pixels, row in zip(test.pixels, best, strict=True)
    ]


def _difference(test: np.ndarray, train: np.ndarray, name: str) -> dict[str, object]:
    if test.shape[:2] != train.shape[:2]:
        return {"nearest": name, "corr": -1.0, "max_diff": 255, "mean_diff": 255.0}
    a, b = (pixels.astype(np.float32) for pixels in np.broadcast_arrays(test, train))
    difference = np.abs(a - b)
    first, second = (_standardise(_luma(pixels).reshape(1, -1)) for pixels in (test, train))
    return {
        "nearest": name,
        "corr": float(first[0] @ second[0]),
        "max_diff": int(difference.max()),
        "mean_diff": float(difference.mean()),
    }


def _read(dataset: str, split: str, modality: str) -> _Images:
    names = split_names(dataset, split)
    files = [image_path(dataset, split, modality, name) for name in names]
    absent = next((file for file in files if not file.is_file()), None)
    if absent or not files:
        raise FusionkitError(f"{absent or f'{dataset}/{split}'} is not there; run: fusionkit data fetch {dataset}")
    pixels = [decode(file) for file in files]
    return _Images(names, pixels, _standardise(np.stack([_thumbnail(p) for p in pixels])))


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(_luma(pixels)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small).ravel()


def _luma(pixels: np.ndarray) -> np.ndarray:
    """Return luma (H, W), float32, of pixels (H, W, 1 or 3)."""
    return (pixels @ LUMA if pixels.shape[2] == 3 else pixels[:, :, 0]).astype(np.float32)


def _standardise(rows: np.ndarray) -> np.ndarray:
    """Return rows with mean 0 and length 1, so that their products are correlations; flat rows become 0."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
