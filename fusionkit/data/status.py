"""What is there: a listing of all splits, and a check of every file that is present."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusionkit import paths
from fusionkit.data.identity import identity
from fusionkit.data.registry import Dataset, Split, get_dataset, list_datasets, split_names, split_table
from fusionkit.errors import FusionkitError
from fusionkit.progress import bar


@dataclass(frozen=True)
class Problem:
    """One file that is not as its list says.

    Attributes:
        file: Path below the data folder.
        kind: ``missing`` (listed, not there), ``extra`` (there, not listed) or ``corrupt`` (other content).
    """

    dataset: str
    split: str
    file: str
    kind: str


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found.

    Attributes:
        checked: Number of files whose identity was compared.
        problems: Files that are missing, extra or corrupt in splits of which something is present.
        absent: Splits, as ``dataset/split``, of which nothing is present.
    """

    checked: int
    problems: tuple[Problem, ...]
    absent: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that is present is complete and intact."""
        return not self.problems


def listing() -> pd.DataFrame:
    """Return one row per split of every dataset.

    Returns:
        Columns ``dataset``, ``split``, ``expected`` (pairs of the whole split, which an open split's list
        does not reach), ``present`` (pairs with both files), ``state`` (present, incomplete or missing),
        ``how`` (what to do to get it).
    """
    rows = [_row(get_dataset(name), split) for name in list_datasets() for split in get_dataset(name).splits.values()]
    return pd.DataFrame(rows)


def count_present(dataset: str, split: str, root: Path | None = None) -> int:
    """Return how many pairs of a split have both of their files; their content is not looked at."""
    data = get_dataset(dataset)
    folders = [data.folder(split, modality, root) for modality in data.modalities]
    return sum(all((folder / name).is_file() for folder in folders) for name in split_names(dataset, split, root))


def check(datasets: Iterable[str] | None = None) -> CheckReport:
    """Compare every listed file that is present with its identity.

    Args:
        datasets: Names of datasets; all by default.

    Raises:
        FusionkitError: A dataset is not known.
    """
    stored = list(_stored_splits(list_datasets() if datasets is None else datasets))
    there, absent = [], []
    for data, split in stored:
        (there if count_present(data.name, split.name) else absent).append((data, split))
    files = [file for data, split in there for file in _listed_files(data, split)]
    problems = [_problem(*file) for file in bar(files, "checking", total=len(files))]
    extra = [problem for data, split in there for problem in _extra_files(data, split)]
    missing = sum(problem is not None and problem.kind == "missing" for problem in problems)
    names = tuple(f"{data.name}/{split.name}" for data, split in absent)
    return CheckReport(len(files) - missing, tuple(filter(None, [*problems, *extra])), names)


def _row(data: Dataset, split: Split) -> dict[str, object]:
    expected = max(split.official or 0, len(split_names(data.name, split.name)))
    present = expected if data.procedural else count_present(data.name, split.name)
    state = "missing" if not present else "present" if present == expected else "incomplete"
    return {
        "dataset": data.name,
        "split": split.name,
        "expected": expected,
        "present": present,
        "state": state,
        "how": _how(data, split),
    }


def _how(data: Dataset, split: Split) -> str:
    if data.procedural:
        return "drawn by code"
    stored = data.split(data.stored_split(split.name))
    return f"fusionkit data fetch {data.name}" if stored.sources else data.request


def _stored_splits(datasets: Iterable[str]) -> Iterator[tuple[Dataset, Split]]:
    for data in map(get_dataset, datasets):
        if not data.procedural:
            yield from ((data, split) for split in data.splits.values() if split.of is None)


def _listed_files(data: Dataset, split: Split) -> Iterator[tuple[Dataset, Split, Path, str]]:
    table = split_table(data.name, split.name)
    for modality in data.modalities:
        folder = data.folder(split.name, modality)
        for name, expected in zip(table["name"], table[modality], strict=True):
            if expected:
                yield data, split, folder / name, expected


def _problem(data: Dataset, split: Split, path: Path, expected: str) -> Problem | None:
    if not path.is_file():
        return _as_problem(data, split, path, "missing")
    try:
        intact = identity(path) == expected
    except FusionkitError:
        intact = False
    return None if intact else _as_problem(data, split, path, "corrupt")


def _extra_files(data: Dataset, split: Split) -> Iterator[Problem]:
    if split.open:
        return
    listed = set(split_names(data.name, split.name))
    for modality in data.modalities:
        folder = data.folder(split.name, modality)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in listed and not path.name.startswith("."):
                yield _as_problem(data, split, path, "extra")


def _as_problem(data: Dataset, split: Split, path: Path, kind: str) -> Problem:
    return Problem(data.name, split.name, str(path.relative_to(paths.data_dir())), kind)
