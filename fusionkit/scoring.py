"""Scores of anyone's fused images: files matched by name, measured by several processes, kept in a table on disk.

A table of scores is in long form: one row per image, convention and metric.
"""

import time
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusionkit import parallel, paths
from fusionkit.data.images import SUFFIXES, read_image
from fusionkit.errors import FusionkitError
from fusionkit.files import sha256, write_text
from fusionkit.metrics import CONVENTIONS, METRICS, TooSmallWarning, evaluate_conventions, get_convention, get_metric
from fusionkit.progress import bar
from fusionkit.provenance import config_hash

COLUMNS = ["image", "convention", "metric", "value"]
EVERY_CONVENTION = "all"
SAVE_SECONDS = 10.0
LISTED = 20

# (convention, metric)
Quantity = tuple[str, str]
Values = dict[Quantity, float]


class UnmatchedWarning(UserWarning):
    """A folder lacks images that the other folders have; these are not measured."""


@dataclass(frozen=True)
class Triple:
    """A fused image and its sources.

    Attributes:
        name: File name of the first source without suffix; the same for every method that fuses it.
        fused: The fused image.
        a: First source (infrared or functional).
        b: Second source (visible or anatomical).
    """

    name: str
    fused: Path
    a: Path
    b: Path


def score_folders(
    fused: Path,
    a: Path,
    b: Path,
    metrics: Sequence[str] | None = None,
    convention: str = "tang",
    out: Path | None = None,
    jobs: int | None = None,
) -> pd.DataFrame:
    """Measure all fused images of a folder, or one.

    With ``out``, what is done is saved every ten seconds and also when an error or Ctrl-C ends the work; the same
    call then goes on from there. A value on file is kept while the three images and the code of the metrics are
    unchanged (compared by hash); what was not asked for is dropped from the file. Values do not depend on the number
    of processes. Workers import the main module, so a script calls this under ``if __name__ == "__main__"``.

    Args:
        fused: Folder of fused images, or one image. Images are 8 or 16 bits, and measured as 8 bits.
        a: Folder of first sources, matched by file name without suffix; or one image.
        b: Folder of second sources, alike.
        metrics: Names of metrics; None for all.
        convention: Name of a convention, or ``"all"`` for each in which a metric exists.
        out: CSV file for the scores, with a further column ``inputs`` that holds the hash.
        jobs: Most processes at a time; None for one per core. Little work is done without starting any.

    Returns:
        Columns ``image``, ``convention``, ``metric``, ``value``. NaN is a value where the convention answers NaN;
        metrics that need larger images have no row.

    Warns:
        UnmatchedWarning: A folder lacks images.
        TooSmallWarning: Once for each metric that was left out on images that are too small.

    Raises:
        FusionkitError: Unknown names, nothing to match, an unreadable image, unequal sizes, an unwritable file.
    """
    wanted = _wanted(metrics, convention)
    triples, unmatched = match_triples(fused, a, b)
    for line in unmatched:
        warnings.warn(line, UnmatchedWarning, stacklevel=2)
    table = _Table(triples, wanted, out)
    todo = table.missing()
    results = parallel.compute(score_triple, todo, jobs)
    table.save()  # now, so that a file that cannot be written is found out before the work
    saved = time.monotonic()
    try:
        with closing(results):
            shown = bar(results, fused.name, len(todo), "image") if len(todo) > 1 else results
            for (triple, _), values in shown:
                table.values[triple.name] |= values
                if time.monotonic() - saved > SAVE_SECONDS:
                    table.save()
                    saved = time.monotonic()
    finally:
        table.save()
    table.report_left_out()
    return table.frame()[COLUMNS]


def match_triples(fused: Path, a: Path, b: Path) -> tuple[list[Triple], list[str]]:
    """Match images of three folders by file name without suffix; three single images need not be named alike.

    Args:
        fused: Folder of fused images, or one image.
        a: Folder of first sources, or one image.
        b: Folder of second sources, or one image.

    Returns:
        The matches in order of names; and one line for each folder that lacks images of the others.

    Raises:
        FusionkitError: A path is missing, folders are mixed with files, two files of a folder differ only in
            suffix, or no name occurs in all folders.
    """
    places = (fused, a, b)
    for path in places:
        if not path.exists():
            raise FusionkitError(f"image or folder not found: {path}")
    files = [path for path in places if not path.is_dir()]
    if len(files) == 3:
        return [Triple(a.stem, *places)], []
    if files:
        raise FusionkitError(f"{files[0]}: not a folder; give three folders or three images")
    found = [_images(folder) for folder in places]
    common = sorted(set.intersection(*map(set, found)))
    if not common:
        listed = "; ".join(
            f"{p} has {_listed(sorted(names), 3) or 'none'}" for p, names in zip(places, found, strict=True)
        )
        raise FusionkitError(f"no image name occurs in all three folders: {listed}")
    every = set.union(*map(set, found))
    lacking = [(folder, sorted(every - names.keys())) for folder, names in zip(places, found, strict=True)]
    lines = [f"not evaluated, missing in {folder}: {_listed(names, LISTED)}" for folder, names in lacking if names]
    return [Triple(name, *(names[name] for names in found)) for name in common], lines


def score_triple(triple: Triple, wanted: Sequence[Quantity]) -> Values:
    """Measure one fused image.

    Args:
        triple: The image files.
        wanted: What to measure, as (convention, metric).

    Returns:
        The values; without those that need larger images.

    Raises:
        FusionkitError: An unreadable image, or unequal sizes.
    """
    files = (triple.fused, triple.a, triple.b)
    images = [read_image(path)[None] for path in files]
    if len({image.shape[-2:] for image in images}) > 1:
        sizes = (f"{path} {image.shape[-1]}x{image.shape[-2]}" for path, image in zip(files, images, strict=True))
        raise FusionkitError(f"images differ in size: {', '.join(sizes)}")
    return {quantity: value.item() for quantity, value in evaluate_conventions(*images, wanted).items()}


def read_scores(path: Path) -> pd.DataFrame:
    """Read a table that `score_folders` wrote, every value exactly as it was computed.

    Raises:
        FusionkitError: The file is no such table.
    """
    try:
        # As text first: an image may well be named "001" or "nan", and every digit of a value counts.
        table = pd.read_csv(path, usecols=[*COLUMNS, "inputs"], dtype=str, keep_default_na=False)
        return table.astype({"value": float})
    except (OSError, ValueError) as error:
        raise FusionkitError(f"{path}: exists, and is not a table of scores; choose another file") from error


class _Table:
    """Scores of some triples: what is wanted, what is there, and the file that keeps it."""

    def __init__(self, triples: list[Triple], wanted: list[Quantity], out: Path | None) -> None:
        self.triples, self.wanted, self.out = triples, wanted, out
        self.values: dict[str, Values] = {triple.name: {} for triple in triples}
        self.inputs = _fingerprints(triples) if out else dict.fromkeys(self.values, "")
        if out and out.exists():
            asked = set(wanted)
            for row in read_scores(out).itertuples():
                if self.inputs.get(row.image) == row.inputs and (row.convention, row.metric) in asked:
                    self.values[row.image][row.convention, row.metric] = row.value

    def missing(self) -> list[tuple[Triple, list[Quantity]]]:
        todo = [(triple, [q for q in self.wanted if q not in self.values[triple.name]]) for triple in self.triples]
        return [(triple, quantities) for triple, quantities in todo if quantities]

    def frame(self) -> pd.DataFrame:
        rows = [
            (name, *quantity, values[quantity], self.inputs[name])
            for name, values in self.values.items()
            for quantity in self.wanted
            if quantity in values
        ]
        return pd.DataFrame(rows, columns=[*COLUMNS, "inputs"])

    def save(self) -> None:
        if self.out:
            write_text(self.out, self.frame().to_csv(index=False, na_rep="nan", lineterminator="\n"))

    def report_left_out(self) -> None:
        if not any(self.values.values()):
            raise FusionkitError("the images are too small for every metric that was asked for")
        for metric in dict.fromkeys(metric for _, metric in self.wanted):
            conventions = [c for c, m in self.wanted if m == metric]
            left_out = sum(any((c, metric) not in v for c in conventions) for v in self.values.values())
            if left_out:
                side = max(get_metric(metric).smallest(c) for c in conventions)
                message = f"{metric}: left out on {left_out} of {len(self.triples)} images, smaller than {side}x{side}"
                warnings.warn(message, TooSmallWarning, stacklevel=3)


def _wanted(metrics: Sequence[str] | None, convention: str) -> list[Quantity]:
    chosen = list(METRICS.values()) if metrics is None else [get_metric(name) for name in dict.fromkeys(metrics)]
    if convention == EVERY_CONVENTION:
        return [(c, metric.name) for c in CONVENTIONS for metric in chosen if c in metric.variants]
    get_convention(convention)
    if metrics is not None:
        for metric in chosen:
            metric.variant(convention)
    return [(convention, metric.name) for metric in chosen if convention in metric.variants]


def _images(folder: Path) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
            if path.stem in images:
                raise FusionkitError(f"{images[path.stem]} and {path.name}: same name; remove one of the two")
            images[path.stem] = path
    return images


def _listed(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _fingerprints(triples: list[Triple]) -> dict[str, str]:
    code = _code()
    try:
        return {t.name: config_hash({"code": code, "files": [sha256(p) for p in (t.fused, t.a, t.b)]}) for t in triples}
    except OSError as error:
        raise FusionkitError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _code() -> list[str]:
    return [sha256(path) for path in sorted((paths.PACKAGE / "metrics").glob("*.py"))]
