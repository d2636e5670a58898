"""Four ways to read an image: what their orders do to neighbours, and how far a random scan looks.

Everything here returns numbers; ``fusionkit.reading_figures`` draws them, ``fusionkit.reading_panel`` adds sliders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fusionkit.errors import FusionkitError, unknown
from fusionkit.figures.style import BLUE, GREEN, ORANGE, PURPLE, RED
from fusionkit.ops import selective_scan
from fusionkit.ops.scan_paths import ScanPath, gather, scan_path, scatter
from fusionkit.profiles import Profile, as_profile


@dataclass(frozen=True)
class Way:
    """One way to read an image, as the walkthrough shows it.

    Attributes:
        title: Its name.
        paper: Whose it is.
        orders: What each of its four orders does.
        colour: Its colour in charts.
    """

    title: str
    paper: str
    orders: tuple[str, str, str, str]
    colour: str


_LINES = ("by rows", "by columns", "rows, backwards", "columns, backwards")
_QUARTERS = ("quarter 1, by rows", "quarter 2, by columns", "quarter 3, by rows", "quarter 4, by columns")
# Keys are those of SCAN_PATHS. DIFF-MF's third scan mixes the images before it reads them as SS2D, so it is not here.
WAYS = {
    "ss2d": Way("SS2D", "VMamba", _LINES, BLUE),
    "es2d": Way("ES2D", "FusionMamba", _QUARTERS, RED),
    "interleave": Way("interleave", "S4Fusion", _LINES, GREEN),
    "realign_column": Way("column scan", "DIFF-MF", _LINES, PURPLE),
    "realign_row": Way("row scan", "DIFF-MF", _LINES, ORANGE),
}
NEIGHBOURS = ("left-right", "up-down", "infrared-visible")
# Side of the maps whose receptive fields are measured, and how many random scans are averaged.
FIELDS = {Profile.SMOKE: (25, 4), Profile.STANDARD: (33, 16), Profile.PAPER: (49, 32)}
BATCH, CHANNELS, STATES = 8, 16, 8
# Range of the step sizes that Mamba draws for a new network.
NEW_DELTAS = (0.001, 0.1)
FIXED_DELTAS = (0.001, 0.01, 0.1, 1.0)


def path_of(name: str, height: int, width: int) -> ScanPath:
    """Return the path of a way.

    Raises:
        FusionkitError: No way has this name, or the size is not positive.
    """
    if name not in WAYS:
        raise unknown("way to read an image", name, WAYS)
    return scan_path(name, height, width)


# Distances


def positions(path: ScanPath) -> np.ndarray:
    """Return at which step each order reads each pixel, (K, pixels); nan where it never does."""
    found = np.full((len(path.order), path.modalities * path.height * path.width), np.nan)
    for steps, visited in zip(found, path.order.numpy(), strict=True):
        steps[visited[visited >= 0]] = np.flatnonzero(visited >= 0)
    return found


def neighbour_distances(name: str, height: int, width: int) -> dict[str, np.ndarray]:
    """Return how many steps lie between neighbours, (K, pairs) per kind of ``NEIGHBOURS``; nan: in no common order.

    Args:
        name: A key of ``WAYS``.
        height: Rows of the map.
        width: Columns of the map.
    """
    path = path_of(name, height, width)
    at = positions(path).reshape(-1, path.modalities, height, width)
    pairs = {"left-right": (at[..., :-1], at[..., 1:]), "up-down": (at[..., :-1, :], at[..., 1:, :])}
    if path.modalities == 2:
        pairs["infrared-visible"] = at[:, 0], at[:, 1]
    return {kind: np.abs(a - b).reshape(len(at), -1) for kind, (a, b) in pairs.items()}


def near_and_far(distances: np.ndarray) -> tuple[float, float] | None:
    """Return the mean distance of neighbours in their nearest and in their farthest order; None: in no order.

    Args:
        distances: (K, pairs) of :func:`neighbour_distances`.
    """
    if np.isnan(distances).all():
        return None
    return float(np.nanmin(distances, 0).mean()), float(np.nanmax(distances, 0).mean())


def distance_table(height: int, width: int) -> pd.DataFrame:
    """Return what each way reads, and how many steps it puts between neighbours.

    Returns:
        One row per way: number of orders, steps of each, steps of all; per kind of neighbours the mean distance in
        the nearest order, "to" that in the farthest.
    """
    rows = {}
    for name, way in WAYS.items():
        count, length = path_of(name, height, width).order.shape
        found = neighbour_distances(name, height, width)
        words = {kind: _words(found[kind]) if kind in found else "one image" for kind in NEIGHBOURS}
        rows[f"{way.title} ({way.paper})"] = {"orders": count, "steps each": length, "steps": count * length} | words
    return pd.DataFrame.from_dict(rows, orient="index")


def _words(distances: np.ndarray) -> str:
    ends = near_and_far(distances)
    if ends is None:
        return "never"
    near, far = (f"{steps:.0f}" for steps in ends)
    return near if near == far else f"{near} to {far}"


def equal_orders(one: str, other: str, height: int, width: int) -> list[bool]:
    """Return for each of the four orders of two ways whether they read the same pixels in the same sequence."""
    orders = (path_of(name, height, width).order for name in (one, other))
    return [torch.equal(a, b) for a, b in zip(*orders, strict=True)]


def steps_ago(name: str, side: int) -> np.ndarray:
    """Return how long before the centre of the first image each pixel is read, (modalities, side, side).

    What an order reads later it does not know yet, so only orders count that read the pixel before the centre; inf
    where none does.

    Args:
        name: A key of ``WAYS``.
        side: Rows and columns of the map; odd, so that it has a centre.
    """
    path = path_of(name, side, side)
    at = positions(path)
    ago = at[:, [side * side // 2]] - at
    return np.where(ago >= 0, ago, np.inf).min(0).reshape(path.modalities, side, side)


def seen_within(name: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return after how many steps back the centre has seen how much of the 5 x 5 pixels around it, in all images.

    Args:
        name: A key of ``WAYS``.
        side: Rows and columns of the map; odd, 5 or more.

    Returns:
        Numbers of steps, rising, and the share seen after each.
    """
    around = np.sort(_around(steps_ago(name, side)), axis=None)[1:]
    seen = around[around < np.inf]
    return seen, np.arange(1, 1 + len(seen)) / len(around)


def _around(maps: np.ndarray) -> np.ndarray:
    """Return the 5 x 5 pixels around the centre of maps (..., side, side)."""
    low = maps.shape[-1] // 2 - 2
    return maps[..., low : low + 5, low : low + 5]


# Receptive fields


def random_scan(path: ScanPath, features: Sequence[Tensor], deltas: tuple[float, float], seed: int) -> list[Tensor]:
    """Scan maps along a path with the parameters of a new network, and put the result back.

    Every order has its own parameters, drawn as Mamba draws them: projections uniform in +-1/sqrt(fan-in),
    A = -(1..N), D = 1, step sizes log-uniform.

    Args:
        path: Which orders.
        features: One map (B, C, H, W) per modality.
        deltas: Smallest and largest step size delta to draw, above 0.
        seed: Decides the parameters.

    Returns:
        One map (B, C, H, W) per modality.
    """
    generator = torch.Generator().manual_seed(seed)
    u = gather(path, *features)
    batch, orders, channels, length = u.shape
    projection = (2 * torch.rand(orders, 1 + 2 * STATES, channels, generator=generator) - 1) / channels**0.5
    spread = 2 * torch.rand(orders, channels, 1, generator=generator) - 1
    low, high = np.log(deltas)
    sizes = torch.exp(low + (high - low) * torch.rand(orders * channels, generator=generator))
    delta, b, c = torch.einsum("kpc,bkcl->bkpl", projection, u).split([1, STATES, STATES], 2)
    y = selective_scan(
        u.flatten(1, 2),
        (spread * delta).flatten(1, 2),
        -torch.arange(1.0, STATES + 1).repeat(orders * channels, 1),
        b.contiguous(),
        c.contiguous(),
        torch.ones(orders * channels),
        delta_bias=torch.log(torch.expm1(sizes)),
        delta_softplus=True,
    )
    return list(scatter(path, y.view(u.shape)))


def receptive_field(name: str, side: int = 25, draws: int = 4, deltas: tuple[float, float] = NEW_DELTAS) -> np.ndarray:
    """Return how much each input pixel moves the output at the centre of the first image.

    Args:
        name: A key of ``WAYS``.
        side: Rows and columns of the map; odd, 5 or more.
        draws: Random scans to average.
        deltas: Smallest and largest step size delta that a scan is drawn with.

    Returns:
        Mean absolute gradient (modalities, side, side), the centre's own set to 1.

    Raises:
        FusionkitError: Unknown way, a side without centre, no draw, or deltas that are not positive and rising.
    """
    if side % 2 == 0 or side < 5:
        raise FusionkitError(
            f"receptive field: side {side} has no centre in a 5 x 5 neighbourhood; choose 5, 7, 9, ..."
        )
    if draws < 1 or not 0 < deltas[0] <= deltas[1]:
        raise FusionkitError(f"receptive field: {draws} draws, deltas {deltas}; choose 1 or more, 0 < first <= second")
    path, centre = path_of(name, side, side), side // 2
    total = torch.zeros(path.modalities, side, side)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(1000 + seed)
        noise = torch.randn(path.modalities, BATCH, CHANNELS, side, side, generator=generator).requires_grad_()
        output = random_scan(path, list(noise), deltas, seed)[0][..., centre, centre].sum()
        total += torch.autograd.grad(output, noise)[0].abs().mean((1, 2))
    return (total / total[0, centre, centre]).numpy()


def receptive_fields(profile: str) -> dict[str, np.ndarray]:
    """Return the receptive field of every way by key of ``WAYS``, measured as large as a profile says."""
    return {name: receptive_field(name, *FIELDS[as_profile(profile)]) for name in WAYS}


def fields_by_delta(name: str, profile: str) -> dict[str, np.ndarray]:
    """Return receptive fields of one way by title, for step sizes that are all alike."""
    size = FIELDS[as_profile(profile)]
    return {f"delta = {delta:g}": receptive_field(name, *size, (delta, delta)) for delta in FIXED_DELTAS}


def reach_table(fields: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return what receptive fields add up to.

    Args:
        fields: Fields as of :func:`receptive_field`, by key of ``WAYS``.

    Returns:
        One row per way. ``pixels seen``: those of all its images with any influence. Of all influence but the
        centre's own: what comes from the 5 x 5 pixels around in all images, from the same row or column of the first
        image, and from the other image.
    """
    rows = {}
    for name, field in fields.items():
        centre = field.shape[-1] // 2
        others = field.copy()
        others[0, centre, centre] = 0
        cross = others[0, centre].sum() + others[0, :, centre].sum()
        parts = {"5 x 5 around": _around(others).sum(), "same row or column": cross, "other image": others[1:].sum()}
        shares = {key: f"{100 * part / others.sum():.0f} %" for key, part in parts.items()}
        if len(field) == 1:
            shares["other image"] = "one image"
        seen = f"{np.count_nonzero(field)} of {field.size}"
        rows[f"{WAYS[name].title} ({WAYS[name].paper})"] = {"pixels seen": seen} | shares
    return pd.DataFrame.from_dict(rows, orient="index")
