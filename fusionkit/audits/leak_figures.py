"""Pictures of the overlap between training and test images, and of its effect on measured values."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from fusionkit.audits.columns import RUNS
from fusionkit.audits.leaks import GROUPS, Overlap
from fusionkit.data import Pair, load_pair
from fusionkit.data.colour import ycbcr_to_rgb
from fusionkit.data.registry import split_names
from fusionkit.figures.overlap import OverlapRow, overlap_gallery, overlap_rows
from fusionkit.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, RED, new_figure, styled

COLOURS = {"all": INK, "pair": RED, "functional_only": ORANGE, "structural_only": ORANGE, "listed": RED, "no": GREEN}


def gallery(found: Overlap) -> Figure:
    """Show test images beside their nearest training images: one or two of each group; else a planted example."""
    if not found.compared:
        return overlap_gallery(planted_rows(), title="Phantoms with a planted copy: how a new export looks")
    each = 2 if len(found.groups) == 1 else 1
    names = [name for group in found.groups.values() for name in group[len(group) // 2 :][:each]]
    words = ", ".join(f"{len(group)} {GROUPS[key]}" for key, group in found.groups.items())
    rows = overlap_rows(found.dataset, found.table, names)
    return overlap_gallery(rows, title=f"{RUNS[found.dataset][0]}: {words}")


@styled
def leak_chart(effects: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the change by the leak in percent, per column and group of pairs; grey: change between seeds.

    Args:
        effects: Result of ``leak_effects`` by title; empty ones are left out.
    """
    shown = {title: table for title, table in effects.items() if not table.empty}
    if not shown:
        figure = new_figure(6.0, 0.8)
        figure.text(0.5, 0.5, "Nothing to draw: no pair of networks is measured yet.", ha="center", va="center")
        return figure
    columns = list(dict.fromkeys(c for table in shown.values() for c in table["column"]))
    figure = new_figure(5.4 * len(shown), 0.42 * len(columns) + 1.4)
    row = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (title, table) in zip(row, shown.items(), strict=True):
        groups = list(table["group"].unique())
        for k, group in enumerate(groups):
            part = table[table["group"] == group]
            y = np.array([columns.index(c) for c in part["column"]]) + (k - (len(groups) - 1) / 2) * 0.17
            words = GROUPS.get(group, "all pairs")
            axes.hlines(y, part["percent_low"], part["percent_high"], color=COLOURS[group], lw=1.6)
            axes.scatter(part["percent"], y, s=18, color=COLOURS[group], label=f"{words} ({part['pairs'].iloc[0]})")
        whole = table[table["group"] == "all"].dropna(subset=["seeds_percent"])
        at = [columns.index(c) for c in whole["column"]]
        axes.barh(at, 2 * whole["seeds_percent"], left=-whole["seeds_percent"], height=0.8, color=FAINT, zorder=0)
        axes.axvline(0, color=BLUE, lw=0.8)
        axes.set(title=title, xlabel="change by the leak, % of the leak-free mean")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    row[0].set_yticks(range(len(columns)), columns)
    row[0].invert_yaxis()
    return figure


def planted_rows() -> list[OverlapRow]:
    """Return a phantom pair beside a new export of itself (rounded, a little darker) and beside another phantom."""
    test, other = (load_pair("phantom_pet_mri", "train", name) for name in split_names("phantom_pet_mri", "train")[:2])
    rows = []
    for words, source in ((" again", test), ("", other)):
        for modality, mine, its in (("PET", _colour(test), _colour(source)), ("MRI", test.b, source.b)):
            export = torch.round(its * 250) / 255 if source is test else its
            r = float(np.corrcoef(mine.mean(0).flatten(), export.mean(0).flatten())[0, 1])
            rows.append(OverlapRow(modality, test.name, f"{source.name}{words}", mine, export, r))
    return rows


def _colour(pair: Pair) -> torch.Tensor:
    return ycbcr_to_rgb(pair.a, pair.chroma)
