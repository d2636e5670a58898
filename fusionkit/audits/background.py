"""The background that should be black: what networks put where both sources hold nothing, and what it costs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from fusionkit import losses, metrics
from fusionkit.audits.columns import NETWORK, RUNS, seeds_of
from fusionkit.audits.floor import BEYOND
from fusionkit.data import Pair, get_dataset, load_pair, present
from fusionkit.data.registry import split_names
from fusionkit.figures.panels import fuse_pairs, show
from fusionkit.figures.style import Picture, bare, styled
from fusionkit.profiles import Profile, as_profile
from fusionkit.weights import list_weights

PAIRS = {Profile.SMOKE: 2, Profile.STANDARD: 8, Profile.PAPER: 10_000}
# Phantoms carry noise everywhere, so black means up to this level there; on real pairs it means 0.
NOISE_LEVEL = 12
STRETCH = 0.25


def audit_pairs(dataset: str, profile: str) -> tuple[list[Pair], str]:
    """Return test pairs of a dataset, evenly spread, or phantoms of the same task; and what they are.

    Args:
        dataset: A Harvard dataset.
        profile: Name of a profile; ``smoke`` takes phantoms.
    """
    size = as_profile(profile)
    real = size is not Profile.SMOKE and present(dataset, "test")
    name = dataset if real else dataset.replace("harvard", "phantom")
    names = split_names(name, "test")
    chosen = names[:: -(-len(names) // PAIRS[size])][: PAIRS[size]]
    what = f"{len(chosen)} of {len(names)} {'real' if real else 'phantom'} test pairs of {name}"
    return [load_pair(name, "test", n) for n in chosen], what


def black(pair: Pair) -> Tensor:
    """Return where both sources are black, bool (1, H, W)."""
    level = (NOISE_LEVEL if get_dataset(pair.dataset).procedural else 0) / 255 + 1e-6
    return (pair.a <= level) & (pair.b <= level)


def painted(pair: Pair, fused: Tensor) -> Tensor:
    """Return a fused image (1, H, W) with black where both sources are black, otherwise as it is."""
    return fused.masked_fill(black(pair), 0.0)


def audited_runs() -> dict[str, str]:
    """Return the trained runs to look at and the dataset of each: all of PET-MRI with its seeds, one per other set."""
    known = list_weights(NETWORK)
    pet = ["pet_mri", *seeds_of("pet_mri"), *(run for run in BEYOND if run != "pet_mri")]
    wanted = dict.fromkeys(pet, "harvard_pet_mri") | {run: d for d, (_, run, _) in RUNS.items() if run != "pet_mri"}
    return {run: dataset for run, dataset in wanted.items() if run in known}


def background_levels(profile: str) -> tuple[pd.DataFrame, list[str]]:
    """Measure what networks put where both sources are black, and what black paint there would change.

    Returns:
        Per run: ``black share`` of the image (percent), mean ``grey level`` there (of 255); entropy ``EN``, the
        ``SSIM loss`` and the ``total`` loss as fused, each after painting that region black (``... painted``), and
        of the plain maximum (``... maximum``). And one line per dataset on the pairs used.
    """
    rows, notes = {}, {}
    for run, dataset in audited_runs().items():
        pairs, notes[dataset] = audit_pairs(dataset, profile)
        fused = fuse_pairs(pairs, [f"{NETWORK}:{run}"])[f"{NETWORK}:{run}"]
        values = [_levels(pair, image) for pair, image in zip(pairs, fused, strict=True)]
        rows[run] = pd.DataFrame(values).mean()
    return pd.DataFrame(rows).T.rename_axis("run"), list(notes.values())


@torch.inference_mode()
def _levels(pair: Pair, fused: Tensor) -> dict[str, float]:
    region = black(pair)
    found = {"black share": 100 * float(region.float().mean()), "grey level": 255 * float(fused[region].mean())}
    versions = {"": fused, " painted": painted(pair, fused), " maximum": torch.maximum(pair.a, pair.b)}
    for suffix, image in versions.items():
        batch = (image[None], pair.a[None], pair.b[None])
        terms = losses.preset(NETWORK)(*batch)
        entropy = metrics.evaluate(*batch, ["en"], "cddfuse")["en"]
        found |= {
            f"EN{suffix}": float(entropy),
            f"SSIM loss{suffix}": float(terms["ssim_to_sources"]),
            f"total{suffix}": float(terms["total"]),
        }
    return found


def background_verdict(levels: pd.DataFrame) -> str:
    """Say in words how grey the background is and how much of the loss sits there."""
    if levels.empty:
        return "No network is trained yet."
    lines = []
    for title, run in ((title, run) for title, run, _ in RUNS.values() if run in levels.index):
        mine = levels.loc[[run, *(name for name in levels.index if name.startswith(f"{run}-seed"))]]
        greys = " and ".join(f"{level:.1f}" for level in sorted({round(x, 1) for x in mine["grey level"]}))
        first = mine.loc[run]
        change = first["total painted"] / first["total"] - 1
        entropy = first["EN painted"] - first["EN"]
        lines.append(
            f"{title}: where both sources are black ({first['black share']:.0f} % of the image) the network, per seed, "
            f"puts grey level {greys} of 255. Black paint there alone changes the loss by {change:+.0%} "
            f"({first['total']:.1f} to {first['total painted']:.1f}; SSIM term {first['SSIM loss']:.2f} to "
            f"{first['SSIM loss painted']:.2f}) and moves EN by {entropy:+.2f} bit; the plain maximum has a loss of "
            f"{first['total maximum']:.1f}."
        )
    return "\n".join(lines)


@styled
def background_figure(pair: Pair, runs: Sequence[str]) -> Figure:
    """Show what networks leave where both sources are black: as it is, and stretched so that dark grey can be seen.

    Args:
        pair: The pair to fuse.
        runs: Trained runs of LightFusionNet.
    """
    methods = ["maximum", *(f"{NETWORK}:{run}" for run in runs)]
    fused = {method: images[0] for method, images in fuse_pairs([pair], methods).items()}
    shown = {"first source": pair.a, "second source": pair.b, **fused}
    region = black(pair)
    figure = Picture(figsize=(1.75 * len(shown) + 0.2, 4.3), layout="constrained")
    grid = figure.subplots(2, len(shown))
    for column, (name, image) in zip(grid.T, shown.items(), strict=True):
        show(column[0], image[0].numpy())
        bare(column[1]).imshow(np.clip(image[0].numpy() / STRETCH, 0, 1), cmap="gray", vmin=0, vmax=1)
        level = 255 * float(image[region].mean())
        column[0].set_title(f"{name.removeprefix(f'{NETWORK}:')}\nlevel in the black: {level:.1f}", fontsize=8)
    grid[0, 0].set_ylabel("as fused", visible=True)
    grid[1, 0].set_ylabel(f"0 to {STRETCH * 255:.0f} stretched")
    return figure
