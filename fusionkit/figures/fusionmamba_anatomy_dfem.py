"""The feature enhancement of FusionMamba: texture maps, shares, and what they do to differences (Fig. 4)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit
from torch import nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_draw import draw_bars, draw_maps, draw_sorted
from fusionkit.figures.anatomy_run import Maps, Run, telling_channels
from fusionkit.figures.fusionmamba_anatomy import dfem_anatomy, modalities, run_network
from fusionkit.figures.fusionmamba_anatomy_block import neighbour_similarity
from fusionkit.figures.style import BLUE, GREEN, MUTED, ORANGE, RED, new_figure, styled

OTHER = {"texture": "features", "features": "texture"}
FORMULAS = {"texture": "T2 - T1", "features": "F1 - F2"}


@styled
def dfem_figure(run: Run, level: int = 0, rank: int = 1) -> Figure:
    """Draw the maps of both DFEMs of a level, their shares, and the sizes of what they add up.

    Args:
        run: A run.
        level: From 0, the finest.
        rank: Which channel of D1 to show: 1 varies most over the image, 2 second most.

    Raises:
        FusionkitError: As ``dfem_anatomy``.
    """
    maps = dfem_anatomy(run, level)
    channel = int(telling_channels(maps["D1"])[rank - 1])
    figure = new_figure(10.5, 7.4)
    figure.suptitle(f"{run.title}: DFEM of level {level}, channel {channel}")
    parts = figure.subfigures(2, 1, height_ratios=(1.9, 1))
    for row, i, name in zip(parts[0].subplots(2, 5), "12", modalities(run.pair), strict=True):
        titles = {
            f"F{i}, {name}": maps[f"F{i}"],
            f"T{i} = LDC{i}(F{i})": maps[f"T{i}"],
            "F1 + F2": maps["both"],
            f"its share {i}, {maps[f'share{i}'][channel]:.3f} of it": _shared(maps, i),
            f"D{i}, the sum": maps[f"D{i}"],
        }
        draw_maps(row, titles, channel)
    _charts(parts[1].subplots(1, 3), run, maps)
    parts[1].legend(loc="outside lower left", ncols=3)
    return figure


def _shared(maps: Maps, i: str) -> np.ndarray:
    return maps["both"] * maps[f"share{i}"][:, None, None]


def _charts(row: np.ndarray, run: Run, maps: Maps) -> None:
    used = run.model.config.difference
    by, other = "share 1", f"share 1 of {FORMULAS[OTHER[used]]}"
    shares = {
        by: (maps["share1"], BLUE),
        "share 2": (maps["share2"], RED),
        other: (maps[f"share_{OTHER[used]}"], MUTED),
    }
    draw_sorted(row[0], shares, by)
    row[0].set_title(f"shares per channel, from {FORMULAS[used]}", fontsize=8.5)
    kinds = {"F{}": "F", "T{}": "T", "share {}": "shared"}
    sizes = {
        title.format(i): np.linalg.norm(_shared(maps, i) if name == "shared" else maps[name + i])
        for i in "12"
        for title, name in kinds.items()
    }
    draw_bars(row[1], sizes, [GREEN, ORANGE, BLUE] * 2, "{:.0f}")
    row[1].set_title("norm of the parts of D1 and D2", fontsize=8.5)
    apart = {f"{name}1, {name}2": relative_difference(maps[f"{name}1"], maps[f"{name}2"]) for name in "FTD"}
    draw_bars(row[2], apart, [GREEN, ORANGE, BLUE], "{:.2f}")
    row[2].set_title("|difference| / (|one| + |other|)", fontsize=8.5)


def relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the norm of the difference of two maps relative to the sum of their norms.

    0 for equal maps, 0.71 for unrelated ones of equal norm, 1 for opposite ones.
    """
    return float(np.linalg.norm(one - other) / (np.linalg.norm(one) + np.linalg.norm(other)))


def opposite_shares(maps: Maps) -> float:
    """Return how far, at most, a share and the share of the opposite difference are from adding up to 1.

    Args:
        maps: Result of ``dfem_anatomy``; both differences are looked at.
    """
    ways = (("share_texture", "T1", "T2"), ("share_features", "F2", "F1"))
    opposite = {share: expit((maps[one] - maps[other]).mean((1, 2))) for share, one, other in ways}
    return max(float(np.abs(maps[share] + found - 1).max()) for share, found in opposite.items())


def sum_without_shares(maps: Maps) -> float:
    """Return how far, at most and relative to it, D1 + D2 is from 2 (F1 + F2) + T1 + T2, which has no shares in it."""
    plain = 2 * maps["both"] + maps["T1"] + maps["T2"]
    return float(np.abs(maps["D1"] + maps["D2"] - plain).max() / np.abs(plain).max())


def dfem_table(model: nn.Module, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return what the DFEMs of each level do on several pairs.

    Args:
        model: A network whose fusion modules have DFEM and CMFM.
        pairs: Loaded pairs.

    Returns:
        Per level: ``lowest`` and ``highest`` first share; its standard deviation ``over_channels`` (mean of the
        pairs) and ``over_pairs`` (mean of the channels); largest ``opposite`` (:func:`opposite_shares`) and ``sum``
        (:func:`sum_without_shares`); then the means over pairs of :func:`texture_facts`.
    """
    taken_apart = [_all_levels(run_network(model, pair)) for pair in pairs]
    rows = {f"level {level}": _over_pairs(found) for level, found in enumerate(zip(*taken_apart, strict=True))}
    return pd.DataFrame.from_dict(rows, orient="index")


def _all_levels(run: Run) -> list[Maps]:
    return [dfem_anatomy(run, level) for level in range(len(run.model.fusion))]


def _over_pairs(found: Sequence[Maps]) -> dict[str, float]:
    shares = np.stack([maps["share1"] for maps in found])
    return {
        "lowest": shares.min(),
        "highest": shares.max(),
        "over_channels": shares.std(1).mean(),
        "over_pairs": shares.std(0).mean(),
        "opposite": max(map(opposite_shares, found)),
        "sum": max(map(sum_without_shares, found)),
        **pd.DataFrame([texture_facts(maps) for maps in found]).mean(),
    }


def texture_facts(maps: Maps) -> dict[str, float]:
    """Return how large and how rough the texture maps are, and how far apart the modalities before and after.

    Args:
        maps: Result of ``dfem_anatomy``.

    Returns:
        Means over the modalities: ``texture`` (norm of T relative to F), neighbour similarity ``alike_F`` and
        ``alike_T``; and the relative difference of ``F1, F2`` and of ``D1, D2``.
    """
    sizes = [np.linalg.norm(maps[f"T{i}"]) / np.linalg.norm(maps[f"F{i}"]) for i in "12"]
    alike = {f"alike_{name}": np.mean([neighbour_similarity(maps[f"{name}{i}"]) for i in "12"]) for name in "FT"}
    apart = {f"{name}1, {name}2": relative_difference(maps[f"{name}1"], maps[f"{name}2"]) for name in "FD"}
    return {"texture": float(np.mean(sizes))} | alike | apart


def dfem_words(model: nn.Module, pairs: Sequence[Pair]) -> str:
    """Return in words what :func:`dfem_table` says, finest level first."""
    table = dfem_table(model, pairs)
    levels = len(table)
    rougher, apart = (table["alike_T"] < table["alike_F"]).sum(), (table["D1, D2"] > table["F1, F2"]).sum()
    return "\n".join(
        [
            f"first share: {_pairs(table, 'lowest', 'highest', 3)}",
            f"its standard deviation over the channels: {_list(table['over_channels'])}; over {len(pairs)} pairs: "
            f"{_list(table['over_pairs'])}",
            f"a share and that of the opposite difference add up to 1 within {table['opposite'].max():.0e} for T and F",
            f"D1 + D2 is 2 (F1 + F2) + T1 + T2, whatever the shares, within {table['sum'].max():.0e} of its maximum",
            f"norm of T relative to F: {_list(table['texture'])}; correlation of neighbouring places in F and T: "
            f"{_pairs(table, 'alike_F', 'alike_T')}; T is rougher at {rougher} of {levels} levels",
            f"norm of the modalities' difference relative to the sum of their norms, from F to D: "
            f"{_pairs(table, 'F1, F2', 'D1, D2')}; it grows at {apart} of {levels} levels",
        ]
    )


def _list(values: pd.Series) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _pairs(table: pd.DataFrame, one: str, other: str, digits: int = 2) -> str:
    return ", ".join(f"{a:.{digits}f} to {b:.{digits}f}" for a, b in zip(table[one], table[other], strict=True))
