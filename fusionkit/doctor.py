"""What is installed and what is not, each with what to do about it."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from fusionkit import paths
from fusionkit.data import status
from fusionkit.ops import available_backends
from fusionkit.provenance import code_version
from fusionkit.weights import list_weights

Finding = tuple[str, str, str]


def examine() -> list[Finding]:
    """Return findings as (subject, what was found, what to do about it or an empty text)."""
    return [*_software(), *_devices(), *_scan(), *_data(), *_results()]


def _software() -> Iterator[Finding]:
    yield "fusionkit", code_version(), ""
    for name in ("torch", "numpy", "scipy", "scikit-image", "numba", "papermill", "jupyterlab", "ipywidgets", "nbval"):
        try:
            yield name, version(name), ""
        except PackageNotFoundError:
            yield name, "not installed", "make setup, or pip install -e '.[dev]'"


def _devices() -> Iterator[Finding]:
    if torch.cuda.is_available():
        yield "GPU", torch.cuda.get_device_name(), ""
    else:
        yield "GPU", "none that torch can use", "nothing here needs one"
    yield "CPU", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads", ""


def _scan() -> Iterator[Finding]:
    """Try every backend: a package that is installed need not work, least of all one with a CUDA extension."""
    for name, state in available_backends().items():
        works = state == "ok"
        advice = "make setup" if name == "numba" else "optional; nothing here needs it"
        yield f"selective scan: {name}", "works" if works else f"not usable: {state}", "" if works else advice


def _data() -> Iterator[Finding]:
    yield "data folder", str(paths.data_dir()), "" if paths.data_dir().is_dir() else "set FUSIONKIT_DATA, or make data"
    table = status.listing()
    counts = table["state"].value_counts()
    found = ", ".join(f"{count} {state}" for state, count in counts.items())
    yield "splits", found, "" if set(counts.index) <= {"present"} else "`fusionkit data list` says how to get the rest"


def _results() -> Iterator[Finding]:
    count = len(list_weights("lightfusionnet"))
    yield "weights of lightfusionnet", str(count), "" if count else "fusionkit train lightfusionnet/pet_mri"
    writable = os.access(paths.results_dir() if paths.results_dir().exists() else paths.root(), os.W_OK)
    yield (
        "results folder",
        "writable" if writable else "read-only",
        "" if writable else "work in a copy you can write to",
    )
