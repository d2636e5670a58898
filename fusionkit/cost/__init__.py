"""What a network costs: parameters, operations under stated conventions, time, and memory."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from fusionkit.cost.counting import CONVENTIONS, Convention, flops, gmacs, parameters
from fusionkit.cost.running import Latency, latency, peak_memory
from fusionkit.errors import FusionkitError

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Cost",
    "Latency",
    "flops",
    "gmacs",
    "latency",
    "measure_cost",
    "parameters",
    "peak_memory",
]


@dataclass(frozen=True)
class Cost:
    """What fusing one pair of images costs, with the conditions under which it was measured.

    Attributes:
        name: The model's registered name, or its class.
        size: Height and width in pixels.
        parameters: Number of parameters.
        operations_g: Operations in 10^9, one number per counting convention.
        latency: Time of one inference, with device, threads and repeats.
        peak_memory_bytes: Memory on top of the loaded model and its inputs.
        torch_version: Version of torch.
        conventions: What each number in ``operations_g`` counts.
    """

    name: str
    size: tuple[int, int]
    parameters: int
    operations_g: dict[str, float]
    latency: Latency
    peak_memory_bytes: int
    torch_version: str
    conventions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts, lists and dictionaries, ready for JSON."""
        return asdict(self) | {"size": list(self.size)}

    def to_text(self) -> str:
        """Return lines to print: the measurements, then every count with what it counts."""
        time, (height, width) = self.latency, self.size
        lines = [
            f"{self.name}: one pair of {height} x {width} pixels, torch {self.torch_version}",
            f"parameters  {self.parameters}",
            f"time        {time.median_ms:.3f} ms, median of {time.repeats} runs, interquartile range "
            f"{time.iqr_ms:.3f} ms; {time.device}, threads: {time.threads}",
            f"memory      {self.peak_memory_bytes / 1e6:.2f} MB on top of the model and its inputs",
            "operations, in 10^9, by convention:",
        ]
        for convention, count in self.operations_g.items():
            start = f"  {convention:8}{count:12.6f}  "
            below = " " * len(start)
            lines += textwrap.wrap(
                self.conventions[convention], 100, initial_indent=start, subsequent_indent=below, break_on_hyphens=False
            )
        return "\n".join(lines)


def measure_cost(
    model: nn.Module | str,
    size: Sequence[int] = (256, 256),
    repeats: int = 20,
    warmup: int = 3,
    threads: int | None = None,
    **options: Any,
) -> Cost:
    """Measure everything that this package can say about the cost of one model.

    Args:
        model: A two-input network, or the name of a registered one.
        size: Height and width in pixels, each at least 16.
        repeats: Number of timed runs.
        warmup: Number of runs before them that are not timed.
        threads: CPU threads for torch; None leaves the number as it is.
        **options: Passed to ``create_model`` where ``model`` is a name.

    Raises:
        FusionkitError: The model is unknown or not usable, or an argument is out of range.
    """
    name = model if isinstance(model, str) else type(model).__name__
    model = _create(model, options)
    timed = latency(model, size, repeats, warmup, threads)
    return Cost(
        name=name,
        size=(size[0], size[1]),
        parameters=parameters(model),
        operations_g={convention: gmacs(model, size, convention) for convention in CONVENTIONS},
        latency=timed,
        peak_memory_bytes=peak_memory(model, size, threads),
        torch_version=torch.__version__,
        conventions={key: convention.statement for key, convention in CONVENTIONS.items()},
    )


def _create(model: nn.Module | str, options: dict[str, Any]) -> nn.Module:
    if isinstance(model, str):
        from fusionkit import create_model  # here, because the package itself may offer this module

        return create_model(model, **options)
    if options:
        raise FusionkitError(
            f"{', '.join(options)} cannot be set on a model that exists; pass the model's name instead"
        )
    return model
