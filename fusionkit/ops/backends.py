"""Which code runs a scan: what is there, what works, and what ``auto`` takes. Choices are logged, once each."""

import importlib
import logging
import os
import warnings
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch

from fusionkit.errors import FusionkitError, unknown
from fusionkit.ops.arguments import Arguments

LOG = logging.getLogger("fusionkit.ops")


@dataclass(frozen=True)
class Backend:
    """Where the functions ``forward`` and ``backward`` of a backend are (see ``arguments``), and what they take.

    Attributes:
        module: The module in ``fusionkit.ops``.
        device: Type of the device that it runs on; None for any.
        half: Whether it takes 16-bit types itself; others are given float32 in their place.
    """

    module: str
    device: str | None
    half: bool = False


# Triton's interpreter, used by tests, works on the CPU.
_TRITON_DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
BACKENDS = {
    "reference": Backend("scan_reference", None),
    "numba": Backend("scan_numba", "cpu"),
    "triton": Backend("scan_triton", _TRITON_DEVICE, half=True),
    "mamba_ssm": Backend("scan_mamba", "cuda", half=True),
}
_CHOSEN: dict[str, set[str]] = {}
AUTOMATIC = {"cpu": "numba", "cuda": "triton"}


def available_backends() -> dict[str, str]:
    """Return for each backend ``"ok"`` or, in one line, why it cannot run here.

    Each is tried with a scan of one step, since a package that is installed need not work.
    """
    return {name: _problem(name) or "ok" for name in BACKENDS}


def scan_backend(device: torch.device | str = "cpu") -> str:
    """Return the backend that ``auto`` takes for tensors on a device, for provenance too.

    Raises:
        FusionkitError: There is none, other than the slow reference.

    Warns:
        RuntimeWarning: On a CPU on which numba does not work, the slow reference is taken.
    """
    return _choose(torch.device(device).type)


def known(name: str) -> None:
    """Refuse a name that is neither a backend nor ``auto``.

    Raises:
        FusionkitError: With near names.
    """
    if name != "auto" and name not in BACKENDS:
        raise unknown("scan backend", name, [*BACKENDS, "auto"])


@cache
def resolve(name: str, device: str) -> tuple[ModuleType, bool]:
    """Return a working backend's module and whether it takes 16-bit types.

    Args:
        name: One of ``BACKENDS``, or ``auto``.
        device: Type of the tensors' device.

    Raises:
        FusionkitError: The backend is unknown or cannot run here.
    """
    known(name)
    name = _choose(device) if name == "auto" else name
    backend = BACKENDS[name]
    if backend.device not in (None, device):
        raise FusionkitError(f"backend: {name!r} takes tensors on {backend.device}, got tensors on {device}")
    problem = _problem(name)
    if problem:
        raise FusionkitError(f"backend: {name!r} cannot run here: {problem}")
    _announce(device, name)
    return _module(name), backend.half


@cache
def _choose(device: str) -> str:
    if device not in AUTOMATIC:
        raise FusionkitError(
            f"backend: none is made for tensors on {device}; move them to the CPU, or pass backend='reference' (slow)"
        )
    name = AUTOMATIC[device]
    problem = _problem(name)
    if not problem:
        return name
    if device == "cpu":
        warnings.warn(
            f"selective_scan takes the slow reference: {name} does not work ({problem}); try pip install {name}",
            RuntimeWarning,
            stacklevel=2,
        )
        return "reference"
    raise FusionkitError(
        f"backend: {name!r} cannot run on {device}: {problem}; "
        f"try pip install {name}, or pass backend='mamba_ssm' or 'reference' (slow)"
    )


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"fusionkit.ops.{BACKENDS[name].module}")


@cache
def _problem(name: str) -> str:
    device = BACKENDS[name].device or "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        return "torch finds no GPU"
    one, row = torch.ones(1, 1, 1, device=device), torch.ones(1, 1, device=device)
    scan = Arguments(one, one, row, one[None], one[None], None, None, None, delta_softplus=False)
    try:
        _module(name).forward(scan)
    except Exception as error:  # a broken installation fails with anything, not only with ImportError
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def chosen_backends() -> dict[str, list[str]]:
    """Return the backends that have run in this process by type of device, for provenance; chooses nothing."""
    return {device: sorted(names) for device, names in _CHOSEN.items()}


@cache
def _announce(device: str, name: str) -> None:
    _CHOSEN.setdefault(device, set()).add(name)
    LOG.info("selective scan on %s: backend %s", device, name)
