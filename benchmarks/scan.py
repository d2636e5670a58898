"""The selective scan: time and memory beside other ways to run it, and beside attention.

Letters as in ``fusionkit.ops.selective_scan``; B and C vary over time and are shared by all channels, step bias,
softplus and skip are on, there is no gate. Everything is float32 and B = 1.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks.scan_peers import exponential_limit, parallel_scan
from fusionkit.cost import running
from fusionkit.ops import selective_scan
from fusionkit.progress import bar

LENGTHS = (256, 1024, 4096, 16384, 65536)
CHANNELS = (64, 192, 384)
STATES = 16
WIDTH, LONGEST_ATTENTION = 64, 16384
BUDGET_S, LEAST, MOST = 0.5, 3, 30
TOO_LONG_S = 5.0
THREADS = min(2, os.cpu_count() or 1)  # the project's machine has two cores
PROTOCOL = {
    "batch": 1,
    "states": STATES,
    "dtype": "float32",
    "warmup": 1,
    "repeats": f"{LEAST} to {MOST}, until {BUDGET_S} s have passed",
    "skipped": f"where more than {TOO_LONG_S} s are expected from the length before",
    "torch": "benchmarks.scan_peers.parallel_scan",
    "limit": "benchmarks.scan_peers.exponential_limit: one exponential per channel, step and state",
    "difference": "largest deviation of numba from torch over the largest value, in the worst result",
    "memory": "rise of the resident set to its peak in the second forward and backward of a new process, over the size"
    " of u; the output is 1 of it, the gradients of u and delta are 2",
    "attention": f"torch scaled_dot_product_attention, one head of {WIDTH}, without projections",
}
Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Row = dict[str, Any]


def _ours(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor, backend: str
) -> Tensor:
    return selective_scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus=True, backend=backend)


SCANS: dict[str, Scan] = {
    "numba": partial(_ours, backend="numba"),
    "torch": parallel_scan,
    "reference": partial(_ours, backend="reference"),
}


def measure(lengths: Sequence[int] = LENGTHS, channels: Sequence[int] = CHANNELS) -> dict[str, list[Row]]:
    """Return three tables: times of scans, their memory, and times of attention.

    Args:
        lengths: L, growing, each a multiple of 32.
        channels: D.
    """
    short = [length for length in lengths if length <= LONGEST_ATTENTION]
    with bar(desc="scan", total=len(lengths) * len(channels) + len(short), unit="case") as progress:
        scans, memory, attention = [], [], []
        for count in channels:
            forecast = Forecast(power=1)
            for length in lengths:
                scans += scan_rows(count, length, forecast)
                memory.append(memory_row(count, length))
                progress.update()
        forecast = Forecast(power=2)
        for length in short:
            attention += attention_rows(length, forecast)
            progress.update()
    return {"scan": scans, "memory": memory, "attention": attention}


class Forecast:
    """Times work and, from its time at the length before, leaves out what would take too long."""

    def __init__(self, power: int) -> None:
        self.power = power  # of L to which time grows
        self.seen: dict[tuple[str, str], tuple[int, float]] = {}

    def timed(self, name: str, kind: str, length: int, work: Callable[[], Any]) -> tuple[Row, Any]:
        """Return the time and the result, or the reason why there is none and None.

        Args:
            name: Who works.
            kind: At what; name and kind together grow with length alone.
            length: L.
            work: What to time.
        """
        before, seconds = self.seen.get((name, kind), (length, 0.0))
        expected = seconds * (length / before) ** self.power
        if expected > TOO_LONG_S:
            return {"skipped": f"{expected:.0f} s expected, more than {TOO_LONG_S:.0f} s"}, None
        times, result = timed(work)
        self.seen[name, kind] = length, times["median_ms"] / 1e3
        return times, result


def timed(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[Row, Any]:
    """Return median and quartile distance of its times after one warm-up, and the result.

    Args:
        work: What to time.
        clock: Tells seconds.
    """
    result, times, began = work(), [], time.perf_counter()
    while len(times) < LEAST or (len(times) < MOST and time.perf_counter() - began < BUDGET_S):
        start = clock()
        work()
        times.append(1e3 * (clock() - start))
    low, median, high = np.percentile(times, [25, 50, 75])
    return {"median_ms": _short(median), "iqr_ms": _short(high - low), "repeats": len(times)}, result


def scan_rows(channels: int, length: int, forecast: Forecast) -> list[Row]:
    """Time one case: a row for forward, and one for forward and backward together."""
    inputs, grad = case(channels, length)
    with torch.no_grad():
        step = F.softplus(inputs[1] + inputs[-1][:, None])
        limit, _ = timed(partial(exponential_limit, step, inputs[2]))
    rows = []
    for kind, run in PASSES.items():
        runs = {name: partial(run, scan, inputs, grad) for name, scan in SCANS.items()}
        done = {name: forecast.timed(name, kind, length, work) for name, work in runs.items()}
        times = {name: time for name, (time, _) in done.items()} | {"limit": limit}
        ratios = {
            "reference_over_numba": _ratio(times["reference"], times["numba"]),
            "torch_over_numba": _ratio(times["torch"], times["numba"]),
            "numba_over_limit": _ratio(times["numba"], limit),
            "difference": _difference(done["numba"][1], done["torch"][1]),
        }
        rows.append({"channels": channels, "length": length, "pass": kind, **times, **ratios})
    return rows


def case(channels: int, length: int) -> tuple[list[Tensor], Tensor]:
    """Return the seven arguments of a scan, steps and rates as in a fresh Mamba block, and a gradient of its output."""
    generator = torch.Generator().manual_seed(0)
    randn = partial(torch.randn, generator=generator)
    rates = -torch.arange(1.0, STATES + 1).repeat(channels, 1)
    steps = 10 ** torch.empty(channels).uniform_(-3, -1, generator=generator)  # after softplus, at delta = 0
    inputs = [
        randn(1, channels, length),
        0.5 * randn(1, channels, length),
        rates,
        randn(1, STATES, length),
        randn(1, STATES, length),
        torch.ones(channels),
        steps.expm1().log(),
    ]
    return [x.requires_grad_() for x in inputs], randn(1, channels, length)


def _forward(scan: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return (scan(*inputs),)


def _forward_backward(scan: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(scan(*inputs), inputs, grad)


PASSES = {"forward": _forward, "forward+backward": _forward_backward}


def memory_row(channels: int, length: int) -> Row:
    """Measure the memory of forward and backward together, gradients included, in a new process."""
    command = [sys.executable, "-c", "from benchmarks.scan import serve; serve()"]
    command += [str(channels), str(length), str(torch.get_num_threads())]
    done = subprocess.run(command, env=running.measuring_environment(), stdout=subprocess.PIPE, text=True, check=True)
    rises, size = json.loads(done.stdout), 4 * channels * length
    ratios = {f"{name}_over_u": round(rise / size, 2) for name, rise in rises.items()}
    return {"channels": channels, "length": length, "u_mb": round(size / 2**20, 3), **ratios}


def serve() -> None:
    """Be the new process of ``memory_row``: print the rises in bytes."""
    channels, length, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    inputs, grad = case(channels, length)
    works = {name: partial(_forward_backward, SCANS[name], inputs, grad) for name in ("numba", "torch")}
    print(json.dumps({name: running.resident_rise(work, ()) for name, work in works.items()}))


def attention_rows(length: int, forecast: Forecast) -> list[Row]:
    """Time softmax attention over as many tokens: forward, and forward and backward together."""
    generator = torch.Generator().manual_seed(0)
    *inputs, grad = torch.randn(4, 1, 1, length, WIDTH, generator=generator)
    inputs = [x.requires_grad_() for x in inputs]
    rows = []
    for kind, run in PASSES.items():
        work = partial(run, F.scaled_dot_product_attention, inputs, grad)
        rows.append(
            {
                "width": WIDTH,
                "length": length,
                "pass": kind,
                "attention": forecast.timed("attention", kind, length, work)[0],
            }
        )
    return rows


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _ratio(above: Row, below: Row) -> float | None:
    if "skipped" in above or "skipped" in below:
        return None
    return _short(above["median_ms"] / below["median_ms"])


def _difference(ours: Sequence[Tensor] | None, theirs: Sequence[Tensor] | None) -> float | None:
    if ours is None or theirs is None:
        return None
    return max(float(f"{(x - y).abs().max() / y.abs().max():.1e}") for x, y in zip(ours, theirs, strict=True))
