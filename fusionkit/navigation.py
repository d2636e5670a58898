"""The order of all notebooks, derived from the index of artefacts, and the links that lead through them."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from fusionkit import paths
from fusionkit.notebooks import read, write
from fusionkit.papers import Artefact, artefacts

START = "00_start_here.ipynb"
TAG = "navigation"


@dataclass(frozen=True)
class Stop:
    """A notebook on the way: its path below ``notebooks/`` and the text of links to it."""

    notebook: str
    title: str


def stops() -> list[Stop]:
    """Return all notebooks in reading order: start, artefacts that are done, audits, walkthroughs."""
    done = [Stop(item.notebook, _name(item)) for item in artefacts() if item.status == "done"]
    return [Stop(START, "Start"), *done, *_on_disk("audits"), *_on_disk("walkthroughs")]


def write_navigation() -> list[Path]:
    """Write previous | start | next into the first and last cell of every notebook, and return what changed."""
    folder = paths.notebooks_dir()
    present = [stop for stop in stops() if (folder / stop.notebook).is_file()]
    changed = []
    for index, stop in enumerate(present):
        before = present[index - 1] if index else None
        after = present[index + 1] if index + 1 < len(present) else None
        if _write(folder / stop.notebook, _links(stop, before, after)):
            changed.append(folder / stop.notebook)
    return changed


def _name(item: Artefact) -> str:
    kind, number = re.fullmatch(r"([a-z]+)(\d+)", item.id).groups()
    return f"{item.paper}, {kind} {number}"


def contents_markdown() -> str:
    """Return the list of all notebooks that are here, in reading order, with links as seen from the start."""
    present = [stop for stop in stops()[1:] if (paths.notebooks_dir() / stop.notebook).is_file()]
    sections: dict[str, list[str]] = {}
    for stop in present:
        sections.setdefault(posixpath.dirname(stop.notebook), []).append(f"[{stop.title}]({stop.notebook})")
    return "\n\n".join(f"**{name}**: {', '.join(links)}" for name, links in sections.items()) + "\n"


def _on_disk(section: str) -> list[Stop]:
    found = sorted((paths.notebooks_dir() / section).glob("*.ipynb"))
    return [Stop(f"{section}/{path.name}", _title(path)) for path in found]


def _title(notebook: Path) -> str:
    """Return the first heading of a notebook."""
    lines = (line for cell in read(notebook).cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), notebook.stem)


def _links(stop: Stop, before: Stop | None, after: Stop | None) -> str:
    parts = [f"previous: {_link(stop, before)}" if before else "", "", f"next: {_link(stop, after)}" if after else ""]
    if stop.notebook != START:
        parts[1] = _link(stop, Stop(START, "start"))
    return f"<!-- {TAG} -->\n" + " | ".join(filter(None, parts))


def _link(stop: Stop, to: Stop) -> str:
    return f"[{to.title}]({posixpath.relpath(to.notebook, posixpath.dirname(stop.notebook) or '.')})"


def _write(notebook: Path, links: str) -> bool:
    content = read(notebook)
    cells = [_cell(links, "top"), *(cell for cell in content.cells if not _is_navigation(cell)), _cell(links, "bottom")]
    if cells == content.cells:
        return False
    content.cells = cells
    write(notebook, content)
    return True


def _cell(links: str, place: str) -> NotebookNode:
    return new_markdown_cell(links, id=f"{TAG}-{place}", metadata={"tags": [TAG]})


def _is_navigation(cell: NotebookNode) -> bool:
    return TAG in cell.metadata.get("tags", ())
