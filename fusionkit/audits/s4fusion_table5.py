"""S4Fusion's Table 5 by the procedure that its authors' code ran, for trained networks and for untrained ones.

The entries are no step sizes and no averages over blocks, as the text says: per scale the projections before bias and
softplus are averaged over images, orders, channels and places, and summed over the three blocks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.audits.s4fusion_steps import DATASET, SPLIT, load_steps, untrained
from fusionkit.figures.style import BLUE, FAINT, GREEN, MUTED, ORANGE, PURPLE, RED, new_figure, styled
from fusionkit.papers import get_panel

PANEL = "s4fusion/table5"
MODALITIES = ("infrared", "visible")
PRINTED = dict(zip(("delta_I", "delta_V"), MODALITIES, strict=True))
SUM, PER_BLOCK, STEP = "raw sum", "raw, per block", "step used"
# Pairs of MSRS in the paper.
PAPER_PAIRS = 361
LINEAR = 0.01
CYCLE = (BLUE, GREEN, PURPLE, ORANGE)


def printed() -> pd.DataFrame:
    """Return Table 5 as printed, one row per layer, one column per modality, as numbers."""
    return get_panel(PANEL).published.rename(columns=PRINTED).rename_axis("layer").astype(float)


def layer_statistics(values: pd.DataFrame) -> pd.DataFrame:
    """Return what Table 5 prints, and what it says it prints, of the steps of a network.

    Args:
        values: Steps per pair, as ``s4fusion_steps`` keeps them.

    Returns:
        One row per layer (scale); columns by statistic and modality: ``raw sum`` over the blocks (the procedure of the
        authors' code), the mean ``raw, per block``, and the mean ``step used``, after bias and softplus.
    """
    means = values.mean()
    layers = sorted({name.partition(".")[0] for name in means.index})
    rows = {}
    for layer in layers:
        of_layer = means[means.index.str.startswith(f"{layer}.")]
        raw = [of_layer[of_layer.index.str.endswith(f".raw_{name}")] for name in MODALITIES]
        used = [of_layer[of_layer.index.str.endswith(f".{name}")] for name in MODALITIES]
        rows[layer.replace("scale", "Layer")] = [
            *(blocks.sum() for blocks in raw),
            *(blocks.mean() for blocks in raw),
            *(blocks.mean() for blocks in used),
        ]
    columns = pd.MultiIndex.from_product([(SUM, PER_BLOCK, STEP), MODALITIES])
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("layer")


def table5(networks: Mapping[str, str]) -> pd.DataFrame:
    """Return Table 5, printed beside measured.

    Args:
        networks: Id by title; those without steps on file are left out.

    Returns:
        Rows by network and layer, ``printed`` first; columns as in :func:`layer_statistics`.
    """
    found = {title: layer_statistics(kept.values) for title, id_ in networks.items() if (kept := load_steps(id_))}
    return pd.concat({"printed": pd.concat({SUM: printed()}, axis=1), **found}, names=["network"])


def untrained_sums(size: str) -> pd.DataFrame:
    """Return the raw sums of the untrained networks of a size that are on file, by seed and layer."""
    kept = [measured for method in untrained(size) if (measured := load_steps(method))]
    if not kept:
        return pd.DataFrame(columns=list(MODALITIES), index=pd.MultiIndex.from_tuples([], names=["seed", "layer"]))
    sums = {int(each.method.rpartition("-")[2]): layer_statistics(each.values)[SUM] for each in kept}
    return pd.concat(sums, names=["seed"])


def untrained_table(size: str) -> pd.DataFrame:
    """Return, per layer and modality, the raw sums of untrained networks and the printed value beside them.

    Returns:
        ``seeds``, their ``lowest`` and ``highest`` sum and standard ``deviation`` (around 0, which is what it is drawn
        around), the ``printed`` value, and the latter in ``deviations``.
    """
    sums, published = untrained_sums(size), printed()
    rows = {}
    for layer in published.index if len(sums) else ():
        for name in MODALITIES:
            found, value = sums.xs(layer, level="layer")[name], published.loc[layer, name]
            spread = float(np.sqrt((found**2).mean()))
            rows[layer, name] = [len(found), found.min(), found.max(), spread, value, abs(value) / spread]
    columns = ["seeds", "lowest", "highest", "deviation", "printed", "deviations"]
    index = pd.MultiIndex.from_tuples(rows, names=["layer", "modality"])
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


@styled
def sums_figure(networks: Mapping[str, str], size: str = "base") -> Figure:
    """Draw the raw sums of every layer: untrained networks in grey, the printed ones, and trained networks.

    The axis is linear between -0.01 and 0.01 and logarithmic beyond.

    Args:
        networks: Id by title, at most four; those without steps on file are left out.
        size: Of the untrained networks.
    """
    figure = new_figure(8.6, 3.6)
    sums, measured = untrained_sums(size), table5(networks)[SUM]
    for axes, name in zip(figure.subplots(1, 2, sharex=True, sharey=True), MODALITIES, strict=True):
        axes.axvspan(-LINEAR, LINEAR, color=FAINT, alpha=0.4, lw=0)
        axes.plot(sums[name], _places(sums) + 0.3, "o", color=MUTED, ms=4, mfc="none", label=f"untrained, {size}")
        for shift, (title, colour) in enumerate(zip(measured.index.unique("network"), (RED, *CYCLE), strict=False)):
            rows = measured.xs(title, level="network")
            axes.plot(rows[name], np.arange(len(rows)) + 0.15 - 0.12 * shift, "D", color=colour, ms=5, label=title)
        _finish(axes, name, list(measured.loc["printed"].index))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _places(sums: pd.DataFrame) -> np.ndarray:
    return sums.index.get_level_values("layer").str.removeprefix("Layer").astype(int).to_numpy() - 1.0


def _finish(axes: Axes, name: str, layers: Sequence[str]) -> None:
    axes.axvline(0, color=MUTED, lw=0.7)
    axes.set(title=name, xlabel="raw sum over the blocks")
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_xticks([-10, -1, -0.1, -LINEAR, 0, LINEAR], ["-10", "-1", "-0.1", "", "0", ""])
    axes.set_yticks(range(len(layers)), layers)
    axes.set_ylim(len(layers) - 0.4, -0.6)


def table5_verdict(title: str, method: str) -> str:
    """Say in one line which of the paper's readings of Table 5 hold in print and for a network of ours.

    Args:
        title: What to call the network.
        method: Its id.
    """
    texts = [f"printed: {_readings(printed())}"]
    kept = load_steps(method)
    if kept is None:
        return f"{texts[0]}; {title}: nothing measured yet"
    found = layer_statistics(kept.values)
    used = found[STEP]
    larger = int((used["infrared"] > used["visible"]).sum())
    texts.append(f"{title} ({len(kept.values)} of {PAPER_PAIRS} pairs of {DATASET}/{SPLIT}): {_readings(found[SUM])}")
    texts.append(f"its steps after softplus: infrared above visible at {larger} of {len(used)} layers")
    return "; ".join(texts)


def _readings(sums: pd.DataFrame) -> str:
    larger, falls = int((sums["infrared"] > sums["visible"]).sum()), (sums.diff().dropna() < 0).all()
    falling = " and ".join(name for name in MODALITIES if falls[name]) or "neither modality"
    return f"infrared above visible at {larger} of {len(sums)} layers, falling with depth: {falling}"
