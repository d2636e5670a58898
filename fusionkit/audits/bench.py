"""What ``make bench`` has measured on this machine, as audits read it."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from fusionkit import paths


class Measured(NamedTuple):
    """One result file: which suite, under which conditions, and its tables."""

    suite: str
    metadata: dict[str, Any]
    results: dict[str, list[dict[str, Any]]]


def measured() -> Iterator[Measured]:
    """Yield every file in ``results/bench``; nothing where it has not been run."""
    for file in sorted((paths.results_dir() / "bench").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        yield Measured(file.stem.split("--")[0], content["metadata"], content["results"])
