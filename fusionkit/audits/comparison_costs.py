"""LightFusionNet's column of operations, row by row: which count gives each printed number, and one count for all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from fusionkit.cost import gmacs, parameters
from fusionkit.figures.costs import SIZE
from fusionkit.figures.style import BLUE, MUTED, ORANGE, RED, new_figure, styled
from fusionkit.models import build_model
from fusionkit.papers import get_panel
from fusionkit.tables.cells import MATCH, judge, printed_decimals

PANEL = "lightfusionnet/table1a"
# Model and options of each printed row, by the beginning of its label; PSLPT has no public code. Complete networks also
# compute what has no effect on their output, as the authors' do.
NETWORKS = {
    "AITFuse": ("aitfuse", {}),
    "ATFuse": ("atfuse", {"complete": True}),
    "CDDFuse": ("cddfuse", {}),
    "CMTFusion": ("cmtfusion", {"complete": True}),
    "DATFuse": ("datfuse", {"complete": True}),
    "FusionMamba": ("fusionmamba", {"size": "base", "mode": "official"}),
    "ITFuse": ("itfuse", {"complete": True}),
    "MBHFuse": ("mbhfuse", {}),
    "PMKFuse": ("pmkfuse", {}),
    "U2Fusion": ("u2fusion", {}),
    "Ours": ("lightfusionnet", {}),
}
# What is counted, in words, in the order of how little it has to suppose. The first that fits is named.
RULES = {
    "thop": "what the tool thop reports: layers that are called",
    "macs": "multiply-adds, of functions too, and half of a scan's operations",
    "one encoder pass": "thop, with the encoder that both sources pass counted for one of them",
    "thop, in_proj unseen": "thop, where Mamba uses the weights of in_proj without calling the layer",
    "two per multiply-add": "twice the multiply-adds",
}
ALIKE = "macs"
NEAR = 0.02


class UnseenLinear(nn.Linear):
    """A linear layer that works like any other, and that thop does not know."""


class OnePass(nn.Module):
    """One network on the first of two images, for counting what a pass costs.

    Args:
        network: Takes one image (B, 1, H, W).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return whatever the network makes of ``a``; ``b`` is ignored."""
        return self.network(a)


@cache
def shapes_only(name: str) -> nn.Module:
    """Return the network of a row without values, in evaluation mode.

    Args:
        name: A key of ``NETWORKS``.
    """
    model, options = NETWORKS[name]
    with torch.device("meta"):
        return build_model(model, **options)


def one_encoder_pass(network: nn.Module) -> float:
    """Count a network by thop as if its ``encoder``, which both sources pass, ran once."""
    return gmacs(network, SIZE, "thop") - gmacs(OnePass(network.encoder), SIZE, "thop")


def without_in_proj(network: nn.Module) -> float:
    """Count a network by thop where the layers named ``in_proj`` are used as weights only, as Mamba's code does."""
    with _unseen(network, "in_proj"):
        return gmacs(network, SIZE, "thop")


def counts(name: str) -> dict[str, float]:
    """Count a row's network by every rule that applies to it, in 10^9 at 256x256.

    Args:
        name: A key of ``NETWORKS``.
    """
    network = shapes_only(name)
    found = {rule: gmacs(network, SIZE, rule) for rule in ("thop", "macs")}
    special: dict[str, tuple[str, Callable[[nn.Module], float]]] = {
        "CDDFuse": ("one encoder pass", one_encoder_pass),
        "PMKFuse": ("thop, in_proj unseen", without_in_proj),
    }
    if name in special:
        rule, count = special[name]
        found[rule] = count(network)
    return found | {"two per multiply-add": 2 * found["macs"]}


@cache
def rebuilt_column() -> pd.DataFrame:
    """Rebuild the columns of parameters and operations.

    Returns:
        Per row: ``printed M`` and ``counted M`` (10^6 parameters), whether the ``parameters fit``, rounded or cut off,
        ``printed G``, the ``rule`` that gives it (or comes nearest), its count ``by rule`` and whether that ``fits``
        to the digit, and the count ``alike``: multiply-adds, for all rows. Counts are in 10^9.
    """
    published, lines = get_panel(PANEL).published, {}
    for name in NETWORKS:
        row = published[published.index.str.startswith(name)].iloc[0]
        found, size = counts(name), parameters(shapes_only(name)) / 1e6
        fits = {rule: _fits(row["FLOPS"], count) for rule, count in found.items()}
        nearest = min(found, key=lambda rule: abs(found[rule] - float(row["FLOPS"])))
        rule = next((rule for rule, fit in fits.items() if fit), nearest)
        lines[name] = (
            row["Param"],
            size,
            _fits(row["Param"], size),
            row["FLOPS"],
            rule,
            found[rule],
            fits[rule],
            found[ALIKE],
        )
    names = ["printed M", "counted M", "parameters fit", "printed G", "rule", "by rule", "fits", "alike"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=names).rename_axis("method")


def places_moved(column: pd.DataFrame) -> pd.DataFrame:
    """Return the place of each row in the column, 1 being the cheapest: as printed, and counted alike.

    Args:
        column: Result of :func:`rebuilt_column`.
    """
    ranks = {"printed": column["printed G"].astype(float).rank(), "alike": column["alike"].rank()}
    return pd.DataFrame(ranks).astype(int).assign(ratio=column["alike"] / column["printed G"].astype(float))


def column_verdict(column: pd.DataFrame) -> str:
    """Say in words which rows are counted how, and what one count for all changes.

    Args:
        column: Result of :func:`rebuilt_column`.
    """
    fitting, rest = column[column["fits"]], column[~column["fits"]]
    by_rule = "; ".join(f"{rule}: {', '.join(rows.index)}" for rule, rows in fitting.groupby("rule", sort=False))
    apart = ", ".join(
        f"{name} ({row['printed G']}, nearest {row['rule']} {row['by rule']:.2f})" for name, row in rest.iterrows()
    )
    places = places_moved(column)
    moved = places[places["printed"] != places["alike"]]
    words = ", ".join(f"{name} {row['printed']:.0f} to {row['alike']:.0f}" for name, row in moved.iterrows())
    return (
        f"{len(fitting)} of {len(column)} printed counts come out to the digit, by {fitting['rule'].nunique()} rules "
        f"({by_rule}). Not: {apart}. Counted alike, the ratio to print runs from {places['ratio'].min():.2f} to "
        f"{places['ratio'].max():.2f}, and {len(moved)} of {len(column)} rows change their place ({words})."
    )


@styled
def column_figure(column: pd.DataFrame) -> Figure:
    """Draw printed operations and multiply-adds counted alike, one line per method.

    Args:
        column: Result of :func:`rebuilt_column`.
    """
    table = column.assign(printed=column["printed G"].astype(float)).sort_values("alike")
    figure = new_figure(8.5, 0.34 * len(table) + 1.2)
    axes = figure.subplots()
    for place, row in enumerate(table.to_dict("records")):
        ratio = row["alike"] / row["printed"]
        far = abs(ratio - 1) > NEAR
        axes.plot([row["printed"], row["alike"]], [place, place], color=RED if far else MUTED, lw=2, zorder=1)
        axes.plot(row["printed"], place, "s", color=ORANGE, ms=7, label="printed" if not place else None)
        axes.plot(row["alike"], place, "o", color=BLUE, ms=6, label="multiply-adds, all alike" if not place else None)
        if far:
            right = max(row["printed"], row["alike"])
            axes.text(1.18 * right, place, f"x {ratio:.2f}", va="center", color=RED, fontsize=8)
    axes.set(xscale="log", xlabel="10^9 operations for a pair at 256x256", title="LightFusionNet, Table 1, FLOPS")
    axes.set_yticks(range(len(table)), table.index)
    axes.set_xlim(right=2.2 * max(table["alike"].max(), table["printed"].max()))
    axes.legend(loc="lower right")
    return figure


def _fits(text: str, counted: float) -> bool:
    """Return whether a printed number is the counted one, rounded or cut off."""
    return any(judge(float(text), printed_decimals(text), counted, cut) == MATCH for cut in (False, True))


@contextmanager
def _unseen(network: nn.Module, name: str) -> Iterator[None]:
    """Hide the linear layers of a name from thop for the block."""
    layers = [layer for path, layer in network.named_modules() if path.rpartition(".")[2] == name]
    for layer in layers:
        layer.__class__ = UnseenLinear
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Linear
