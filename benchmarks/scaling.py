"""FusionMamba's tiny network: time and memory against the number of pixels, beside attention, and bounds to keep.

The peers are the same network with other blocks in encoder and decoder: attention within windows of 8x8 tokens, and
attention over all tokens. All have random weights; neither time nor memory depends on them.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.bounds import TRAINING, at_least, below, training_row
from benchmarks.scaling_peers import global_attention
from benchmarks.scan import timed
from fusionkit.cost import parameters, peak_memory
from fusionkit.cost.probe import evaluating, example_pair, using_threads
from fusionkit.models import build_model
from fusionkit.progress import bar

SIDES = (128, 256, 512, 1024)
LARGEST_GLOBAL = 512  # attention over all tokens takes sixteen times as long for twice the side
TRAINING_SIDE, BATCH = 64, 8
BOUNDED_SIDE = 256
MOST_SECONDS, MOST_MB, LEAST_ITERATIONS = 0.4, 600, 3
THREADS = None  # as many as torch has taken, and one
PROTOCOL = {
    "sides": [*SIDES],
    "networks": "size tiny, by the paper's equations; the peers have other blocks in encoder and decoder, at one number"
    f" of threads; attention over all tokens up to {LARGEST_GLOBAL} pixels a side",
    "time": "one pair, inference mode, one run before the timed ones",
    "memory": "rise of the resident set to its peak in the second run of a new process, in 2^20 bytes",
    "growth": "of time or memory from the side before, over the growth of the number of pixels; 1 is linear",
    "training": TRAINING,
}
Row = dict[str, Any]


def scan() -> nn.Module:
    """Return the network that is measured."""
    return build_model("fusionmamba", size="tiny")


def windows() -> nn.Module:
    """Return the network with attention within windows, as Table 7 of the paper has it."""
    return build_model("fusionmamba", size="tiny", block="transformer")


NETWORKS: dict[str, Callable[[], nn.Module]] = {"scan": scan, "windows": windows, "global": global_attention}


def measure(sides: Sequence[int] = SIDES) -> dict[str, list[Row]]:
    """Return four tables: the networks, inference by side, training, and the bounds with what was measured.

    Args:
        sides: Height and width of the images, growing, at least 16.
    """
    most = torch.get_num_threads()
    cases = [("scan", threads) for threads in sorted({1, most})] + [(name, most) for name in NETWORKS if name != "scan"]
    inference = []
    for name, threads in bar(cases, "scaling", unit="case"):
        kept = [side for side in sides if name != "global" or side <= LARGEST_GLOBAL]
        inference += inference_rows(name, NETWORKS[name](), threads, kept)
    training = [training_row(scan(), "fusionmamba", TRAINING_SIDE, BATCH, threads) for threads in sorted({1, most})]
    networks = [{"network": name, "parameters": parameters(build())} for name, build in NETWORKS.items()]
    return {"networks": networks, "inference": inference, "training": training, "bounds": bounds(inference, training)}


def inference_rows(
    name: str, model: nn.Module, threads: int, sides: Sequence[int], clock: Callable[[], float] = time.perf_counter
) -> list[Row]:
    """Return one row per side of images: time and memory of one inference, and how much they have grown.

    Args:
        name: What to call the network.
        model: The network.
        threads: CPU threads.
        sides: Growing.
        clock: Tells seconds.
    """
    rows: list[Row] = []
    for side in sides:
        pair = example_pair((side, side), "cpu")
        with torch.inference_mode(), evaluating(model), using_threads(threads):
            taken, _ = timed(lambda pair=pair: model(*pair), clock)
        memory = round(peak_memory(model, (side, side), threads) / 2**20, 1)
        row = {"network": name, "threads": threads, "side": side, "time": taken, "peak_mb": memory}
        rows.append(row | growth(rows[-1] if rows else None, row))
    return rows


def growth(before: Row | None, now: Row) -> Row:
    """Return how much faster than the number of pixels time and memory have grown; None at the first side."""
    if before is None:
        return {"time_growth": None, "memory_growth": None}
    pixels = (now["side"] / before["side"]) ** 2
    duration = now["time"]["median_ms"] / before["time"]["median_ms"]
    memory = now["peak_mb"] / before["peak_mb"]
    return {"time_growth": round(duration / pixels, 3), "memory_growth": round(memory / pixels, 3)}


def bounds(inference: Sequence[Row], training: Sequence[Row]) -> list[Row]:
    """Set what was measured with the most threads beside the bounds that the network has to keep.

    Args:
        inference: Rows of :func:`inference_rows`; without ``BOUNDED_SIDE`` among them there is no bound on inference.
        training: Rows of :func:`training_row`, the most threads last.
    """
    found = [row for row in inference if row["network"] == "scan" and row["side"] == BOUNDED_SIDE][-1:]
    what = f"inference at {BOUNDED_SIDE}x{BOUNDED_SIDE}"
    rows = [below(what, "s", row["time"]["median_ms"] / 1e3, MOST_SECONDS) for row in found]
    rows += [below(what, "MB", row["peak_mb"], MOST_MB) for row in found]
    what = f"training at {TRAINING_SIDE}x{TRAINING_SIDE}, batch {BATCH}"
    return [*rows, at_least(what, "iterations/s", training[-1]["iterations_per_s"], LEAST_ITERATIONS)]
