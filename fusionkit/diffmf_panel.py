"""Knobs for pair, stage and channel around the pictures of DIFF-MF's parts (Figs. 2 and 3)."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets

from fusionkit.anatomy_panel import run_panel, said
from fusionkit.data import Pair
from fusionkit.figures.diffmf_anatomy import run_network
from fusionkit.figures.diffmf_anatomy_channel import channel_facts, channel_figure
from fusionkit.figures.diffmf_anatomy_network import guidance_facts, scales_figure, stages_figure
from fusionkit.knobs import LATE, Knobs
from fusionkit.models.diffmf import DiffMF

Networks = Mapping[str, DiffMF]


def stages_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair and channel over the stages.

    Args:
        networks: By title; with equal numbers of channels.
        pairs: What to choose from.
    """
    return run_panel(
        lambda run, rank: (said(guidance_facts(run)), stages_figure(run, rank)),
        run_network,
        networks,
        pairs,
        _channels(networks),
    )


def scales_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair and channel over the spatial exchange; arguments as in ``stages_panel``."""
    return run_panel(
        lambda run, rank: (run.title, scales_figure(run, rank)), run_network, networks, pairs, _channels(networks)
    )


def channel_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, weight of eq. 8 and channel over the reweighting.

    The weight is the same for all channels and stands beside what the network's own weights give. Arguments as in
    ``stages_panel``.
    """
    return run_panel(
        lambda run, weights, rank: (said(channel_facts(run)), channel_figure(run, rank, weights)),
        run_network,
        networks,
        pairs,
        _channels(networks),
        weights=widgets.FloatSlider(0.5, min=0, max=1, step=0.05, description="w instead", **LATE),
    )


def _channels(networks: Networks) -> int:
    return next(iter(networks.values())).config.channels
