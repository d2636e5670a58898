"""The published record: what four papers printed, cell by cell, and what would rebuild each row.

Every paper has a folder here with one CSV file per table panel (digits as printed) and a ``paper.toml`` that
says what the columns mean, what stands behind the rows, what the authors claim and where they contradict
themselves. This module only reads; nothing is corrected and nothing is computed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from fusionkit.errors import FusionkitError, unknown
from fusionkit.paths import PACKAGE

FOLDER = PACKAGE / "papers"
CHOICES = {
    "better": ("higher", "lower", "none"),
    "role": (None, "input"),
    "kind": ("best", "better", "rank", "close"),
    "status": ("done", "planned", "missing"),
}
T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """One way to compute a printed quantity: ``scale`` times a metric under a toolbox's convention."""

    metric: str
    convention: str
    scale: float = 1.0


@dataclass(frozen=True)
class Column:
    """What a printed column means: a metric, a cost, an input of the experiment, or nothing we measure.

    ``truncated`` says that the paper cuts its digits off instead of rounding.
    """

    name: str
    better: str
    metric: str | None = None
    convention: str | None = None
    scale: float = 1.0
    cost: str | None = None
    not_measured: str | None = None
    role: str | None = None
    unit: str | None = None
    truncated: bool = False
    also: tuple[Reading, ...] = ()
    evidence: str | None = None


@dataclass(frozen=True)
class Row:
    """What stands behind a printed row: a method id (of released images too), or why there is nothing.

    ``relabelled`` is the method id under a second reading of the row's label, where the paper allows two.
    ``cost`` is the model whose cost is printed, where there is no method for the quality, and ``cost_options`` are its
    options, where it is not the network of the weights.
    """

    label: str
    method: str | None = None
    relabelled: str | None = None
    cost: str | None = None
    cost_options: Mapping[str, Any] | None = None
    status: str = "done"
    missing: str | None = None


@dataclass(frozen=True)
class Claim:
    """A checkable statement of the paper about one cell of a panel.

    ``kind`` is ``best`` (of its column), ``better`` (than row ``than``), ``rank`` (among the best
    ``at_most``) or ``close`` (to row ``than``, relative difference at most ``within``).
    """

    text: str
    kind: str
    column: str
    row: str
    than: str | None = None
    at_most: int | None = None
    within: float | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """One printed table, or one part of a table that has several.

    ``published`` holds strings, indexed by ``method``; an empty string is a cell without a printed value.
    """

    paper: str
    id: str
    artefact: str
    caption: str
    published: pd.DataFrame
    columns: Mapping[str, Column]
    rows: Mapping[str, Row]
    dataset: str | None = None
    split: str | None = None
    data_note: str | None = None
    notes: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Artefact:
    """A table or figure of a paper and the notebook (path below ``notebooks/``) that rebuilds it."""

    paper: str
    id: str
    caption: str
    topic: str
    number: int
    status: str
    issue: str
    notebook: str
    panels: tuple[str, ...]


@dataclass(frozen=True)
class Besides:
    """Methods that are measured on a split though no table of the paper shows them there, and why.

    Measured is what tables and losses on that dataset ask for; with ``like``, for these methods alone, also the columns
    of that panel and the paper's loss.
    """

    dataset: str
    split: str
    methods: tuple[str, ...]
    why: str
    like: str | None = None


@dataclass(frozen=True, eq=False)
class Paper:
    """One paper: facts about it, its tables and figures, its panels, and what contradicts what."""

    id: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    artefacts: tuple[Artefact, ...]
    panels: tuple[Panel, ...]
    besides: tuple[Besides, ...] = ()
    url: str | None = None
    arxiv: str | None = None
    doi: str | None = None
    notes: tuple[str, ...] = ()


def list_papers() -> list[str]:
    """Return the ids of all papers on record, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/paper.toml"))


@cache
def load_paper(paper: str) -> Paper:
    """Read one paper's record; the result is cached and shared, so do not change it.

    Args:
        paper: An id out of :func:`list_papers`.

    Raises:
        FusionkitError: The id is unknown, or ``paper.toml`` and the CSV files do not fit each other.
    """
    if paper not in list_papers():
        raise unknown("paper", paper, list_papers())
    return _read_paper(FOLDER / paper)


def get_panel(name: str) -> Panel:
    """Return one panel by its full name, for example ``"lightfusionnet/table1a"``.

    Raises:
        FusionkitError: There is no such paper or panel.
    """
    paper = name.partition("/")[0]
    panels = {f"{paper}/{panel.id}": panel for panel in load_paper(paper).panels}
    if name not in panels:
        raise unknown("panel", name, panels)
    return panels[name]


def artefacts() -> list[Artefact]:
    """Return every table and figure of every paper, by paper and number: the one index of notebooks."""
    return [artefact for paper in list_papers() for artefact in load_paper(paper).artefacts]


def _read_paper(folder: Path) -> Paper:
    """Read ``paper.toml`` and the CSV files beside it."""
    file = folder / "paper.toml"
    try:
        record = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FusionkitError(f"{file}: {error}; correct the file") from error
    columns, rows = record.pop("columns", {}), record.pop("rows", {})
    panels = tuple(_panel(folder, table, columns, rows) for table in record.pop("panels", []))
    items = tuple(_artefact(file, table, panels) for table in record.pop("artefacts", []))
    besides = tuple(_build(Besides, table, f"{file}, besides") for table in record.pop("besides", []))
    return _build(Paper, record, f"{file}, top level", panels=panels, artefacts=items, besides=besides)


def _panel(folder: Path, table: dict[str, Any], columns: dict[str, Any], rows: dict[str, Any]) -> Panel:
    """Join one ``[[panels]]`` table, the defaults of the paper, and the panel's CSV file."""
    file = folder / "paper.toml"
    where = f"{file}, panel {table.get('id')!r}"
    published = _csv(folder / f"{table.get('id')}.csv")
    columns = columns | table.pop("columns", {})
    rows = rows | table.pop("rows", {})
    return _build(
        Panel,
        table,
        where,
        paper=folder.name,
        published=published,
        columns={name: _column(name, columns, where) for name in published.columns},
        rows={label: _row(label, rows, where) for label in published.index},
        claims=tuple(_build(Claim, claim, f"{where}, claims") for claim in table.pop("claims", [])),
    )


def _csv(file: Path) -> pd.DataFrame:
    """Read printed cells as strings, one row per label."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError as error:
        raise FusionkitError(f"{file}: no such file; every panel of paper.toml needs its CSV") from error
    if table.columns[0] != "method" or table["method"].duplicated().any():
        raise FusionkitError(f"{file}: the first column must be 'method' with labels that differ; correct it")
    return table.set_index("method")


def _column(name: str, known: dict[str, Any], where: str) -> Column:
    table = dict(_entry("column", name, known, where))
    where = f"{where}, column {name!r}"
    also = tuple(_build(Reading, reading, f"{where}, also") for reading in table.pop("also", []))
    return _build(Column, table, where, name=name, also=also)


def _row(label: str, known: dict[str, Any], where: str) -> Row:
    table = dict(_entry("row", label, known, where))
    where = f"{where}, row {label!r}"
    if not table.keys() & {"method", "missing"}:
        raise FusionkitError(f"{where}: give 'method' or 'missing'")
    if "missing" in table:
        table.setdefault("status", "missing")
    return _build(Row, table, where, label=label)


def _artefact(file: Path, table: dict[str, Any], panels: tuple[Panel, ...]) -> Artefact:
    where = f"{file}, artefact {table.get('id')!r}"
    paper = file.parent.name
    try:
        notebook = f"{paper}/{table['number']:02d}_{table['id']}_{table['topic']}.ipynb"
    except (KeyError, ValueError) as error:
        raise FusionkitError(f"{where}: 'id', 'topic' and an integer 'number' are needed") from error
    mine = tuple(panel.id for panel in panels if panel.artefact == table["id"])
    return _build(Artefact, table, where, paper=paper, notebook=notebook, panels=mine)


def _entry(kind: str, name: str, known: dict[str, Any], where: str) -> dict[str, Any]:
    """Look up what ``paper.toml`` says about a printed column or row."""
    if name not in known:
        raise FusionkitError(f"{where}: the CSV has the {kind} {name!r}; add it to [{kind}s]")
    return known[name]


def _build(cls: type[T], table: dict[str, Any], where: str, **given: Any) -> T:
    """Make a dataclass out of a TOML table; refuse keys it does not have and keys it lacks."""
    names = {item.name: item for item in fields(cls)}
    for key in table:
        if key not in names.keys() - given.keys():
            raise FusionkitError(f"{where}: {unknown('key', key, names.keys() - given.keys())}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()} | given
    for name, item in names.items():
        if name not in values and item.default is MISSING:
            raise FusionkitError(f"{where}: key {name!r} is missing; add it")
        if name in CHOICES and values.get(name, item.default) not in CHOICES[name]:
            raise FusionkitError(f"{where}: {name} = {values[name]!r} is none of {CHOICES[name]}")
    return cls(**values)
