"""Links that lead through all notebooks: previous, start, next."""

import posixpath
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from fusionkit import paths
from fusionkit.notebooks import read, strip, write
from fusionkit.route import START, Stop, stops

TAG = "navigation"


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


def main() -> None:
    """Bring all notebooks into the form that is committed, and name those that changed."""
    files = [paths.notebooks_dir() / stop.notebook for stop in stops()]
    stripped = [path for path in files if path.is_file() and strip(path)]
    for path in sorted({*stripped, *write_navigation()}):
        print(path.relative_to(paths.root()))


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


if __name__ == "__main__":
    main()
