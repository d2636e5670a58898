"""Speed and memory that the small networks of S4Fusion and DIFF-MF have to keep; FusionMamba's are in ``scaling``.

All have random weights; neither time nor memory depends on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.scan import timed
from fusionkit.cost import parameters, peak_memory
from fusionkit.cost.probe import evaluating, example_pair, using_threads
from fusionkit.losses import preset
from fusionkit.models import build_model
from fusionkit.progress import bar

HEIGHT, WIDTH = 480, 640
THREADS = None  # as many as torch has taken
TRAINING = "forward, the paper's loss, backward and a step of Adam on random pairs, without loading"
PROTOCOL = {
    "size": [HEIGHT, WIDTH],
    "networks": "size tiny, S4Fusion's loss without perception",
    "time": "one pair, inference mode, one run before the timed ones",
    "memory": "rise of the resident set to its peak in the second run of a new process, in 2^20 bytes",
    "training": TRAINING,
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Bounds:
    """What a network has to keep with all threads.

    Attributes:
        model: Name of the model.
        loss: Loss preset of its training.
        side: Of the square crops.
        batch: Pairs of an iteration.
        least_iterations: Of training, per second.
        most_seconds: Of one inference at 640x480.
        most_mb: Of memory in it.
    """

    model: str
    loss: str
    side: int
    batch: int
    least_iterations: float
    most_seconds: float
    most_mb: float


NETWORKS = (
    Bounds("s4fusion", "s4fusion_no_perception", 61, 4, 3, 3, 1536),
    Bounds("diffmf", "diffmf", 64, 4, 2, 4, 2048),
)


def measure(networks: Sequence[Bounds] = NETWORKS, size: tuple[int, int] = (HEIGHT, WIDTH)) -> dict[str, list[Row]]:
    """Return three tables: the networks, their training, and the bounds with what was measured.

    Args:
        networks: What to measure.
        size: Height and width of the images.
    """
    threads = torch.get_num_threads()
    found: dict[str, list[Row]] = {"networks": [], "training": [], "bounds": []}
    for kept in bar(networks, "bounds", unit="network"):
        model = build_model(kept.model, size="tiny")
        training = training_row(model, kept.loss, kept.side, kept.batch, threads)
        pair = example_pair(size, "cpu")
        with torch.inference_mode(), evaluating(model):
            taken, _ = timed(lambda model=model, pair=pair: model(*pair))
        memory = peak_memory(model, size, threads) / 2**20
        found["networks"].append({"network": kept.model, "parameters": parameters(model)})
        found["training"].append({"network": kept.model, **training})
        what = f"{kept.model}, inference at {size[1]}x{size[0]}"
        what_trained = f"{kept.model}, training at {kept.side}x{kept.side}, batch {kept.batch}"
        found["bounds"] += [
            below(what, "s", taken["median_ms"] / 1e3, kept.most_seconds),
            below(what, "MB", memory, kept.most_mb),
            at_least(what_trained, "iterations/s", training["iterations_per_s"], kept.least_iterations),
        ]
    return found


def training_row(model: nn.Module, loss: str, side: int, batch: int, threads: int) -> Row:
    """Time one iteration of training.

    Args:
        model: The network; it is in evaluation mode afterwards.
        loss: Loss preset.
        side: Of the square images.
        batch: Pairs.
        threads: CPU threads.
    """
    terms = preset(loss)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-4)
    a, b = torch.rand(2, batch, 1, side, side, generator=torch.Generator().manual_seed(0))

    def iterate() -> None:
        optimizer.zero_grad()
        terms(model(a, b), a, b)["total"].backward()
        optimizer.step()

    with using_threads(threads):
        taken, _ = timed(iterate)
    model.eval()
    speed = round(1e3 / taken["median_ms"], 2)
    return {"threads": threads, "side": side, "batch": batch, "time": taken, "iterations_per_s": speed}


def below(what: str, unit: str, measured: float, most: float) -> Row:
    """Set a measured quantity beside an upper bound."""
    kept = measured < most
    return {"what": what, "unit": unit, "measured": round(measured, 4), "bound": f"below {most}", "kept": kept}


def at_least(what: str, unit: str, measured: float, least: float) -> Row:
    """Set a measured quantity beside a lower bound."""
    kept = measured >= least
    return {"what": what, "unit": unit, "measured": round(measured, 4), "bound": f"at least {least}", "kept": kept}
