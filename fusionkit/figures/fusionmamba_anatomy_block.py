"""One DVSS block of FusionMamba on one pair: its maps, its two summands, its attention and its convolution (Fig. 2)."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F  # noqa: N812

from fusionkit.figures.anatomy_draw import draw_bars, draw_maps, draw_sorted
from fusionkit.figures.anatomy_run import Maps, Run, channel_correlations, telling_channels
from fusionkit.figures.fusionmamba_anatomy import block_anatomy, block_paths, block_summands, modalities
from fusionkit.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, bare, new_figure, styled
from fusionkit.models.fusionmamba.convolution import DescriptiveConvolution

INSIDE = {
    "value": "value, convolved",
    "scanned": "scanned",
    "quarters": "its four quarters",
    "scan_normed": "norm",
    "gate": "gate",
    "gated": "norm x gate",
}
PAPER = {
    "input": "input x",
    "normed": "norm of x",
    "far": "ESSM",
    "far_normed": "norm of ESSM",
    "kept": "ECA",
    "near": "LDC",
    "output": "output",
}
CODE = {
    "input": "input x",
    "far": "g = ESSM",
    "kept": "ECA of g",
    "near": "LDC",
    "far_scaled": "SE of g",
    "near_scaled": "SE of LDC",
    "mlp": "MLP",
    "output": "output",
}
ALIKE = {"input": "input", "scanned": "scanned map", "near": "LDC", "output": "output"}
WORDS = {
    "kept": "ECA",
    "near": "LDC",
    "input": "the input",
    "far_scaled": "SE of the ESSM",
    "near_scaled": "SE of the LDC",
    "mlp": "MLP",
}
NEIGHBOURS = {
    "input": "input",
    "value": "before the scan",
    "scanned": "scanned",
    "far": "ESSM",
    "near": "LDC",
    "output": "output",
}


@styled
def block_figure(run: Run, path: str, image: int = 0, rank: int = 1) -> Figure:
    """Draw a block's maps, those of the scan inside it, and what its attention and convolution do.

    Args:
        run: A run.
        path: One of ``block_paths``.
        image: As in ``block_anatomy``.
        rank: Which channel of the output to show: 1 varies most over the image, 2 second most.

    Raises:
        FusionkitError: As ``block_anatomy``.
    """
    maps = block_anatomy(run, path, image)
    maps["quarters"] = quarters(maps["scanned"])
    outside = CODE if "mlp" in maps else PAPER
    channel, inner = (int(telling_channels(maps[name])[rank - 1]) for name in ("output", "scanned"))
    figure = new_figure(1.5 * len(outside) + 0.6, 6.6)
    figure.suptitle(f"{run.title}: {path}, {where(run, path, image)}, channel {channel}, inside the ESSM {inner}")
    parts = figure.subfigures(3, 1, height_ratios=(1.1, 1.1, 1.15))
    rows = [part.subplots(1, len(outside)) for part in parts[:2]]
    draw_maps(rows[0], {title: maps[name] for name, title in outside.items()}, channel)
    draw_maps(rows[1], {title: maps[name] for name, title in INSIDE.items()}, inner)
    _charts(parts[2].subplots(1, 5, width_ratios=(1.3, 0.8, 0.8, 1.2, 1.3)), run, path, maps)
    return figure


def where(run: Run, path: str, image: int) -> str:
    """Return which features a block has before it, in words."""
    return modalities(run.pair)[image] if path.startswith("encoder") else "fused features"


def _charts(row: np.ndarray, run: Run, path: str, maps: Maps) -> None:
    draw_sorted(row[0], {"weight": (maps["weights"], BLUE)}, "weight")
    row[0].set_title("ECA: weight of each channel", fontsize=8.5)
    ldc = run.model.get_submodule(f"{path}.ldc")
    factors = centre_factors(ldc)
    _kernels(row[1:3], ldc)
    row[3].hist(factors.ravel(), bins=60, color=ORANGE, log=True)
    row[3].axvline(1, color=MUTED, lw=0.8, ls=":")
    row[3].set(xlabel="1: a plain convolution", ylabel="kernels")
    row[3].set_title("LDC: factors on all centres", fontsize=8.5)
    alike = {title: neighbour_similarity(maps[name]) for name, title in NEIGHBOURS.items()}
    draw_bars(row[4], alike, [MUTED, GREEN, GREEN, GREEN, ORANGE, MUTED], "{:.2f}")
    row[4].set_title("correlation of neighbouring places", fontsize=8.5)


@torch.inference_mode()
def _kernels(row: np.ndarray, ldc: DescriptiveConvolution) -> None:
    """Draw the kernel whose centre changes most, before and after."""
    raw, used = ldc.conv.weight, ldc.kernel()
    changed = int((used - raw).abs().amax((2, 3)).argmax())
    raw, used = raw.flatten(0, 1)[changed].numpy(), used.flatten(0, 1)[changed].numpy()
    top = max(np.abs(raw).max(), np.abs(used).max())
    for axes, title, kernel in zip(row, ("learnt", "applied"), (raw, used), strict=True):
        bare(axes).imshow(kernel, cmap="RdBu_r", vmin=-top, vmax=top)
        axes.set_title(f"LDC, most changed\nkernel: {title}", fontsize=8.5)
        for (i, j), value in np.ndenumerate(kernel):
            ink = "white" if abs(value) > 0.6 * top else INK
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)


def quarters(maps: np.ndarray) -> np.ndarray:
    """Return maps (C, H, W) with the four interleaved quarters that ES2D scans laid side by side; even sizes only."""
    even = maps[:, : maps.shape[1] // 2 * 2, : maps.shape[2] // 2 * 2]
    return np.block([[even[:, i::2, j::2] for j in (0, 1)] for i in (0, 1)])


def quarter_share(maps: np.ndarray) -> float:
    """Return which share of the variance over places, 0 to 1, is between the means of ES2D's four quarters.

    Args:
        maps: (C, H, W). The shares of all channels are averaged with their variances as weights.
    """
    means = np.stack([maps[:, i::2, j::2].mean((1, 2)) for i in (0, 1) for j in (0, 1)])
    return float(means.var(0).sum() / maps.var((1, 2)).sum())


def neighbour_similarity(maps: np.ndarray) -> float:
    """Return the mean correlation of places with the place to the right and below, over channels that vary.

    Args:
        maps: (C, H, W).
    """
    pairs = ((maps[:, :, :-1], maps[:, :, 1:]), (maps[:, :-1], maps[:, 1:]))
    return float(np.nanmean([channel_correlations(*each) for each in pairs]))


@torch.inference_mode()
def centre_factors(ldc: DescriptiveConvolution) -> np.ndarray:
    """Return by what an LDC multiplies the centre of each kernel, (outputs, inputs); 1 changes nothing."""
    centre = ldc.conv.weight[:, :, 1, 1]
    return (ldc.kernel()[:, :, 1, 1] / centre).numpy()


@torch.inference_mode()
def convolution_change(run: Run, path: str) -> float:
    """Return how far an LDC's output is from that of its own kernels without the change, relative to the latter."""
    ldc: DescriptiveConvolution = run.model.get_submodule(path)
    plain = F.conv2d(run.inputs(path)[0], ldc.conv.weight, padding=1)
    return float((run.output(path) - plain).norm() / plain.norm())


def block_facts(run: Run, path: str, image: int = 0) -> dict[str, float]:
    """Return what the parts of a DVSS block do on this pair.

    Args:
        run: A run.
        path: One of ``block_paths``.
        image: As in ``block_anatomy``.

    Returns:
        ``theta``, ``centre`` (mean change of the centre taps, relative) and ``stronger`` (share of centre taps that
        grow) of the LDC, ``changes`` (of its output, relative); lowest, highest and standard deviation of the ECA's
        weights; norm of each summand relative to the output's; neighbour similarity of input, scanned map, LDC and
        output; quarter share (see :func:`quarter_share`) of the block's input and of the scanned map.

    Raises:
        FusionkitError: As ``block_anatomy``.
    """
    maps, block = block_anatomy(run, path, image), run.model.get_submodule(path)
    size, factors = np.linalg.norm(maps["output"]), centre_factors(block.ldc)
    return {
        "theta": block.ldc.learnable_theta.item(),
        "centre": float(np.abs(factors - 1).mean()),
        "stronger": float((factors > 1).mean()),
        "changes": convolution_change(run, f"{path}.ldc"),
        "eca_low": float(maps["weights"].min()),
        "eca_high": float(maps["weights"].max()),
        "eca_std": float(maps["weights"].std()),
        **{f"|{name}|": float(np.linalg.norm(maps[name]) / size) for name in block_summands(block)},
        **{f"alike_{name}": neighbour_similarity(maps[name]) for name in ALIKE},
        **{f"quarters_{name}": quarter_share(maps[name]) for name in ("input", "scanned")},
    }


def block_table(run: Run) -> pd.DataFrame:
    """Return :func:`block_facts` of every block, one row each; in the encoder, of the paper's first modality."""
    return pd.DataFrame.from_dict({path: block_facts(run, path) for path in block_paths(run.model)}, orient="index")


def block_words(run: Run) -> str:
    """Return in words what :func:`block_table` says about each part."""
    table = block_table(run)
    count = len(table)
    sizes = table[[name for name in table if name.startswith("|")]]
    largest = sizes.columns[sizes.to_numpy().argmax(1)].str.strip("|").value_counts()
    alike = ", ".join(f"{title} {table[f'alike_{name}'].mean():.2f}" for name, title in ALIKE.items())
    lines = [
        f"LDC: the factors on its centre taps are {_percent(table['centre'])} away from 1 in the mean of a block "
        f"({_percent(table['stronger'])} of them above 1), which changes what it gives by {_percent(table['changes'])}",
        f"ECA: weights between {table['eca_low'].min():.3f} and {table['eca_high'].max():.3f}; standard deviation over "
        f"the channels of a block {table['eca_std'].min():.3f} to {table['eca_std'].max():.3f}",
        f"largest summand: {', '.join(f'{WORDS[name]} in {n} of {count} blocks' for name, n in largest.items())}",
        f"correlation of neighbouring places, mean of all blocks: {alike}; the LDC gives smoother maps than the scan "
        f"in {(table['alike_near'] > table['alike_scanned']).sum()} of {count} blocks",
    ]
    for part in ("encoder", "decoder"):
        before, after = (table.filter(like=part, axis=0)[f"quarters_{name}"] for name in ("input", "scanned"))
        lines.append(
            f"{part}: the four quarters differ by {_percent(before)} of the variance before the block, "
            f"by {_percent(after)} in the scanned map"
        )
    return "\n".join(lines)


def _percent(values: pd.Series) -> str:
    return f"{values.min():.1%} to {values.max():.1%}"
