"""Knobs around the pictures of S4Fusion's parts (Figs. 2, 3 and 5)."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets

from fusionkit.anatomy_panel import run_panel, said, slider
from fusionkit.data import Pair
from fusionkit.figures.s4fusion_anatomy import run_network
from fusionkit.figures.s4fusion_anatomy_cmsa import cmsa_table, cmsa_words, features_figure
from fusionkit.figures.s4fusion_anatomy_interleaving import interleaving_figure, step_words
from fusionkit.figures.s4fusion_anatomy_scan import scan_facts, scan_figure
from fusionkit.knobs import Knobs
from fusionkit.models.s4fusion import S4Fusion

Networks = Mapping[str, S4Fusion]
MILLISECONDS = 400


def scan_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, scale, block and channel over one CMSAB.

    Args:
        networks: By title; with equal numbers of scales and blocks.
        pairs: What to choose from.
    """
    counts = next(iter(networks.values())).config.fusion_blocks
    return run_panel(
        lambda run, scale, block, rank: (said(scan_facts(run, scale, block)), scan_figure(run, scale, block, rank)),
        run_network,
        networks,
        pairs,
        scale=slider("scale", 1, len(counts)),
        block=slider("block", 1, max(counts)),
    )


def features_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair and channel over the features of all scales; arguments as in ``scan_panel``."""
    return run_panel(
        lambda run, rank: (cmsa_words(cmsa_table(run.model, [run.pair])), features_figure(run, rank)),
        run_network,
        networks,
        pairs,
    )


def interleaving_panel(height: int = 3, width: int = 4) -> Knobs:
    """Return a play button and a slider over the steps of the four interleaved orders.

    Args:
        height: Rows of patches.
        width: Columns of patches.
    """
    steps = slider("step", 1, 2 * height * width)
    play = widgets.Play(value=1, min=1, max=steps.max, interval=MILLISECONDS)
    widgets.link((play, "value"), (steps, "value"))
    panel = Knobs(
        lambda step: (step_words(height, width, step), interleaving_figure(height, width, step)),
        step=steps,
    )
    panel.box.children = (play, *panel.box.children)
    return panel
