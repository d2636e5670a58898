"""Patch mark, Cross SS2D and recovering inside one CMSAB, beside the ordinary scan of each modality alone (Fig. 2)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.figures.anatomy_draw import draw_bars, draw_maps, row_inches
from fusionkit.figures.anatomy_run import Maps, Run, channel_correlations, telling_channels
from fusionkit.figures.s4fusion_anatomy import MODALITIES, block_anatomy
from fusionkit.figures.style import BLUE, GREEN, MUTED, ORANGE, new_figure, styled

COLOURS = dict(zip(MODALITIES, (ORANGE, BLUE), strict=True))
INSIDE = {
    "scanned": "scanned",
    "marked": "+ mark",
    "order1": "by rows",
    "order2": "by columns",
    "order3": "rows, back",
    "order4": "columns, back",
    "cross": "Cross SS2D",
    "plain": "SS2D, alone",
}
# Patches of the middle row whose places in the interleaved sequence are drawn.
STRETCH = 24
CHARTS_INCHES = 2.2


@styled
def scan_figure(run: Run, scale: int = 2, block: int = 1, rank: int = 1) -> Figure:
    """Draw what happens inside one CMSAB, a row per modality, then the mark, the steps and a stretch of the sequence.

    Args:
        run: A run.
        scale: From 1, the finest.
        block: From 1.
        rank: Which channel to show: 1 varies most over the image, 2 second most. It is one of the block's output and,
            inside, one of the infrared map that Cross SS2D gives.

    Raises:
        FusionkitError: As ``block_anatomy``.
    """
    maps = block_anatomy(run, scale, block)
    outer, inner = (int(telling_channels(maps[f"{key}_infrared"])[rank - 1]) for key in ("output", "cross"))
    upper = 2 * row_inches(1.25, run.fused.shape)
    figure = new_figure(13.5, upper + CHARTS_INCHES + 0.3)
    figure.suptitle(f"{run.title}: CMSAB {block} of scale {scale}, channel {outer}, inside {inner}")
    parts = figure.subfigures(2, 1, height_ratios=(upper, CHARTS_INCHES))
    for row, name in zip(parts[0].subplots(2, 10), MODALITIES, strict=True):
        draw_maps(row[:1], {"input": maps[f"input_{name}"]}, outer)
        draw_maps(row[1:9], {title: maps[f"{key}_{name}"] for key, title in INSIDE.items()}, inner)
        draw_maps(row[9:], {"added": maps[f"added_{name}"]}, outer)
        row[0].set_ylabel(name, fontsize=9)
    charts = parts[1].subplots(1, 5, width_ratios=(1, 1, 1, 2.6, 1.3))
    steps = {f"step, {name}": maps[f"step_{name}"] for name in MODALITIES}
    draw_maps(charts[:3], {"mark": maps["mark"], **steps}, inner)
    _sequence(charts[3], maps, inner)
    draw_bars(charts[4], _norms(maps), [GREEN, ORANGE, BLUE, ORANGE, BLUE], "{:.2f}")
    charts[4].set_title("norms, relative", fontsize=8.5)
    return figure


def sequence(maps: Maps, key: str, channel: int, order: int = 1) -> np.ndarray:
    """Return a stretch of the interleaved sequence by rows: infrared and visible in turn, from the middle row.

    Args:
        maps: Result of ``block_anatomy``.
        key: What to read, a name there without the modality; ``"order"`` is what the order answers.
        channel: Which channel.
        order: Which order's answers, where ``key`` is ``"order"``.
    """
    name = f"order{order}" if key == "order" else key
    both = [maps[f"{name}_{modality}"][channel] for modality in MODALITIES]
    row, start = both[0].shape[0] // 2, max(0, (both[0].shape[1] - STRETCH) // 2)
    return np.stack([x[row, start : start + STRETCH] for x in both], -1).ravel()


def _sequence(axes: Axes, maps: Maps, channel: int) -> None:
    """Draw what is read and what is answered along the stretch, infrared and visible places apart."""
    read, answered = sequence(maps, "marked", channel), sequence(maps, "order", channel)
    places = np.arange(len(read))
    axes.plot(places, answered, color=MUTED, lw=1, label="answer, by rows")
    for start, name in enumerate(MODALITIES):
        chosen = places[start::2]
        axes.plot(chosen, read[chosen], "o", ms=3.5, mfc="none", color=COLOURS[name], label=f"read, {name}")
        axes.plot(chosen, answered[chosen], "o", ms=3, color=COLOURS[name])
    axes.set(xlabel=f"places of the sequence, {len(read) // 2} patches of the middle row")
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


def _norms(maps: Maps) -> dict[str, float]:
    facts = _facts(maps)
    return {
        "mark / scanned": facts["mark"],
        "other modality, infrared": facts["other_infrared"],
        "other modality, visible": facts["other_visible"],
        "added / input, infrared": facts["added_infrared"],
        "added / input, visible": facts["added_visible"],
    }


def scan_facts(run: Run, scale: int, block: int) -> dict[str, float]:
    """Return what one CMSAB does on this pair.

    Returns:
        ``mark``: norm of the mark relative to the scanned maps; per modality ``other``: norm of what Cross SS2D gives
        beyond the plain scan of this modality alone, relative to what it gives; ``step``: mean step that the scan
        uses; ``added``: norm of the update relative to the input; correlation of both modalities as they are
        ``alike_scanned`` and as they leave Cross SS2D, ``alike_cross``.

    Raises:
        FusionkitError: As ``block_anatomy``.
    """
    return _facts(block_anatomy(run, scale, block))


def _facts(maps: Maps) -> dict[str, float]:
    both = np.concatenate([maps[f"scanned_{name}"] for name in MODALITIES])
    found = {"mark": 2**0.5 * float(np.linalg.norm(maps["mark"]) / np.linalg.norm(both))}
    for name in MODALITIES:
        cross, plain, added, entered = (maps[f"{key}_{name}"] for key in ("cross", "plain", "added", "input"))
        found[f"other_{name}"] = float(np.linalg.norm(cross - plain) / np.linalg.norm(cross))
        found[f"step_{name}"] = float(maps[f"step_{name}"].mean())
        found[f"added_{name}"] = float(np.linalg.norm(added) / np.linalg.norm(entered))
    for key in ("scanned", "cross"):
        found[f"alike_{key}"] = alike(*(maps[f"{key}_{name}"] for name in MODALITIES))
    return found


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Return how alike two stacks of maps (C, H, W) are over the places: the mean correlation of channels that vary."""
    return float(np.nanmean(channel_correlations(one, other)))


def scan_table(run: Run) -> pd.DataFrame:
    """Return :func:`scan_facts` of every block of every scale, one row each."""
    counts = run.model.config.fusion_blocks
    places = [(scale, block) for scale, blocks in enumerate(counts, start=1) for block in range(1, 1 + blocks)]
    rows = {f"scale {scale}, block {block}": scan_facts(run, scale, block) for scale, block in places}
    return pd.DataFrame.from_dict(rows, orient="index")


def scan_verdict(run: Run) -> str:
    """Say in one line what the mark and the other modality change at the scales that the decoder reads."""
    table = scan_table(run)
    read = table if run.model.config.use_scale1 else table[~table.index.str.startswith("scale 1,")]
    other = read[["other_infrared", "other_visible"]].mean()
    return (
        f"{run.title}, blocks that reach the decoder: the mark has {read['mark'].mean():.2f} times the norm of what it "
        f"is added to; mark and other modality make up {other.iloc[0]:.0%} of what Cross SS2D gives the infrared map "
        f"and {other.iloc[1]:.0%} of the visible one's"
    )
