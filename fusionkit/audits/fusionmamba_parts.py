"""FusionMamba's default network taken apart: what each part costs, what thop misses, and what of it is idle.

Networks whose cost is counted are built on torch's device ``meta``: they have shapes but no values.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.cost import gmacs
from fusionkit.cost.probe import example_pair
from fusionkit.figures.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, new_figure, styled
from fusionkit.models import build_model
from fusionkit.models.fusionmamba import FusionMamba
from fusionkit.models.fusionmamba.convolution import DescriptiveConvolution
from fusionkit.models.resolution import PATCH
from fusionkit.models.scan2d import SelectiveScan2d

SIZE = (256, 256)
PRESENT = {"mode": "official"}
KINDS = {"layers": BLUE, "descriptive convolutions": ORANGE, "projections of the scan": GREEN, "scan": PURPLE}
NORMS = "norms and means, free by the true count"
MULTIPLY_ADDS, EVERYTHING = "multiply-adds, and what thop reports", "with the scan"
UNUSED = f"fusion 1/{PATCH}"
# The full network's layers and names, at widths that a laptop differentiates within seconds.
NARROW = PRESENT | {"dims": (16, 32, 64, 128), "states": 4}
SIDE = 128  # pixels; on less, the deepest scans have one step and their rates no gradient for that reason
IDLE = {
    "masks of ones, stored and never trained": "base_mask",
    "finest fusion module, computed and never used": "fusion.0.",
    "1x1 convolutions that are never called": ".unused.",
    "second modality's gate, computed and never read": ".in_proj2.",
    "anything else": "",
}
STORED, USED = "stored", "with a gradient"


def shapes_only(**options: Any) -> FusionMamba:
    """Return a network without values, in evaluation mode.

    Args:
        **options: Of ``build_model``.
    """
    with torch.device("meta"):
        return build_model("fusionmamba", **options).eval()


@cache
def parts() -> pd.DataFrame:
    """Count the default network part by part.

    Returns:
        10^9 operations at 256x256, one row per part, in the order of the data: multiply-adds of the ``layers`` that
        thop knows, of the ``descriptive convolutions`` (called as functions, so thop misses them) and of the
        ``projections of the scan`` (products of tensors, missed too), and the operations of the ``scan`` itself, 9 per
        channel, step and state.
    """
    model = shapes_only(**PRESENT)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*example_pair(SIZE, "meta"))
    counts = counter.get_flop_counts()
    of_module = {module: counts.get(f"{type(model).__name__}.{name}", {}) for name, module in model.named_modules()}
    rows = {}
    for words, members in _members(model).items():
        inside = [module for member in members for module in member.modules()]
        found = [
            _native(of_module[module] for module in inside if isinstance(module, kind))
            for kind in (DescriptiveConvolution, SelectiveScan2d)
        ]
        total = _native(of_module[member] for member in members)
        every = sum(sum(of_module[member].values()) for member in members) / 1e9
        rows[words] = (total - sum(found), *found, every - 2 * total)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(KINDS))


def _native(counts: Iterable[dict[Any, int]]) -> float:
    """Return 10^9 multiply-adds of torch's own operators, which its counter takes for two operations each."""
    return sum(n for each in counts for operator, n in each.items() if str(operator).startswith("aten.")) / 2e9


@cache
def reconciliation() -> pd.DataFrame:
    """Lead from thop's count of the default network to the true one.

    Returns:
        10^9 operations per kind of work: what there is (``true``), and what of it is in thop's count (``thop``).
    """
    sums, thop = parts().sum(), gmacs(shapes_only(**PRESENT), SIZE, "thop")
    rows = {
        "layers": (sums["layers"], sums["layers"]),
        NORMS: (0.0, thop - sums["layers"]),
        "descriptive convolutions": (sums["descriptive convolutions"], 0.0),
        "projections of the scan": (sums["projections of the scan"], 0.0),
        MULTIPLY_ADDS: (sums.drop("scan").sum(), thop),
        "scan": (sums["scan"], 0.0),
        EVERYTHING: (sums.sum(), thop),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["true", "thop"])


@styled
def parts_figure(table: pd.DataFrame) -> Figure:
    """Draw what each part costs, by kind of work; the part whose result is never used is hatched.

    Args:
        table: Result of :func:`parts`.
    """
    figure = new_figure(8.4, 4.4)
    axes = figure.subplots()
    left = pd.Series(0.0, index=table.index)
    for kind, colour in KINDS.items():
        label = "layers, which thop counts" if kind == "layers" else f"{kind}, missed"
        bars = axes.barh(table.index, table[kind], left=left, color=colour, label=label)
        bars[table.index.get_loc(UNUSED)].set(hatch="////", edgecolor="white", linewidth=0)
        left += table[kind]
    for place, total in enumerate(left):
        note = "  result never used" if table.index[place] == UNUSED else ""
        axes.text(total + 0.15, place, f"{total:.2f}{note}", va="center", fontsize=8, color=MUTED)
    axes.invert_yaxis()
    axes.set(xlabel="operations for one pair at 256x256 ($10^9$)", xlim=(0, left.max() * 1.08))
    axes.legend(loc="lower right")
    return figure


def gradient_shares(own_gate: bool = False) -> dict[str, float]:
    """Return which share of the numbers in each parameter of the present code gets a gradient; frozen ones get none.

    The network is the full one at smaller widths, with its values at random. Its output is weighted at random and
    differentiated before the limits to [0, 1], whose gradient is zero where they bite.

    Args:
        own_gate: Whether the gate of the second modality is repaired.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model("fusionmamba", **NARROW, own_gate=own_gate).eval()
        image = model.reconstruct(*example_pair((SIDE, SIDE), "cpu"))
        (image * torch.rand_like(image)).sum().backward()
    return {
        name: 0.0 if value.grad is None else (value.grad != 0).double().mean().item()
        for name, value in model.named_parameters()
    }


@cache
def idle_parameters() -> pd.DataFrame:
    """Account for the parameters of the default network, as released and with the second gate repaired.

    Returns:
        How many numbers are stored, how many of them have no gradient for which reason, and how many have one.
    """
    full = {name: value.numel() for name, value in shapes_only(**PRESENT).named_parameters()}
    columns = {}
    for words, own_gate in (("as released", False), ("with its own gate", True)):
        idle = dict.fromkeys(IDLE, 0)
        for name, share in gradient_shares(own_gate).items():
            reason = next(reason for reason, part in IDLE.items() if part in name)
            idle[reason] += round(full[name] * (1 - share))
        stored = sum(full.values())
        columns[words] = {STORED: stored, **idle, USED: stored - sum(idle.values())}
    return pd.DataFrame(columns)


def work_verdict() -> str:
    """Say in one sentence what thop misses."""
    work = reconciliation()
    true, thop = work.loc[MULTIPLY_ADDS]
    missed = work["true"][work["thop"] == 0]
    words = ", ".join(f"{kind} {count:.2f} G" for kind, count in missed.items())
    return (
        f"The default network of the present code takes {true:.2f} G multiply-adds besides its scans, "
        f"{true / thop:.2f} times the {thop:.2f} G that thop reports; thop misses: {words}."
    )


def idle_verdict() -> str:
    """Say in one sentence how much of the network does something."""
    idle = idle_parameters()["as released"]
    stored, used = idle[STORED], idle[USED]
    return (
        f"Of its {stored / 1e6:.2f} M parameters {used / 1e6:.2f} M ({used / stored:.1%}) get a gradient, and its "
        f"finest fusion module is computed for {parts().loc[UNUSED].sum():.2f} G and never used."
    )


def _members(model: FusionMamba) -> dict[str, list[nn.Module]]:
    """Return the modules of each part, in the order of the data; parts are named by the scale of their maps."""
    scales = [f"1/{PATCH * 2**level}" for level in range(len(model.encoder))]
    return {
        "patch embeddings": [model.embed1, model.embed2],
        **{f"encoder {scale}": [stage] for scale, stage in zip(scales, model.encoder, strict=True)},
        **{f"fusion {scale}": [module] for scale, module in zip(scales, model.fusion, strict=True)},
        **{f"decoder {scale}": [stage] for scale, stage in zip(reversed(scales), model.decoder, strict=True)},
        "head": [model.expand, model.head],
    }
