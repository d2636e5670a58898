"""Fixtures that find what lies outside the project, and skip with a reason where it is absent."""

import os
from pathlib import Path

import pytest

from fusionkit import paths


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = Path(os.environ.get("FUSIONKIT_GOLDEN") or paths.root().parent / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip("reference values absent: set FUSIONKIT_GOLDEN to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = paths.data_dir()
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("real datasets absent: set FUSIONKIT_DATA to the folder that holds them")
    return folder
