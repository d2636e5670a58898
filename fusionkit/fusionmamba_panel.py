"""Knobs for pair, place and channel around the pictures of FusionMamba's parts (Figs. 2 to 5)."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import ipywidgets as widgets
from matplotlib.figure import Figure

from fusionkit.data import Pair
from fusionkit.figures.fusionmamba_anatomy import Run, block_paths, dfem_anatomy, modalities, run_network
from fusionkit.figures.fusionmamba_anatomy_block import block_facts, block_figure
from fusionkit.figures.fusionmamba_anatomy_cmfm import cmfm_facts, cmfm_figure
from fusionkit.figures.fusionmamba_anatomy_dfem import dfem_figure, texture_facts
from fusionkit.figures.fusionmamba_anatomy_dffm import level_words, levels_figure
from fusionkit.knobs import LATE, Knobs
from fusionkit.models.fusionmamba import FusionMamba

Networks = Mapping[str, FusionMamba]
KEPT_RUNS = 2


def block_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, block, modality and channel over one DVSS block.

    Args:
        networks: By title; with equal numbers of blocks.
        pairs: What to choose from.
    """
    names = [(name, image) for image, name in enumerate(modalities(pairs[0]))]
    return _panel(
        lambda run, path, image, rank: (_said(block_facts(run, path, image)), block_figure(run, path, image, rank)),
        networks,
        pairs,
        path=_menu("block", [(path, path) for path in block_paths(next(iter(networks.values())))]),
        image=_menu("in the encoder", names),
    )


def dffm_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair and channel over the features of all levels; arguments as in ``block_panel``."""
    return _panel(
        lambda run, rank: (level_words(run.model, [run.pair]), levels_figure(run, rank)),
        networks,
        pairs,
    )


def dfem_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, level and channel over the DFEM; arguments as in ``block_panel``."""
    return _panel(
        lambda run, level, rank: (_said(texture_facts(dfem_anatomy(run, level))), dfem_figure(run, level, rank)),
        networks,
        pairs,
        level=_level(networks),
    )


def cmfm_panel(networks: Networks, pairs: Sequence[Pair]) -> Knobs:
    """Return knobs for network, pair, level and channel over the CMFM; arguments as in ``block_panel``."""
    return _panel(
        lambda run, level, rank: (_said(cmfm_facts(run, level)), cmfm_figure(run, level, rank)),
        networks,
        pairs,
        level=_level(networks),
    )


def _panel(
    draw: Callable[..., tuple[str, Figure]],
    networks: Networks,
    pairs: Sequence[Pair],
    **knobs: widgets.ValueWidget,
) -> Knobs:
    """Return knobs that choose the run, besides those given; ``draw`` gets the run and the values of the others."""

    @lru_cache(KEPT_RUNS)
    def run(title: str, pair: int) -> Run:
        return run_network(networks[title], pairs[pair], title)

    def answer(network: str, pair: int, **values: object) -> tuple[str, Figure]:
        return draw(run(network, pair), **values)

    channels = next(iter(networks.values())).config.dims[0]
    return Knobs(
        answer,
        network=_menu("network", [(title, title) for title in networks]),
        pair=_menu("pair", [(pair.name, number) for number, pair in enumerate(pairs)]),
        **knobs,
        rank=widgets.IntSlider(1, min=1, max=channels, description="channel", **LATE),
    )


def _level(networks: Networks) -> widgets.IntSlider:
    last = len(next(iter(networks.values())).fusion) - 1
    return widgets.IntSlider(0, min=0, max=last, description="level", **LATE)


def _menu(name: str, options: Sequence[tuple[str, object]]) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, description=name, style=LATE["style"])


def _said(facts: Mapping[str, float]) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in facts.items())
