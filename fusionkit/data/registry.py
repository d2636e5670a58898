"""The register of datasets: what each one is, where it comes from, and which files belong to which split.

A *stored* split is a folder; its list names every file and its identity (see ``fusionkit.data.identity``).
A *named* split is a list of names inside a stored split, for example a paper's test set. Lists are CSV files
in ``splits/``: ``name,<first modality>,<second modality>`` for stored splits and ``name`` for named ones.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from fusionkit import paths
from fusionkit.errors import FusionkitError, unknown

FOLDER = Path(__file__).parent
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Source:
    """A public repository at a pinned commit that holds files of a split.

    Attributes:
        repo: Owner and name.
        commit: Full commit hash.
        paths: Path inside the repository per modality, with ``{name}`` or ``{stem}`` of the pair.
        names: Pairs that come from here; empty means all that no other source names.
    """

    repo: str
    commit: str
    paths: Mapping[str, str]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """A part of a dataset; the keys are explained at the top of ``datasets.toml``."""

    name: str
    pairs: int
    about: str
    of: str | None = None
    official: int | None = None
    open: bool = False
    members: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A dataset of registered image pairs; the keys are explained at the top of ``datasets.toml``."""

    name: str
    title: str
    task: str
    modalities: tuple[str, str]
    colour: str
    splits: Mapping[str, Split]
    homepage: tuple[str, ...] = ()
    pairs: int = 0
    size: str = ""
    terms: str = ""
    request: str = ""
    papers: Mapping[str, str] = field(default_factory=dict)
    location: str = "{dataset}/{split}/{modality}"
    border: int = 0
    procedural: bool = False

    def split(self, name: str) -> Split:
        """Return a split by name.

        Raises:
            FusionkitError: There is no such split.
        """
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, self.splits)
        return self.splits[name]

    def stored_split(self, name: str) -> str:
        """Return the stored split that holds the files of a stored or named split."""
        return self.split(name).of or name

    def folder(self, split: str, modality: str, root: Path | None = None) -> Path:
        """Return the folder that holds one modality of a split.

        Args:
            split: A stored or named split; a named one lies in the folder of the split it belongs to.
            modality: One of ``modalities``.
            root: Folder of all datasets; the default is ``paths.data_dir()``.
        """
        place = self.location.format(dataset=self.name, split=self.stored_split(split), modality=modality)
        return (root or paths.data_dir()) / place


def get_dataset(name: str) -> Dataset:
    """Return a registered dataset.

    Raises:
        FusionkitError: No dataset has this name.
    """
    known = _registry()
    if name not in known:
        raise unknown("dataset", name, known)
    return known[name]


def list_datasets() -> list[str]:
    """Return the names of all registered datasets, those with files first, phantoms last."""
    return list(_registry())


def split_table(dataset: str, split: str, root: Path | None = None) -> pd.DataFrame:
    """Return the pairs of a split with the identity of each file.

    An open split also holds the pairs found in its folder, whose identity is not known.

    Args:
        dataset: Name of a dataset.
        split: Name of one of its splits, stored or named.
        root: Folder of all datasets; the default is ``paths.data_dir()``.

    Returns:
        Columns ``name`` and one per modality, holding the identity or an empty string where it is not known.
    """
    data = get_dataset(dataset)
    part = data.split(split)
    if data.procedural:
        return _names_only([f"{i:03d}" for i in range(part.pairs)], data)
    table = _stored_table(data, data.split(data.stored_split(split)), root)
    if part.of is None:
        return table
    names = _read_list(data.name, part.name)["name"].tolist()
    rows = table.set_index("name").reindex(names).fillna("")
    return rows.reset_index()


def split_names(dataset: str, split: str, root: Path | None = None) -> list[str]:
    """Return the names of the pairs of a split, in the order of its list."""
    return split_table(dataset, split, root)["name"].tolist()


def image_path(dataset: str, split: str, modality: str, name: str, root: Path | None = None) -> Path:
    """Return where one image of a pair lies, whether it is there or not.

    Raises:
        FusionkitError: The dataset is procedural, or it has no such modality.
    """
    data = get_dataset(dataset)
    if data.procedural:
        raise FusionkitError(f"{dataset} is drawn by code and has no files; load it with load_pair")
    if modality not in data.modalities:
        raise unknown(f"modality of {dataset}", modality, data.modalities)
    return data.folder(split, modality, root) / name


def distinct_images(dataset: str, split: str) -> dict[str, int]:
    """Return how many different images each modality of a listed split holds, told from their identities."""
    table = split_table(dataset, split)
    return {modality: table[modality].nunique() for modality in get_dataset(dataset).modalities}


def _stored_table(data: Dataset, part: Split, root: Path | None) -> pd.DataFrame:
    table = _read_list(data.name, part.name) if part.pairs else _names_only([], data)
    if not part.open:
        return table
    found = set.intersection(*(_images_in(data.folder(part.name, m, root)) for m in data.modalities))
    more = _names_only(sorted(found - set(table["name"])), data)
    return pd.concat([table, more], ignore_index=True).sort_values("name", ignore_index=True)


def _images_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    return {p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."}


def _names_only(names: list[str], data: Dataset) -> pd.DataFrame:
    table = pd.DataFrame({"name": names, **{modality: "" for modality in data.modalities}})
    return table.astype(str)


def _read_list(dataset: str, split: str) -> pd.DataFrame:
    return _cached_list(dataset, split).copy()


@cache
def _cached_list(dataset: str, split: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / "splits" / f"{dataset}-{split}.csv", dtype=str, keep_default_na=False)


@cache
def _registry() -> dict[str, Dataset]:
    with (FOLDER / "datasets.toml").open("rb") as stream:
        entries = tomllib.load(stream)
    return {name: _dataset(name, entry) for name, entry in entries.items()}


def _dataset(name: str, entry: dict[str, Any]) -> Dataset:
    splits = {key: _split(key, value) for key, value in entry.pop("splits").items()}
    entry["modalities"] = tuple(entry["modalities"])
    entry["homepage"] = tuple(entry.get("homepage", ()))
    return Dataset(name=name, splits=splits, **entry)


def _split(name: str, entry: dict[str, Any]) -> Split:
    sources = [Source(**{**source, "names": tuple(source.get("names", ()))}) for source in entry.pop("sources", ())]
    return Split(name=name, sources=tuple(sources), **entry)
