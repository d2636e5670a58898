"""DIFF-MF's full network with VMamba's blocks and with Restormer's: processor time and memory, for its Table VII.

Both have random weights; neither time nor memory depends on them.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.scaling import PROTOCOL as SCALING
from benchmarks.scaling import inference_rows
from fusionkit.cost import parameters
from fusionkit.models import build_model
from fusionkit.models.diffmf.config import CHOICES
from fusionkit.progress import bar

SIDES = (128, 256)
SIZE = "base"
THREADS = None  # as many as torch has taken
PROTOCOL = {
    "sides": [*SIDES],
    "networks": f"DIFF-MF, size {SIZE}, one for each kind of block",
    "time": "one pair, inference mode, one run before the timed ones; seconds of the processor, all threads together",
    **{name: SCALING[name] for name in ("memory", "growth")},
}
Row = dict[str, Any]


def measure(sides: Sequence[int] = SIDES, size: str = SIZE) -> dict[str, list[Row]]:
    """Return two tables: the networks, and inference by side.

    Args:
        sides: Height and width of the images, growing, at least 16.
        size: Of the network.
    """
    networks, inference = [], []
    for block in bar(CHOICES["block"], "blocks", unit="network"):
        model = build_model("diffmf", size=size, block=block)
        networks.append({"network": block, "parameters": parameters(model)})
        inference += inference_rows(block, model, torch.get_num_threads(), sides, time.process_time)
    return {"networks": networks, "inference": inference}
