"""Surveys: fused images under every metric of every convention, image by image, kept as files.

A survey is a measurement (see ``fusionkit.measure``) of a method id, or of ``published:<folder>``: fused images that a
method's authors or a benchmark released, as they lie in ``published_fusions/<dataset>/<folder>``.
"""

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from fusionkit import metrics, paths
from fusionkit.data.images import write_image
from fusionkit.data.pairs import dataset_hash, load_pair, present
from fusionkit.data.published import PUBLISHED, is_published, published_folder
from fusionkit.data.registry import get_dataset, split_names
from fusionkit.measure import (
    Measurement,
    identify,
    list_measurements,
    load_measurement,
    load_method,
    write_measurement,
)
from fusionkit.provenance import code_version, config_hash, environment
from fusionkit.scoring import EVERY_CONVENTION, UnmatchedWarning, score_folders

COLLECTION = "survey"
# Datasets with released images of enough methods and pairs to compare.
RELEASED = ("tno", "tno21_256", "vifb")
# Own networks and rules whose fused images are surveyed beside the published ones.
OWN = {
    "harvard_pet_mri": ("average", "maximum", "lightfusionnet:pet_mri"),
    "harvard_spect_mri": ("average", "maximum", "lightfusionnet:spect_mri"),
    "harvard_ct_mri": ("average", "maximum", "lightfusionnet:ct_mri"),
}


def survey(method: str, dataset: str, split: str, force: bool = False) -> Measurement:
    """Return the survey of a method on a split, from its file where nothing changed.

    Args:
        method: Method id or ``published:<folder>``.
        dataset: Dataset name.
        split: Split name.
        force: Survey again in any case.

    Returns:
        One row per pair that has a fused image, one column ``<metric>@<convention>`` each; a value is missing where
        the convention answers NaN or needs larger images.

    Raises:
        FusionkitError: Unknown names, missing weights or images.
    """
    inputs = _inputs(method, dataset, split)
    kept = load_survey(method, dataset, split)
    if kept and not force and kept.provenance["key"] == config_hash(inputs):
        return kept
    with _image_folders(method, dataset, split) as folders, warnings.catch_warnings():
        for expected in (UnmatchedWarning, metrics.TooSmallWarning):
            warnings.simplefilter("ignore", expected)
        scores = score_folders(*folders, convention=EVERY_CONVENTION)
    names = {Path(name).stem: name for name in split_names(dataset, split)}
    scores["quantity"] = scores["metric"] + "@" + scores["convention"]
    values = scores.pivot(index="image", columns="quantity", values="value")
    values = values.loc[[stem for stem in names if stem in values.index], scores["quantity"].unique()]
    values = values.rename(index=names).rename_axis("pair").rename_axis(None, axis=1)
    provenance = {**inputs, "key": config_hash(inputs), "code": code_version(), **environment()}
    done = Measurement(method, dataset, split, values, provenance)
    write_measurement(done, COLLECTION)
    return done


def load_survey(method: str, dataset: str, split: str) -> Measurement | None:
    """Return a survey as its file holds it, or None; never computes."""
    return load_measurement(method, dataset, split, COLLECTION)


def load_surveys(dataset: str, split: str) -> dict[str, pd.DataFrame]:
    """Return the values of all surveys on file of a split, by method."""
    found = [item for item in list_measurements(COLLECTION) if item[1:] == (dataset, split)]
    return {item[0]: load_measurement(*item, COLLECTION).values for item in found}


def standing_surveys() -> list[tuple[str, str, str]]:
    """Return what is surveyed by default: every folder of released images of some datasets, and some own methods."""
    jobs = []
    for dataset in RELEASED:
        for folder in sorted((paths.data_dir() / "published_fusions" / dataset).glob("*/")):
            if folder.name not in get_dataset(dataset).modalities:
                jobs.append((f"{PUBLISHED}:{folder.name}", dataset, "test"))
    jobs += [(method, dataset, "test") for dataset, methods in OWN.items() for method in methods]
    return [job for job in jobs if present(*job[1:])]


def survey_provenance(jobs: Iterable[tuple[str, str]]) -> str:
    """Return the code that runs and, per survey on file, the code and key it was made with.

    Args:
        jobs: Method and dataset (its test split); those not on file are left out.
    """
    lines = [f"fusionkit {code_version()}"]
    for method, dataset in jobs:
        found = load_survey(method, dataset, "test")
        if found:
            lines.append(f"{method} on {dataset}/test: key {found.provenance['key']}, code {found.provenance['code']}")
    return "\n".join(lines)


@contextmanager
def _image_folders(method: str, dataset: str, split: str) -> Iterator[tuple[Path, Path, Path]]:
    """Yield folders of fused images and both sources, temporary ones where a network fuses."""
    entry = get_dataset(dataset)
    if is_published(method):
        yield published_folder(method, dataset), *(entry.folder(split, modality) for modality in entry.modalities)
        return
    model = load_method(method)
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        folders = [Path(temporary) / name for name in ("fused", "a", "b")]
        for name in split_names(dataset, split):
            pair = load_pair(dataset, split, name)
            fused = model(pair.a[None], pair.b[None])[0]
            for folder, image in zip(folders, (fused, pair.a, pair.b), strict=True):
                write_image((folder / name).with_suffix(".png"), image)
        yield tuple(folders)


def _inputs(method: str, dataset: str, split: str) -> dict[str, object]:
    images, source = identify(method, dataset)
    return {
        "method": method,
        "dataset": dataset,
        "split": split,
        "quantities": [f"{row['metric']}@{row['convention']}" for row in metrics.list()],
        "images": images,
        "data": dataset_hash(dataset, split),
        "source": source,
    }
