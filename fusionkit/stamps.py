"""Stamps: small files that change only when the content behind them does, so that Make can go by content.

There is one per part of the package (a module or subpackage), one per notebook, one for the data present, one
for the weights and one for the committed measurements. What a notebook depends on is read from its imports.
"""

import ast
import hashlib
import json
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fusionkit import paths
from fusionkit.errors import FusionkitError
from fusionkit.files import sha256, write_json, write_text
from fusionkit.route import cells

RESULTS = ("weights", "measured", "bench")


def folder() -> Path:
    """Return the folder of stamps."""
    return paths.results_dir() / ".stamps"


@cache
def parts() -> dict[str, tuple[Path, ...]]:
    """Return the files of each module or subpackage by its name; the package's own file is ``__init__``."""
    found: dict[str, list[Path]] = {}
    for path in sorted(paths.PACKAGE.rglob("*")):
        name, *below = path.relative_to(paths.PACKAGE).parts
        if path.is_file() and "__pycache__" not in below:
            found.setdefault(name.removesuffix(".py"), []).append(path)
    return {name: tuple(files) for name, files in found.items()}


def write_stamps(notebooks: Iterable[str]) -> None:
    """Bring all stamps up to date.

    Args:
        notebooks: Paths below ``notebooks/``; those that do not exist are left out.
    """
    for name, files in parts().items():
        _stamp(f"code/{name}", _digest(files, paths.PACKAGE))
    for notebook in notebooks:
        if (paths.notebooks_dir() / notebook).is_file():
            _stamp(f"notebooks/{notebook}", sha256(paths.notebooks_dir() / notebook))
    _stamp("data", _data_digest())
    for name in ("weights", "bench"):
        _stamp(name, _digest(_files(paths.results_dir() / name), paths.results_dir()))
    _stamp("measured", _digest(_measured(), paths.results_dir()))


def needed_by_notebook(notebook: str) -> list[str]:
    """Return the stamps on which a notebook depends; a damaged one depends on itself only."""
    try:
        imported = set().union(*(_imports(source) for kind, source in cells(notebook) if kind == "code"))
    except (FusionkitError, SyntaxError):  # running it will say so
        return [f"notebooks/{notebook}"]
    return [f"notebooks/{notebook}", *needed_by_code(imported)]


def needed_by_code(start: Iterable[str]) -> list[str]:
    """Return the stamps of the given parts, of all parts that they import, and of data and results."""
    found: set[str] = set()
    todo = {"__init__", *start} & parts().keys()
    while todo:
        found |= todo
        todo = set().union(*(_imports_of(name) for name in todo)) & parts().keys() - found
    return [f"code/{name}" for name in sorted(found)] + ["data", *RESULTS]


@cache
def _imports_of(part: str) -> frozenset[str]:
    sources = (path.read_text(encoding="utf-8") for path in parts()[part] if path.suffix == ".py")
    return frozenset().union(*(_imports(source) for source in sources))


def _imports(source: str) -> set[str]:
    """Return the parts of the package that some code imports, at its top or inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    pieces = (name.split(".") for name in names)
    return {piece[1] for piece in pieces if piece[0] == "fusionkit" and len(piece) > 1}


def _stamp(name: str, digest: str) -> None:
    """Write a stamp unless it says the same already: its modification time is what Make looks at."""
    path = folder() / name
    if not path.is_file() or path.read_text() != digest:
        write_text(path, digest)


def _files(top: Path) -> list[Path]:
    return [path for path in sorted(top.rglob("*")) if path.is_file()]


def _measured() -> list[Path]:
    """Return the values of the committed measurements; others are a cache that notebooks may add to."""
    command = ["git", "-C", str(paths.results_dir()), "ls-files", "-z", "measured"]
    done = subprocess.run(command, capture_output=True, text=True) if (paths.root() / ".git").exists() else None
    if done is None or done.returncode:
        return [path for path in _files(paths.results_dir() / "measured") if path.suffix == ".csv"]
    tracked = (paths.results_dir() / name for name in sorted(done.stdout.split("\0")) if name.endswith(".csv"))
    return [path for path in tracked if path.is_file()]


def _digest(files: Iterable[Path], top: Path) -> str:
    lines = [f"{sha256(path)} {path.relative_to(top).as_posix()}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _data_digest() -> str:
    """Hash the data present; a file whose size and time are as last seen is not read again."""
    memory = folder() / "data.json"
    seen = json.loads(memory.read_text()) if memory.is_file() else {}
    now = {}
    for path in _files(paths.data_dir()):
        state, name = path.stat(), path.relative_to(paths.data_dir()).as_posix()
        as_seen = seen.get(name, [])[:2] == [state.st_size, state.st_mtime_ns]
        now[name] = [state.st_size, state.st_mtime_ns, seen[name][2] if as_seen else sha256(path)]
    if now != seen:
        write_json(memory, now)
    return hashlib.sha256("\n".join(f"{name} {entry[2]}" for name, entry in now.items()).encode()).hexdigest()
