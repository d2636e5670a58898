"""What DIFF-MF's features show of a pair (Figs. 1 and 8): means over channels, and how much detail they hold."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from fusionkit.data import Pair
from fusionkit.figures.anatomy_draw import draw_image, draw_maps, row_inches
from fusionkit.figures.anatomy_run import Maps, Run, channel_correlations
from fusionkit.figures.diffmf_anatomy import run_network, spatial_anatomy, stage_anatomy
from fusionkit.figures.style import new_figure, styled

DIFFERENCE, SPATIAL = "difference map D", "spatial exchange"
CHANNEL = {"infrared": "channel exchange, infrared", "visible": "channel exchange, visible"}


def mean_maps(run: Run) -> Maps:
    """Return the maps of Figure 8 for one run, each (1, H, W): means over the channels.

    Returns:
        ``DIFFERENCE`` of the last stage, both of ``CHANNEL`` (what goes into the spatial exchange), and ``SPATIAL``,
        what its scans give at full size.
    """
    spatial = spatial_anatomy(run, 1)
    found = {DIFFERENCE: stage_anatomy(run, run.model.config.stages)["D"]}
    found |= {title: spatial[name] for name, title in CHANNEL.items()}
    return {title: maps.mean(0, keepdims=True) for title, maps in (found | {SPATIAL: spatial["fused"]}).items()}


@styled
def maps_figure(runs: Sequence[Run]) -> Figure:
    """Draw the pair and the maps of Figure 8, a row per network.

    Args:
        runs: Runs of different networks on one pair.
    """
    columns = 2 + len(mean_maps(runs[0])) + 1
    figure = new_figure(1.75 * columns, len(runs) * row_inches(1.7, runs[0].fused.shape) + 0.2)
    for run, row in zip(runs, figure.subplots(len(runs), columns, squeeze=False), strict=True):
        for axes, image, title in zip(row, _images(run), ("infrared", "visible"), strict=False):
            draw_image(axes, image, title)
        draw_maps(row[2:-1], mean_maps(run), 0)
        draw_image(row[-1], run.fused, "fused")
        row[0].set_ylabel(run.title, fontsize=8)
    return figure


def _images(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return infrared and visible, (H, W)."""
    return run.pair.a[0].numpy(), run.pair.b[0].numpy()


def detail(maps: np.ndarray) -> float:
    """Return how much of maps (C, H, W) is fine: mean size of the differences between neighbours, over the deviation.

    Noise without any structure has 1.13 (two over the square root of pi), a smooth map little.
    """
    spread = maps.std((1, 2))
    steps = (np.abs(np.diff(maps, axis=axis)).mean((1, 2)) for axis in (1, 2))
    return float((sum(steps) / 2)[spread > 0].sum() / spread[spread > 0].sum()) if spread.any() else 0.0


def maps_facts(run: Run) -> dict[str, float]:
    """Return what Figure 8 is said to show, in numbers.

    Returns:
        ``D follows the images' difference``: correlation of the mean difference map with the absolute difference of
        the two images; ``detail`` of the features behind the channel exchange, per modality, and behind the spatial
        exchange; and how each of the latter follows ``infrared`` and ``visible``.
    """
    maps, (infrared, visible) = mean_maps(run), (_at(run, image) for image in _images(run))
    facts = {"D follows the images' difference": _alike(maps[DIFFERENCE], np.abs(infrared - visible))}
    spatial = spatial_anatomy(run, 1)
    facts |= {f"detail, {name}": detail(spatial[name]) for name in CHANNEL}
    facts["detail, spatial exchange"] = detail(spatial["fused"])
    return facts | {
        f"spatial exchange follows {name}": abs(_alike(maps[SPATIAL], image))
        for name, image in (("infrared", infrared), ("visible", visible))
    }


def _at(run: Run, image: np.ndarray) -> np.ndarray:
    """Return an image (H, W) at the places of the feature maps, (1, h, w)."""
    stride = run.model.config.stem_stride
    return image[None, ::stride, ::stride]


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.nan_to_num(channel_correlations(one, other))[0])


def maps_table(networks: Mapping[str, nn.Module], pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return :func:`maps_facts` of each network, by title, means over the pairs."""
    return pd.DataFrame(
        {
            title: pd.DataFrame([maps_facts(run_network(model, pair)) for pair in pairs]).mean()
            for title, model in networks.items()
        }
    )


def maps_verdict(table: pd.DataFrame) -> str:
    """Say what becomes of the statements about Figure 8.

    Args:
        table: Result of :func:`maps_table`; the network with scans first.
    """
    scan, other = table.columns[:2]
    facts = table[scan]
    finer = "infrared" if facts["detail, infrared"] > facts["detail, visible"] else "visible"
    kept = "more" if facts["detail, spatial exchange"] > table[other]["detail, spatial exchange"] else "less"
    return (
        f"{scan}: D follows the images' difference with correlation {facts.iloc[0]:.2f}; the {finer} branch holds more "
        f"detail behind the channel exchange ({facts['detail, infrared']:.3f} infrared, "
        f"{facts['detail, visible']:.3f} visible); behind the spatial exchange it holds {kept} detail than {other} "
        f"({facts['detail, spatial exchange']:.3f} and {table[other]['detail, spatial exchange']:.3f})."
    )
