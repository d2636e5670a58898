"""DIFF-MF's Table VII counted again: scans, Restormer's blocks as they are, and attention as the paper counts it.

One multiply-add is one operation, as in the scan row of the table; a scan has nine operations per step, channel and
state, and one per step and channel for its skip. Biases, norms and activations are free.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.audits.bench import measured
from fusionkit.cost import CONVENTIONS, gmacs, parameters
from fusionkit.cost.probe import example_pair
from fusionkit.figures.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, new_figure, styled
from fusionkit.models.diffmf import DiffMF, configure
from fusionkit.models.diffmf.blocks import HEADS, feature_block
from fusionkit.models.restormer import ChannelAttention
from fusionkit.papers import get_panel
from fusionkit.tables.cells import printed_number

PANEL, COLUMN = "diffmf/table7", "FLOPs"
SIZE = (512, 512)
SCAN, RESTORMER, QUADRATIC = "scans", "Restormer's blocks", "quadratic attention, by formula"
BLOCKS = {SCAN: "vss", RESTORMER: "restormer"}
PRINTED = {SCAN: "DIFF-MF using SSM", QUADRATIC: "DIFF-MF using pure transformer"}
PER_UPDATE = 9
BYTES = 4
KINDS = {"convolution": "convolutions", "mm": "linear layers", "addmm": "linear layers", "bmm": "products of tensors"}
COLOURS = {"convolutions": BLUE, "linear layers": GREEN, "products of tensors": ORANGE, "scan": PURPLE}
TIMES = ["network", "device", "threads", "side", "processor seconds", "peak MB", "code"]


class Operations(NamedTuple):
    """Operations of one pair in 10^9: of the scans with their skips, and of everything else."""

    scan: float
    others: float

    @property
    def total(self) -> float:
        """Return all of them."""
        return self.scan + self.others


@cache
def shapes_only(block: str = "vss", size: str = "base") -> DiffMF:
    """Return a network without values, in evaluation mode."""
    with torch.device("meta"):
        return DiffMF(size, block=block).eval()


def operations(model: DiffMF) -> Operations:
    """Count the operations of one pair of Table VII's size on a network, with values or without."""
    half, whole = (counted(model, convention) for convention in ("macs", "true"))
    updates = 2 * (whole - half) / PER_UPDATE
    return Operations(PER_UPDATE * updates + updates / model.config.states, 2 * half - whole)


@cache
def counted(model: DiffMF, convention: str) -> float:
    """Return ``gmacs`` at Table VII's size, counted once per network."""
    return gmacs(model, SIZE, convention)


def printed() -> dict[str, float]:
    """Return the printed operations, 10^9, by row of :func:`three_rows`."""
    panel = get_panel(PANEL)
    unit = panel.columns[COLUMN].unit
    return {row: printed_number(panel.published.loc[label, COLUMN], unit) for row, label in PRINTED.items()}


@cache
def attention_maps() -> pd.DataFrame:
    """Return every attention of the network with Restormer's blocks, as it is called for a pair of Table VII's size.

    Returns:
        One row per call: ``images`` (of a batch), ``places`` L, ``channels`` C and ``heads``.
    """
    model, rows = shapes_only("restormer"), []

    def keep(attention: ChannelAttention, _mix: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        images, width, height, side = output.shape
        rows.append((images, height * side, width // 3, len(attention.scale)))

    parts = [part for part in model.modules() if isinstance(part, ChannelAttention)]
    handles = [part.mix.register_forward_hook(partial(keep, part)) for part in parts]
    try:
        with torch.no_grad():
            model(*example_pair(SIZE, "meta"))
    finally:
        for handle in handles:
            handle.remove()
    return pd.DataFrame(rows, columns=["images", "places", "channels", "heads"])


def quadratic_g(maps: pd.DataFrame) -> pd.Series:
    """Return the paper's formula 4 B (HW)^2 D of attentions between places, in 10^9; two per multiply-add."""
    return 4 * maps["images"] * maps["places"].astype(float) ** 2 * maps["channels"] / 1e9


def channel_g(maps: pd.DataFrame) -> pd.Series:
    """Return the multiply-adds 2 B HW C^2 / heads of attentions between channels, in 10^9."""
    return 2 * maps["images"] * maps["places"] * maps["channels"] ** 2 / maps["heads"] / 1e9


def map_bytes(places: int) -> int:
    """Return what one attention between all places keeps in single precision: a map per head."""
    return BYTES * HEADS * places**2


@cache
def three_rows() -> pd.DataFrame:
    """Count Table VII anew, in three rows.

    Returns:
        Per row ``parameters``, ``printed`` and ``counted`` (10^9), of the latter what the ``scan or attention`` does,
        the ``rest``, and ``of the scans``: the count relative to the first row. The last row has no network: it is the
        second one with its attention counted by the paper's formula.
    """
    rows = {}
    for title, block in BLOCKS.items():
        count = operations(shapes_only(block))
        mixing = count.scan or channel_g(attention_maps()).sum()
        rows[title] = (parameters(shapes_only(block)), mixing, count.total - mixing)
    rows[QUADRATIC] = (None, quadratic_g(attention_maps()).sum(), rows[RESTORMER][2])
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["parameters", "scan or attention", "rest"])
    table["counted"] = table["scan or attention"] + table["rest"]
    table["of the scans"] = table["counted"] / table["counted"][SCAN]
    table["printed"] = pd.Series(printed())
    table["parameters"] = table["parameters"].astype("Int64")
    return table[["parameters", "printed", "counted", "scan or attention", "rest", "of the scans"]]


@cache
def one_block() -> pd.DataFrame:
    """Count a single block on a map of full size, in 10^9; the order does not depend on how many there are."""
    places, config = SIZE[0] * SIZE[1], configure()
    full = pd.DataFrame({"images": [1], "places": [places], "channels": [config.channels], "heads": [HEADS]})
    rows = {}
    for title, kind in BLOCKS.items():
        with torch.device("meta"):
            block = feature_block(configure(block=kind)).eval()
            run = partial(block, torch.empty(1, *SIZE, config.channels))
        with torch.no_grad():
            half, whole = (CONVENTIONS[name].count(block, run) / 1e9 for name in ("macs", "true"))
        updates = 2 * (whole - half) / PER_UPDATE
        rows[title] = whole + updates / config.states
    rows[QUADRATIC] = rows[RESTORMER] - channel_g(full).item() + quadratic_g(full).item()
    return pd.DataFrame({"counted": rows}).assign(per_place=lambda table: 1e9 * table["counted"] / places)


@cache
def kinds() -> pd.DataFrame:
    """Count the first two rows by kind of work, in 10^9: the sums are those of :func:`three_rows`."""
    rows = {}
    for title, block in BLOCKS.items():
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            shapes_only(block)(*example_pair(SIZE, "meta"))
        row = dict.fromkeys(COLOURS, 0.0)
        for operator, count in counter.get_flop_counts()["Global"].items():
            kind = KINDS.get(str(operator).removeprefix("aten."))
            if kind:
                row[kind] += count / 2e9
        row["scan"] = operations(shapes_only(block)).scan
        rows[title] = row
    return pd.DataFrame(rows).T


@cache
def conventions() -> pd.DataFrame:
    """Count the first two rows as each usual tool would, 10^9, and say which is lower."""
    networks = {title: shapes_only(block) for title, block in BLOCKS.items()}
    table = pd.DataFrame({title: {name: counted(x, name) for name in CONVENTIONS} for title, x in networks.items()})
    return table.assign(lower=table.idxmin(axis=1))


def times_here() -> pd.DataFrame:
    """Return what ``results/bench`` holds on the first two rows: no rows where they have not been measured."""
    titles = {block: title for title, block in BLOCKS.items()}
    rows = [
        (titles[row["network"]], about["device"], row["threads"], row["side"], row["time"]["median_ms"] / 1e3)
        + (row["peak_mb"], about["code"])
        for suite, about, results in measured()
        if suite == "blocks"
        for row in results["inference"]
    ]
    return pd.DataFrame(rows, columns=TIMES).sort_values(["side", "network"], ignore_index=True)


@styled
def kinds_figure() -> Figure:
    """Draw the first two rows by kind of work; the printed scan row as a line."""
    table = kinds()
    figure = new_figure(8.4, 2.3)
    axes = figure.subplots()
    left = pd.Series(0.0, index=table.index)
    for kind, colour in COLOURS.items():
        axes.barh(table.index, table[kind], left=left, color=colour, label=kind, height=0.55)
        left += table[kind]
    for place, total in enumerate(left):
        axes.text(total + 4, place, f"{total:.1f}", va="center", fontsize=8, color=MUTED)
    axes.axvline(printed()[SCAN], color=MUTED, lw=0.9, ls=":", label="printed for the scans")
    axes.invert_yaxis()
    axes.set(xlabel=f"operations for one pair at {SIZE[0]}x{SIZE[1]} ($10^9$)", xlim=(0, 1.12 * left.max()))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def cost_verdict() -> str:
    """Say in three sentences what the transformer row counts, what becomes of the table, and what time says."""
    return f"{_formula_verdict()} {_order_verdict()} {time_verdict()}"


def _formula_verdict() -> str:
    maps, places = attention_maps(), SIZE[0] * SIZE[1]
    layer, channel = (count(maps)[maps["places"] == places].min() for count in (quadratic_g, channel_g))
    return (
        f"The printed {printed()[QUADRATIC]:,.0f} G are {printed()[QUADRATIC] / layer:.1f} attentions between all "
        f"{places:,} places, each of {layer:,.0f} G by the paper's formula and with {map_bytes(places) / 1e12:.1f} TB "
        f"of attention maps in single precision; Restormer, which the paper names, attends between channels, at "
        f"{2 * channel:.3f} G by the same unit."
    )


def _order_verdict() -> str:
    table, without = three_rows(), operations(shapes_only()).others
    scan, restormer = table["counted"][SCAN], table["counted"][RESTORMER]
    ratio = printed()[QUADRATIC] / printed()[SCAN]
    return (
        f"With Restormer's blocks as they are the network takes {restormer:.1f} G against {scan:.1f} G with scans, so "
        f"what is printed as {ratio:.0f} times more is {scan / restormer:.2f} times less; even if scanning itself were "
        f"free, {without:.1f} G would remain."
    )


def time_verdict() -> str:
    """Say in one sentence how long the processor works on each of the two networks here, at each size."""
    times = times_here()
    if times.empty:
        return "No time has been measured here: `make bench` does it."
    words = []
    for (side, threads), group in times.groupby(["side", "threads"]):
        seconds = group.set_index("network")["processor seconds"]
        words.append(
            f"{seconds[SCAN]:.1f} s with scans and {seconds[RESTORMER]:.1f} s with Restormer's blocks at "
            f"{side}x{side} on {threads} thread{'s' if threads > 1 else ''}"
        )
    return f"Time of the processor, measured here: {', '.join(words)}."
