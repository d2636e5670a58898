"""Knobs that choose a run, and what to look at in it: what the panels of all networks taken apart share."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import ipywidgets as widgets
from matplotlib.figure import Figure
from torch import nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_run import Run
from fusionkit.knobs import LATE, Knobs

KEPT_RUNS = 2


def run_panel(
    draw: Callable[..., tuple[str, Figure]],
    run_network: Callable[[nn.Module, Pair, str], Run],
    networks: Mapping[str, nn.Module],
    pairs: Sequence[Pair],
    channels: int | None = None,
    **knobs: widgets.ValueWidget,
) -> Knobs:
    """Return knobs for network, pair and channel, and those given between them.

    Args:
        draw: Gets the run and the values of all other knobs, the channel as ``rank``; returns words and a figure.
        run_network: Returns the run of a network on a pair, under a title.
        networks: By title.
        pairs: What to choose from.
        channels: How many there are to choose from; None for those of the finest level, ``config.dims[0]``.
        **knobs: What else to turn, by name.
    """

    @lru_cache(KEPT_RUNS)
    def run(title: str, pair: int) -> Run:
        return run_network(networks[title], pairs[pair], title)

    def answer(network: str, pair: int, **values: object) -> tuple[str, Figure]:
        return draw(run(network, pair), **values)

    channels = channels or next(iter(networks.values())).config.dims[0]
    return Knobs(
        answer,
        network=menu("network", [(title, title) for title in networks]),
        pair=menu("pair", [(pair.name, number) for number, pair in enumerate(pairs)]),
        **knobs,
        rank=slider("channel", 1, channels),
    )


def menu(name: str, options: Sequence[tuple[str, object]]) -> widgets.Dropdown:
    """Return a menu of values by their text."""
    return widgets.Dropdown(options=options, description=name, style=LATE["style"])


def slider(name: str, first: int, last: int) -> widgets.IntSlider:
    """Return a slider over whole numbers that stands on the first."""
    return widgets.IntSlider(first, min=first, max=last, description=name, **LATE)


def said(facts: Mapping[str, float]) -> str:
    """Return facts in one line."""
    return "; ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in facts.items())
