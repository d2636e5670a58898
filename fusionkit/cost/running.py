"""How long a network takes for one pair of images, and how much memory."""

import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.cost.probe import check, device_of, evaluating, example_pair, using_threads
from fusionkit.errors import FusionkitError

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Latency:
    """Time of one inference.

    Attributes:
        median_ms: Median over the repeats, in milliseconds.
        iqr_ms: Distance between their quartiles, in milliseconds.
        device: ``"cpu"``, or the name of the GPU.
        threads: CPU threads that torch used.
        repeats: Number of timed runs.
    """

    median_ms: float
    iqr_ms: float
    device: str
    threads: int
    repeats: int


def latency(
    model: nn.Module, size: Sequence[int], repeats: int = 20, warmup: int = 3, threads: int | None = None
) -> Latency:
    """Time the fusion of one pair, on the device that holds the model.

    Args:
        model: Two-input network, ``forward(a, b)`` with images of shape (1, 1, H, W).
        size: Height and width in pixels, each at least 16.
        repeats: Number of timed runs, at least 1.
        warmup: Number of runs before them that are not timed.
        threads: CPU threads for torch; None leaves the number as it is.

    Raises:
        FusionkitError: An argument is out of range.
    """
    size = check(model, size)
    if repeats < 1 or warmup < 0:
        raise FusionkitError(
            f"cannot time {repeats} repeats after {warmup} warm-up runs; pass repeats >= 1, warmup >= 0"
        )
    device = device_of(model)
    pair = example_pair(size, device)
    with torch.inference_mode(), evaluating(model), using_threads(threads) as used:
        for _ in range(warmup):
            model(*pair)
        times = [_milliseconds(model, pair, device) for _ in range(repeats)]
    low, high = np.percentile(times, [25, 75])
    return Latency(statistics.median(times), float(high - low), device_name(device), used, repeats)


def device_name(device: torch.device) -> str:
    """Return ``"cpu"``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_memory(model: nn.Module, size: Sequence[int], threads: int | None = None) -> int:
    """Measure the memory that fusing one pair needs on top of the loaded model and its two inputs.

    The model is sent to a new process, where nothing else has left its mark. It runs once, so that what is
    loaded on first use is there, and is measured at the second run: the rise of the resident set to its peak,
    or of the allocated memory if the model is on a GPU.

    Args:
        model: Two-input network, ``forward(a, b)`` with images of shape (1, 1, H, W).
        size: Height and width in pixels, each at least 16.
        threads: CPU threads for torch; None leaves the number as it is here.

    Returns:
        Bytes.

    Raises:
        FusionkitError: An argument is out of range, or the model could not be sent there or run there.
    """
    size = check(model, size)
    device = device_of(model)
    with tempfile.TemporaryDirectory() as folder, using_threads(threads) as used:
        try:
            torch.save((model, size, used, device), Path(folder, "job.pt"))
        except Exception as error:
            raise _no_memory(model, f"it cannot be pickled ({error})") from error
        command = [sys.executable, "-c", "from fusionkit.cost.running import serve; serve()", folder]
        done = subprocess.run(command, env=measuring_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise _no_memory(model, reason)
        return int(Path(folder, "bytes").read_text())


def serve() -> None:
    """Be the new process of ``peak_memory``: measure the job in the folder given as first argument."""
    folder = Path(sys.argv[1])
    model, size, threads, device = torch.load(folder / "job.pt", weights_only=False)
    with torch.inference_mode(), evaluating(model), using_threads(threads):
        pair = example_pair(size, device)
        rise = (_allocated_rise if device.type == "cuda" else resident_rise)(model, pair)
    (folder / "bytes").write_text(str(rise))


def _milliseconds(model: nn.Module, pair: tuple[Tensor, Tensor], device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    model(*pair)
    _synchronise(device)
    return 1e3 * (time.perf_counter() - start)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measuring_environment() -> dict[str, str]:
    """Return an environment that finds the same modules and, under glibc, gives freed memory back at once."""
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_MMAP_THRESHOLD_": "65536"}
    return os.environ | own | {"MALLOC_TRIM_THRESHOLD_": "65536"}


def _allocated_rise(model: nn.Module, pair: tuple[Tensor, Tensor]) -> int:
    device = pair[0].device
    model(*pair)
    _synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    model(*pair)
    _synchronise(device)
    return torch.cuda.max_memory_allocated(device) - before


def resident_rise(model: nn.Module, pair: tuple[Tensor, Tensor]) -> int:
    """Return the rise of the resident set during one run, a lower bound where its peak cannot be set back."""
    if _reset_peak():
        model(*pair)
        gc.collect()
        _reset_peak()
    before = _peak_resident()
    model(*pair)
    return _peak_resident() - before


def _reset_peak() -> bool:
    """Set the kernel's high-water mark back to what is resident now (Linux: ``man 5 proc``, clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_resident() -> int:
    """Return the high-water mark in bytes.

    ``ru_maxrss`` is second choice: it starts at what the parent process held when it started this one.
    """
    if STATUS.is_file():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _no_memory(model: nn.Module, reason: str) -> FusionkitError:
    name = type(model).__name__
    return FusionkitError(
        f"cannot measure the memory of {name}: {reason}; its class must lie in a module that can be imported"
    )
