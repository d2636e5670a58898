"""What 16.50 and 26.48 GFLOPs count: FusionMamba's candidates under every convention, and a search over layouts."""

from collections.abc import Iterable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fusionkit import cost
from fusionkit.audits.fusionmamba_parts import SIZE, idle_verdict, shapes_only, work_verdict
from fusionkit.cost.probe import example_pair
from fusionkit.models.fusionmamba import configure
from fusionkit.models.fusionmamba.blocks import make_block
from fusionkit.models.resolution import PATCH
from fusionkit.papers import get_panel
from fusionkit.tables.cells import judge, printed_decimals

CONVENTIONS = ("thop", "fvcore", "macs", "true")
COUNTED = (*CONVENTIONS, "parameters")
RELEASES = {
    "the first public code": {"mode": "official", "fusion_mlp": True},
    "the present code": {"mode": "official", "fusion_mlp": False},
    "the paper's equations": {"mode": "paper", "fusion_mlp": False},
}
# Blocks per encoder stage: the code's default, two in each, and those of the code's CT-MRI weights.
DEPTHS = tuple(configure(size).depths for size in ("base", "table6", "ct_code"))
STAGES, MOST_BLOCKS = len(DEPTHS[0]), 9
# Where FusionMamba's operations are printed: panel and column.
PRINTED = {"fusionmamba/table6": "Flops (G)", "lightfusionnet/table1a": "FLOPS"}


def printed_counts() -> dict[str, str]:
    """Return FusionMamba's operation counts (10^9) as printed, by panel."""
    cells = {}
    for name, column in PRINTED.items():
        published = get_panel(name).published
        row = next(label for label in published.index if label.startswith("FusionMamba"))
        cells[name] = str(published.loc[row, column])
    return cells


def rebuilt() -> pd.DataFrame:
    """Count the candidates for the printed numbers: every release with the depths that its authors have used.

    Returns:
        One row per ``release`` and ``blocks`` (per encoder stage): 10^9 operations at 256x256 under every convention,
        and ``parameters`` in 10^9.
    """
    return pd.concat({release: layout_costs(release, np.array(DEPTHS)) for release in RELEASES}, names=["release"])


def layout_costs(release: str, blocks: np.ndarray) -> pd.DataFrame:
    """Count layouts of a release: the blocks of a stage all cost the same, so a layout's count is a sum.

    Args:
        release: A key of ``RELEASES``.
        blocks: Blocks per encoder stage, (layouts, stages); the decoder mirrors the encoder.

    Returns:
        Columns as in :func:`rebuilt`, one row per layout, by its ``blocks``.
    """
    options = RELEASES[release]
    counts = _one_block_each(**options) + (blocks - 1) @ _second_blocks(options["mode"])
    words = pd.Index([_words(row) for row in blocks], name="blocks")
    return pd.DataFrame(counts / 1e9, index=words, columns=list(COUNTED))


def matching_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return which counts round to a printed number.

    Args:
        table: Result of :func:`rebuilt`.
    """
    rows = [
        (panel, text, *where, convention, counted)
        for panel, text in printed_counts().items()
        for convention in CONVENTIONS
        for where, counted in table[convention].items()
        if judge(float(text), printed_decimals(text), counted) == "match"
    ]
    return pd.DataFrame(rows, columns=["printed in", "printed", "release", "blocks", "convention", "counted"])


def layout_search() -> pd.DataFrame:
    """Count every layout of one to ``MOST_BLOCKS`` blocks per stage and say how many give the printed numbers.

    Returns:
        One row per release and convention: ``layouts``, ``lowest`` and ``highest`` count (10^9), and per printed
        number how many layouts round to it.
    """
    rows = {}
    for release in RELEASES:
        costs = layout_costs(release, _all_layouts())
        for convention in CONVENTIONS:
            counts = costs[convention]
            hits = {text: int(_prints(counts, text).sum()) for text in printed_counts().values()}
            extremes = {"lowest": counts.min(), "highest": counts.max()}
            rows[release, convention] = {"layouts": len(counts), **extremes, **hits}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["release", "convention"])


def layouts_that_give(text: str, release: str) -> pd.DataFrame:
    """Return all layouts whose count by thop is printed so, with that count and the parameters, in 10^9.

    Args:
        text: The number as printed, 10^9.
        release: A key of ``RELEASES``.
    """
    costs = layout_costs(release, _all_layouts())[["thop", "parameters"]]
    return costs[_prints(costs["thop"], text)]


def direct_counts() -> pd.DataFrame:
    """Count the two networks that give the printed numbers as a whole, every digit: by thop, and parameters."""
    rows = {}
    for release, depths in (("the first public code", DEPTHS[1]), ("the present code", DEPTHS[0])):
        model = shapes_only(**RELEASES[release], depths=depths)
        rows[f"{release}, {_words(depths)}"] = (round(cost.gmacs(model, SIZE, "thop") * 1e9), cost.parameters(model))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["thop", "parameters"])


def cost_verdict() -> str:
    """Say in three sentences what the printed numbers count, what they miss, and how much of the network is idle."""
    return f"{_printed_verdict()} {work_verdict()} {idle_verdict()}"


def _printed_verdict() -> str:
    table, search = rebuilt(), layout_search()
    hits, tried = matching_cells(table), table[list(CONVENTIONS)].size
    ways = ", ".join(_way(hit) for hit in hits.itertuples())
    totals = {text: search[text].sum() for text in printed_counts().values()}
    found = " and ".join(f"{text} from {count}" for text, count in totals.items())
    return (
        f"Of {tried} combinations of release, blocks and convention {len(hits)} give a printed number: {ways}; all "
        f"{search['layouts'].sum()} with one to {MOST_BLOCKS} blocks per stage give {found}, so that these networks "
        "were counted is likely, but found by searching and not proven."
    )


def _way(hit: Any) -> str:
    return f"{hit.printed} G is {hit.convention} on {hit.release} with {hit.blocks} blocks ({hit.counted:.4f} G)"


@cache
def _one_block_each(mode: str, fusion_mlp: bool) -> np.ndarray:
    """Return what ``COUNTED`` names, as whole numbers, of a network with one block per stage."""
    model = shapes_only(mode=mode, fusion_mlp=fusion_mlp, depths=(1,) * STAGES)
    return np.array([*_operations(model, *example_pair(SIZE, "meta")), cost.parameters(model)])


@cache
def _second_blocks(mode: str) -> np.ndarray:
    """Return what a second block of each stage adds, (stages, counts).

    The encoder's block sees the maps of both images at once, the decoder's one map of the same size.
    """
    rows, config = [], configure("base", mode)
    for stage, channels in enumerate(config.dims):
        side = SIZE[0] // (PATCH * 2**stage)
        with torch.device("meta"):
            block = make_block(channels, config, drop=0.0, index=0).eval()
            encoder, decoder = (_operations(block, torch.empty(maps, side, side, channels)) for maps in (2, 1))
        rows.append([*(x + y for x, y in zip(encoder, decoder, strict=True)), 2 * cost.parameters(block)])
    return np.array(rows)


def _operations(module: nn.Module, *inputs: Tensor) -> list[int]:
    """Return the operations of one run under each of ``CONVENTIONS``."""
    with torch.no_grad():
        return [round(cost.CONVENTIONS[name].count(module, partial(module, *inputs))) for name in CONVENTIONS]


def _all_layouts() -> np.ndarray:
    return np.array(list(product(range(1, MOST_BLOCKS + 1), repeat=STAGES)))


def _prints(counts: pd.Series, text: str) -> pd.Series:
    """Return which counts are printed as ``text``."""
    return counts.map(f"{{:.{printed_decimals(text)}f}}".format) == text


def _words(blocks: Iterable[int]) -> str:
    return "-".join(map(str, blocks))
