"""Fused examples for figures: what a few pairs look like, and what a loss and the metrics say of them."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from fusionkit import losses, metrics
from fusionkit.audits.background import black
from fusionkit.data import Pair, load_pair
from fusionkit.data.registry import split_names
from fusionkit.errors import unknown
from fusionkit.figures.panels import fuse_pairs
from fusionkit.losses.information import information, pyramid
from fusionkit.measure import is_here
from fusionkit.models import build_model
from fusionkit.profiles import Profile, as_profile, kind_of, stand_in, stems

LEADERS = {"first": 1, "second": -1}
TRIVIAL = {"average": "average", "maximum": "maximum"}
# The floor needs a gradient step on all pixels many times over: none for tests, few to look at.
FLOOR_STEPS = {Profile.SMOKE: 0, Profile.STANDARD: 80, Profile.PAPER: 300}
FLOOR = "floor"
METRICS = ("EN", "SD", "SF", "AG", "MI", "CC")


def one_sided_pairs(
    dataset: str, split: str, count: int, leader: str, profile: Profile | str
) -> tuple[list[Pair], str]:
    """Return the pairs of a split in which one modality holds most more information than the other.

    Information is that of S4Fusion's loss: the mean square of Sobel magnitudes at four scales. Phantoms stand in as
    for :func:`fusionkit.profiles.example_pairs`.

    Args:
        dataset: A dataset with files.
        split: One of its splits.
        count: Number of pairs, at least 1; a smaller split gives fewer.
        leader: ``"first"`` or ``"second"`` modality.
        profile: Name of a profile.

    Returns:
        The pairs, the most one-sided first, and a line that says what they are.

    Raises:
        FusionkitError: Unknown profile, dataset, split or leader.
    """
    if leader not in LEADERS:
        raise unknown("leader", leader, LEADERS)
    dataset, split, why = stand_in(dataset, split, profile)
    pairs = [load_pair(dataset, split, name) for name in split_names(dataset, split)]
    chosen = sorted(pairs, key=lambda pair: LEADERS[leader] * _lead_of_first(pair), reverse=True)[:count]
    return chosen, (
        f"The {len(chosen)} of {len(pairs)} {kind_of(dataset)} of {dataset}/{split} in which the {leader} modality "
        f"leads most ({stems(pair.name for pair in chosen)}){why}."
    )


def _lead_of_first(pair: Pair) -> float:
    of_first, of_second = (float(information(pyramid(x[None]))) for x in (pair.a, pair.b))
    return of_first - of_second


def fuse_examples(
    pairs: Sequence[Pair], networks: Mapping[str, str], paper: str, profile: Profile | str
) -> tuple[dict[str, list[Tensor]], str]:
    """Fuse pairs by the trivial rules, by networks, and by optimising the pixels on a paper's loss.

    Args:
        pairs: Loaded pairs.
        networks: Method id by column title; one whose weights are not here is left out.
        paper: Whose loss the floor minimises.
        profile: Name of a profile; it says how many steps the floor gets (none: no such column).

    Returns:
        Per title one fused luma (1, H, W) per pair, and a line on what is left out.
    """
    wanted = {**TRIVIAL, **networks}
    fused = {title: fuse_pairs(pairs, [method])[method] for title, method in wanted.items() if is_here(method)}
    steps = FLOOR_STEPS[as_profile(profile)]
    if steps:
        oracle = build_model(f"oracle_{paper}", steps=steps)
        fused[f"{FLOOR}\n({steps} steps)"] = [oracle(pair.a[None], pair.b[None])[0] for pair in pairs]
    notes = [f"{title}, of which no weights are here yet" for title in wanted if title not in fused]
    notes += [] if steps else ["the floor, which the profile smoke does not compute"]
    return fused, f"Left out: {'; '.join(notes)}." if notes else "Nothing is left out."


@torch.inference_mode()
def example_scores(
    pairs: Sequence[Pair],
    fused: Mapping[str, Sequence[Tensor]],
    paper: str,
    names: Sequence[str] = METRICS,
    convention: str = "cddfuse",
) -> pd.DataFrame:
    """Return the mean over pairs of a paper's loss and of some metrics.

    Args:
        pairs: The pairs.
        fused: Fused luma (1, H, W) per pair, by title.
        paper: Whose loss it is.
        names: Metrics, in upper or lower case.
        convention: Of the metrics; the default has their ordinary definitions.

    Returns:
        One row per title: ``loss``, its terms, ``black`` (mean grey level, 0 to 255, where both sources are
        black), and one column per metric.
    """
    loss = losses.preset(losses.measured_preset(paper))
    rows = {}
    for title, images in fused.items():
        values = [_scores(pair, image, loss, names, convention) for pair, image in zip(pairs, images, strict=True)]
        rows[title.replace("\n", " ")] = pd.DataFrame(values).mean()
    return pd.DataFrame(rows).T.rename_axis("method")


def describe_scores(scores: pd.DataFrame) -> str:
    """Return in words which plain rules each network beats on the loss.

    Args:
        scores: Result of :func:`example_scores`.
    """
    totals = scores["loss"]
    better, worse = totals[list(TRIVIAL)].sort_values().index
    networks = [title for title in totals.index if title not in TRIVIAL and not title.startswith(FLOOR)]
    values = ", ".join(f"{title} {value:.4g}" for title, value in totals.items())
    parts = [f"the paper's loss, mean of these pairs: {values}"]
    for network in networks:
        if totals[network] < totals[better]:
            parts.append(f"{network} beats both plain rules")
        elif totals[network] < totals[worse]:
            parts.append(f"{network} beats the {worse} but not the {better}")
        else:
            parts.append(f"{network} beats neither plain rule")
    return "; ".join(parts) + "." if networks else "; ".join(parts) + "; no trained network is here yet."


def _scores(
    pair: Pair, image: Tensor, loss: losses.FusionLoss, names: Sequence[str], convention: str
) -> dict[str, float]:
    a, b, fused = pair.a[None], pair.b[None], image[None].clamp(0, 1)
    terms = {name: float(value) for name, value in loss(fused, a, b).items()}
    measured = metrics.evaluate(fused, a, b, [name.lower() for name in names], convention)
    level = float(255 * image[black(pair)].mean())
    return {
        "loss": terms.pop("total"),
        **terms,
        "black": level,
        **{name: float(measured[name.lower()]) for name in names},
    }
