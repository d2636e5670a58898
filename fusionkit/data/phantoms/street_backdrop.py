"""What stands still in a street: sky, houses with windows, ground, a tree, a lamp post with a sign."""

import numpy as np

from fusionkit.data.phantoms.fields import disc, waves
from fusionkit.data.phantoms.street_scene import (
    BUILDING,
    PAVEMENT,
    ROAD,
    SIGN,
    TREE,
    WINDOW,
    Lamp,
    Street,
)


def paint_backdrop(rng: np.random.Generator, street: Street, width: float) -> None:
    """Paint everything that does not move, the farthest first; the width is in shorter sides."""
    _paint_sky(rng, street)
    _paint_buildings(rng, street, width)
    _paint_ground(rng, street, width)
    _paint_tree(rng, street, width)
    _paint_sign(rng, street, width)


def _paint_sky(rng: np.random.Generator, street: Street) -> None:
    shape = street.labels.shape
    rise = np.clip(street.y / street.horizon, 0, 1)
    cloud = np.clip(waves(rng, shape, 9), 0, 2) / 2
    street.warmth[:] = -6 + 9 * rise**2 + 4 * cloud
    if street.night:
        street.albedo[:] = 0.25 + 0.15 * rise[..., None] * np.array((1.2, 1.0, 0.9))
    else:
        blue = np.array((0.42, 0.62, 0.90)) + 0.35 * rise[..., None]
        street.albedo[:] = np.minimum(blue + 0.4 * cloud[..., None], 1.0)


def _paint_buildings(rng: np.random.Generator, street: Street, width: float) -> None:
    """Paint houses side by side; some windows are warm, others are lit, and the two need not agree."""
    left = -rng.uniform(0.0, 0.15)
    foot = street.horizon + 0.03
    while left < width:
        wide = rng.uniform(0.16, 0.34)
        house = street.part(0.0, foot, left, left + 0.94 * wide)
        _paint_house(rng, house, rng.uniform(0.05, 0.75) * street.horizon, left)
        left += wide


def _paint_house(rng: np.random.Generator, house: Street, roof: float, left: float) -> None:
    wall = np.broadcast_to(house.y > roof, house.labels.shape)
    colour = np.array(((0.62, 0.40, 0.32), (0.70, 0.66, 0.58), (0.50, 0.52, 0.56))[rng.integers(3)])
    course = np.floor(house.y / 0.012)
    joint = (house.y / 0.012 % 1 < 0.25) | ((house.x / 0.03 + course % 2 / 2) % 1 < 0.12)
    brick = np.where(joint, 1.25, 1.0)[..., None] * colour * rng.uniform(0.7, 1.0)
    base = (10.0 if house.night else 17.0) + rng.uniform(-2, 2)
    house.paint(wall, BUILDING, (base + 0 * house.x + 4 * (house.y - roof))[wall], brick[wall])

    tall, wide = rng.uniform((0.055, 0.045), (0.075, 0.065))
    v, u = (house.y - roof - 0.02) / tall, (house.x - left - 0.015) / wide
    pane = (v > 0) & (v % 1 > 0.35) & (u > 0) & (u % 1 > 0.4)
    row, col = (np.clip(t, 0, 15).astype(int) for t in (v, u))
    warm, lit = rng.random((2, 16, 16)) < np.array((0.3, 0.35))[:, None, None]
    glass = np.where(warm[row, col], 21.0, 6.0)
    glow = np.where((lit[row, col] & house.night)[..., None], (7.0, 5.6, 3.2), (0.16, 0.19, 0.24))
    house.paint(pane, WINDOW, glass[pane], glow[pane])


def _paint_ground(rng: np.random.Generator, street: Street, width: float) -> None:
    """Paint pavement, and a road with lane marks that run to one vanishing point."""
    below = street.y - street.horizon
    ground = np.broadcast_to(below > 0.02, street.labels.shape)
    grain, patch = waves(rng, ground.shape, 64, 0.0), waves(rng, ground.shape, 8)
    sun = 0.0 if street.night else 6.0
    rough = (1 + 0.10 * grain + 0.08 * patch)[..., None]
    street.paint(ground, PAVEMENT, (11 + sun + 1.2 * patch)[ground], (0.50 * rough)[ground])
    aim = rng.uniform(0.4, 0.6) * width
    slope = rng.uniform(0.8, 1.1)
    across = (street.x - aim) / np.maximum(slope * below, 1e-6)
    road = ground & (np.abs(across) < 1)
    street.paint(road, ROAD, (14 + sun + 1.2 * patch)[road], (0.27 * rough)[road])
    dash = (0.5 / np.maximum(below, 1e-3)) % 1 < 0.5
    line = road & ((np.abs(across) > 0.93) | ((np.abs(across) < 0.03) & dash))
    street.albedo[line] = 0.85


def _paint_tree(rng: np.random.Generator, street: Street, width: float) -> None:
    side = rng.choice((0.12, 0.88))
    x, foot = side * width, street.horizon + rng.uniform(0.04, 0.10)
    crown = street.horizon - rng.uniform(0.1, 0.18)
    trunk = (np.abs(street.x - x) < 0.012) & (street.y > crown) & (street.y < foot)
    street.paint(trunk, TREE, 9.0, (0.25, 0.18, 0.12))
    leaf = waves(rng, street.labels.shape, 48, 0.2)
    tree = disc(street.y, street.x, (crown, x), (rng.uniform(0.12, 0.2), 0.13)) + 0.22 * leaf < 1
    green = np.array((0.22, 0.36, 0.12)) * (1 + 0.35 * leaf[..., None])
    street.paint(tree, TREE, (8 + 0.8 * leaf)[tree], green[tree])


def _paint_sign(rng: np.random.Generator, street: Street, width: float) -> None:
    """Paint a lamp post with a sign: its bars of text differ in colour but hardly in temperature."""
    x = rng.choice((0.28, 0.72)) * width
    foot, top = street.horizon + 0.12, 0.12 * street.horizon
    street.paint((np.abs(street.x - x) < 0.006) & (street.y > top) & (street.y < foot), SIGN, 9.0, (0.3, 0.3, 0.32))
    tall, wide = rng.uniform((0.1, 0.16), (0.14, 0.24))
    upper, left = rng.uniform(0.35, 0.5) * street.horizon, x - wide / 2
    board = street.part(upper, upper + tall, left, left + wide)
    ground = ((0.05, 0.35, 0.2), (0.08, 0.2, 0.6), (0.85, 0.7, 0.1))[rng.integers(3)]
    ink = (0.05, 0.05, 0.05) if ground[0] > 0.5 else (0.95, 0.95, 0.95)
    everywhere = np.ones(board.labels.shape, bool)
    # Reflecting foil sends a camera's own head-lamps back: brighter than its surroundings at night.
    gain = 3.0 if street.night else 1.0
    board.paint(everywhere, SIGN, 9.5, tuple(gain * c for c in ground))
    v, u = (board.y - upper) / tall * 3, (board.x - left) / wide
    letters = rng.random((3, 24)) < 0.75
    stroke = letters[np.clip(v, 0, 2).astype(int), np.clip(u * 24, 0, 23).astype(int)]
    text = (np.abs(v % 1 - 0.5) < 0.3) & (np.abs(u - 0.5) < rng.uniform(0.3, 0.42)) & stroke
    board.paint(text, SIGN, 9.8, tuple(gain * c for c in ink))
    if street.night:
        street.lamps.append(Lamp(top, x, 0.05, (1.0, 0.8, 0.5), 1.0))
        street.lamps.append(Lamp(foot + 0.1, x, 0.3, (1.0, 0.75, 0.45), 0.2))
