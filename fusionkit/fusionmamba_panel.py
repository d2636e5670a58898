"""Knobs for pair, place and channel around the pictures of FusionMamba's parts (Figs. 2 to 5)."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets

from fusionkit.anatomy_panel import menu, run_panel, said, slider
from fusionkit.data import Pair
from fusionkit.figures.fusionmamba_anatomy import block_paths, dfem_anatomy, modalities, run_network
from fusionkit.figures.fusionmamba_anatomy_block import block_facts, block_figure
from fusionkit.figures.fusionmamba_anatomy_cmfm import cmfm_facts, cmfm_figure
from fusionkit.figures.fusionmamba_anatomy_dfem import dfem_figure, texture_facts
from fusionkit.figures.fusionmamba_anatomy_dffm import level_words, levels_figure
from fusionkit.knobs import Knobs
from fusionkit.models.fusionmamba import FusionMamba

Networks = Mapping[str, FusionMamba]


def block_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, block, modality and channel over one DVSS block.

    Args:
        networks: By title; with equal numbers of blocks.
        pairs: What to choose from.
    """
    names = [(name, image) for image, name in enumerate(modalities(pairs[0]))]
    return run_panel(
        lambda run, path, image, rank: (said(block_facts(run, path, image)), block_figure(run, path, image, rank)),
        run_network,
        networks,
        pairs,
        path=menu("block", [(path, path) for path in block_paths(next(iter(networks.values())))]),
        image=menu("in the encoder", names),
    )


def dffm_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair and channel over the features of all levels; arguments as in ``block_panel``."""
    return run_panel(
        lambda run, rank: (level_words(run.model, [run.pair]), levels_figure(run, rank)),
        run_network,
        networks,
        pairs,
    )


def dfem_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, level and channel over the DFEM; arguments as in ``block_panel``."""
    return run_panel(
        lambda run, level, rank: (said(texture_facts(dfem_anatomy(run, level))), dfem_figure(run, level, rank)),
        run_network,
        networks,
        pairs,
        level=_level(networks),
    )


def cmfm_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, level and channel over the CMFM; arguments as in ``block_panel``."""
    return run_panel(
        lambda run, level, rank: (said(cmfm_facts(run, level)), cmfm_figure(run, level, rank)),
        run_network,
        networks,
        pairs,
        level=_level(networks),
    )


def _level(networks: Networks) -> widgets.IntSlider:
    return slider("level", 0, len(next(iter(networks.values())).fusion) - 1)
