"""Hashes of the code that decides values, without comments and layout: what a measurement depends on."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from fusionkit import losses, paths
from fusionkit.models import MODELS
from fusionkit.provenance import config_hash


@cache
def metrics_hash() -> str:
    """Return a hash of all metrics."""
    return _hash((paths.PACKAGE / "metrics").glob("*.py"), "metrics")


@cache
def model_hash(model: str) -> str:
    """Return a hash of all metrics, and of a model with its settings and what it imports."""
    build = MODELS[model].build
    settings = [list(getattr(build, "args", ())), getattr(build, "keywords", {})]
    code = _hash_of([getattr(build, "func", build)], "models")
    return config_hash({"metrics": metrics_hash(), "model": code, "settings": settings})


@cache
def loss_hash(preset: str) -> str:
    """Return a hash of a loss: its weights, and its terms with what they import."""
    weights = losses.preset(preset).weights
    return config_hash({"weights": weights, "terms": _hash_of([losses.TERMS[term] for term in weights], "losses")})


def _hash_of(things: Iterable[Callable[..., Any]], package: str) -> str:
    """Return a hash of the files that define some things, and of all modules of a package of ours that these import."""
    found: set[Path] = set()
    waiting = [Path(str(inspect.getsourcefile(thing))) for thing in things]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            pattern = rf"^from fusionkit\.{package}\.([\w.]+) import"
            modules = re.findall(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)
            waiting += [_file(paths.PACKAGE / package / module.replace(".", "/")) for module in modules]
    return _hash(found, package)


def _hash(files: Iterable[Path], package: str) -> str:
    folder = paths.PACKAGE / package
    return config_hash(
        {file.relative_to(folder).as_posix(): ast.dump(_without_docstrings(file)) for file in sorted(files)}
    )


def _file(module: Path) -> Path:
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def _without_docstrings(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return tree
