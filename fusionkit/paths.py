"""Where things lie. Nothing here depends on the working directory unless there is no checkout."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Return the checkout that holds the package, or the working directory for a plain installation."""
    parent = PACKAGE.parent
    return parent if (parent / "pyproject.toml").is_file() else Path.cwd()


def data_dir() -> Path:
    """Return the folder of datasets: ``$FUSIONKIT_DATA``, else ``data/`` in the checkout."""
    return Path(os.environ.get("FUSIONKIT_DATA") or root() / "data").expanduser()


def results_dir() -> Path:
    """Return the folder of measurements, weights of ablations, and reports."""
    return root() / "results"


def notebooks_dir() -> Path:
    """Return the folder of notebooks."""
    return root() / "notebooks"
