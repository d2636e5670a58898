"""``python -m benchmarks [SUITE ...]``: time the suites named, or all of ``SUITES``.

Each writes its own file, ``results/bench/<name>--<device>-<threads>threads.json``: ``metadata`` and ``results``.
Freed memory stays with the process, as under the command line.
"""

import os
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

from tabulate import tabulate

from benchmarks import baselines, blocks, bounds, chart, metrics, models, scaling, scan, schema
from fusionkit import paths
from fusionkit.cost.probe import using_threads
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import write_json
from fusionkit.memory import keep_freed_memory
from fusionkit.provenance import code_version, environment

SUITES = {
    "models": models,
    "baselines": baselines,
    "metrics": metrics,
    "blocks": blocks,
    "bounds": bounds,
    "scan": scan,
    "scaling": scaling,
}


def run(suite: str) -> None:
    """Measure one suite, print its tables, write its file, and its chart where it has one."""
    module = SUITES[suite]
    with using_threads(module.THREADS):
        metadata = _metadata(module)
        results = module.measure()
    for rows in results.values():
        print(tabulate([_flat(row) for row in rows], "keys", "simple"), end="\n\n")
    content, name = {"metadata": metadata, "results": results}, schema.name_of(suite, metadata)
    schema.check(name, content)
    path = paths.results_dir() / "bench" / f"{name}.json"
    write_json(path, content)
    print(f"written to {path.relative_to(paths.results_dir().parent)}")
    if suite in chart.CHARTS:
        chart.draw(path)


def _metadata(module: ModuleType) -> dict[str, Any]:
    around = environment()
    versions = around["versions"] | {"numba": version("numba")}
    load = round(os.getloadavg()[0], 2)
    return {"code": code_version(), **around, "versions": versions, "load_average": load, "protocol": module.PROTOCOL}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Give each time as its median; what was left out, and ratios to it, are blank."""
    return {key: value.get("median_ms") if isinstance(value, dict) else value for key, value in row.items()}


def main(names: list[str]) -> None:
    """Run the named suites, or all.

    Raises:
        FusionkitError: A name is unknown.
    """
    for name in names:
        if name not in SUITES:
            raise unknown("benchmark", name, SUITES)
    keep_freed_memory()
    for name in names or SUITES:
        run(name)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FusionkitError as error:
        sys.exit(f"error: {error}")
