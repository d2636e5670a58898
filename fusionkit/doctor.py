"""What is installed and what is not, each with what to do about it."""

import importlib
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from fusionkit import paths
from fusionkit.data import status
from fusionkit.provenance import code_version
from fusionkit.weights import list_weights

Finding = tuple[str, str, str]


def examine() -> list[Finding]:
    """Return findings as (subject, what was found, what to do about it or an empty text)."""
    return [*_software(), *_devices(), *_scan(), *_data(), *_results()]


def _software() -> Iterator[Finding]:
    yield "fusionkit", code_version(), ""
    for name in ("torch", "numpy", "scipy", "scikit-image", "papermill", "jupyterlab", "ipywidgets", "nbval"):
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
    """Look for the function itself: the package alone says nothing, it installs without its CUDA scan."""
    try:
        function = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
        arguments = [torch.rand(1, 2, 8, device="cuda") for _ in range(2)]
        function(*arguments, -torch.rand(2, 4, device="cuda"), *torch.rand(2, 1, 4, 8, device="cuda"))
        yield "selective scan: mamba_ssm", "works", ""
    except Exception as error:  # an extension that does not fit fails with anything, not only ImportError
        yield "selective scan: mamba_ssm", f"not usable ({type(error).__name__})", "optional; no model here needs it"


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
