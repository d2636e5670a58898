"""The order of all notebooks, derived from the index of artefacts, and their cells without any library.

Make asks for this several times a run, and importing nbformat takes seconds.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from fusionkit import paths
from fusionkit.errors import FusionkitError
from fusionkit.papers import Artefact, artefacts

START = "00_start_here.ipynb"


@dataclass(frozen=True)
class Stop:
    """A notebook on the way: its path below ``notebooks/`` and the text of links to it."""

    notebook: str
    title: str


def stops() -> list[Stop]:
    """Return all notebooks in reading order: start, artefacts that are done, audits, walkthroughs."""
    done = [Stop(item.notebook, _name(item)) for item in artefacts() if item.status == "done"]
    return [Stop(START, "Start"), *done, *_on_disk("audits"), *_on_disk("walkthroughs")]


def cells(notebook: str) -> list[tuple[str, str]]:
    """Return kind and source of the cells of a notebook.

    Args:
        notebook: Path below ``notebooks/``.

    Raises:
        FusionkitError: The file is not a notebook.
    """
    path = paths.notebooks_dir() / notebook
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FusionkitError(f"{path}: not a notebook; restore it with `git checkout`") from error


def _name(item: Artefact) -> str:
    return f"{item.paper}, " + re.sub(r"([a-z])(\d)", r"\1 \2", item.id)


def _on_disk(section: str) -> list[Stop]:
    found = sorted((paths.notebooks_dir() / section).glob("*.ipynb"))
    return [Stop(name, _title(name) or path.stem) for path in found for name in [f"{section}/{path.name}"]]


def _title(notebook: str) -> str:
    """Return the first heading of a notebook, or nothing where there is none to read."""
    try:
        texts = [source for kind, source in cells(notebook) if kind == "markdown"]
    except FusionkitError:  # running it will say so
        return ""
    lines = (line for text in texts for line in text.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")
