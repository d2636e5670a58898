"""The few pieces that a rendered page is made of, in plain text, Markdown, HTML and LaTeX."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\to$",
    "✓": r"$\checkmark$",
    "≈": r"$\approx$",
    "✗": r"$\times$",
    "·": r"$\cdot$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


@dataclass(frozen=True)
class Heading:
    """A title of the given depth, 1 for a page's."""

    text: str
    level: int


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; nothing at all where it is empty."""

    items: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table; a line feed inside a cell starts a new line where the format can."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Text | Items | Grid


def render_blocks(blocks: Sequence[Block], format: str) -> str:
    """Return blocks as ``text``, ``md``, ``html`` or ``latex``, ending in a line feed."""
    write = WRITERS[format]
    return "\n\n".join(text for block in blocks if (text := write(block))) + "\n"


def _text(block: Block) -> str:
    match block:
        case Heading(text, _):
            return f"{text}\n{'-' * len(text)}"
        case Text(text):
            return text
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Grid():
            return _grid(block, "simple", lambda cell: cell.replace("\n", " "))


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Grid():
            return _markdown_grid(block)


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Items(items):
            lines = "\n".join(f"<li>{html.escape(item)}</li>" for item in items)
            return f"<ul>\n{lines}\n</ul>" if lines else ""
        case Grid():
            return _grid(block, "unsafehtml", lambda cell: html.escape(cell).replace("\n", "<br>"))


def _latex(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"\\{'sub' * max(min(level, 3) - 1, 0)}section*{{{_latex_escape(text)}}}"
        case Text(text):
            return _latex_escape(text)
        case Items(items):
            lines = "\n".join(f"\\item {_latex_escape(item)}" for item in items)
            return f"\\begin{{itemize}}\n{lines}\n\\end{{itemize}}" if lines else ""
        case Grid():
            return _grid(block, "latex_raw", lambda cell: _latex_escape(cell.replace("\n", " ")))


def _markdown_grid(grid: Grid) -> str:
    """Return a table without padding: a changed cell then changes one line of a committed file."""
    lines = [grid.headers, ["---"] * len(grid.headers), *grid.rows] if grid.rows else []
    cells = ([cell.replace("|", "\\|").replace("\n", "<br>") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _grid(grid: Grid, style: str, cell: Callable[[str], str]) -> str:
    headers = [cell(text) for text in grid.headers]
    rows = [[cell(text) for text in row] for row in grid.rows]
    return str(tabulate(rows, headers, tablefmt=style, disable_numparse=True)) if rows else ""


def _latex_escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


WRITERS: dict[str, Callable[[Block], str]] = {"text": _text, "md": _markdown, "html": _html, "latex": _latex}
