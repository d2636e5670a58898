"""What moves in a street: vehicles with warm engines and lamps, and people."""

import numpy as np

from fusionkit.data.phantoms.fields import Field, disc
from fusionkit.data.phantoms.street_scene import (
    PAVEMENT,
    PERSON,
    ROAD,
    VEHICLE,
    Colour,
    Lamp,
    Mask,
    Street,
)

_PAINTS: tuple[Colour, ...] = ((0.75, 0.76, 0.78), (0.55, 0.08, 0.08), (0.10, 0.18, 0.42), (0.16, 0.17, 0.18))
_CLOTHES: tuple[Colour, ...] = (
    (0.12, 0.13, 0.18),
    (0.30, 0.22, 0.16),
    (0.45, 0.12, 0.14),
    (0.20, 0.30, 0.42),
)
_SKIN: tuple[Colour, ...] = ((0.72, 0.54, 0.44), (0.45, 0.30, 0.22), (0.58, 0.42, 0.32))


def paint_traffic(rng: np.random.Generator, street: Street, height: float, width: float) -> None:
    """Paint one or two vehicles and two to four people, the farthest first; sizes in shorter sides."""
    room = height - street.horizon
    vehicles = [(rng.uniform(0.3, 0.65), "vehicle") for _ in range(rng.integers(1, 3))]
    people = [(rng.uniform(0.4, 0.92), "person") for _ in range(rng.integers(2, 5))]
    things = sorted(vehicles + people)
    slots = (rng.permutation(len(things)) + rng.uniform(0.3, 0.7, len(things))) / len(things)
    for (near, kind), slot in zip(things, slots, strict=True):
        # The camera is at eye level, so size grows with the distance of the feet below the horizon.
        size = near * min(room, 0.62)
        foot, x = street.horizon + size, (0.05 + 0.9 * slot) * width
        if kind == "vehicle":
            _paint_vehicle(rng, street, foot, x, 0.95 * size)
        else:
            _paint_person(rng, street, foot, x, 1.08 * size)


def _cast_shadow(street: Street, foot: float, x: float, size: float) -> None:
    """Darken the ground beside a thing by day; the sun stands at the upper left."""
    if not street.night:
        ground = (street.labels == PAVEMENT) | (street.labels == ROAD)
        shadow = disc(street.y, street.x, (foot, x + 0.5 * size), (0.1 * size, 0.75 * size)) < 1
        street.shade[ground & shadow] = 0.4


def _paint_vehicle(rng: np.random.Generator, street: Street, foot: float, x: float, tall: float) -> None:
    """Paint a car or van seen from the front or, half the time, from behind."""
    wide = tall * rng.uniform(1.05, 1.3)
    _cast_shadow(street, foot, x, wide)
    car = street.part(foot - tall, foot + 0.02, x - wide / 2 - 0.01, x + wide / 2 + 0.01)
    v, u = (foot - car.y) / tall, np.abs(car.x - x) / wide
    paint = np.array(_PAINTS[rng.integers(len(_PAINTS))])
    oncoming = bool(rng.random() < 0.6)
    ambient = 10.0 if street.night else 22.0

    wheels = (np.abs(u - 0.36) < 0.08) & (v > 0) & (v < 0.25)
    car.paint(wheels, VEHICLE, 24.0, (0.05, 0.05, 0.05))
    body = (np.maximum(v - 0.55, 0) ** 2 + np.maximum(u - 0.44, 0) ** 2 < 0.0036) & (v > 0.1)
    cabin = (v >= 0.5) & (v < 1.0) & (u < 0.47 - 0.22 * (v - 0.5))
    sheen = (0.75 + 0.4 * v + 0 * u)[..., None] * paint
    shell = body | cabin
    car.paint(shell, VEHICLE, ambient + 3, sheen[shell])
    glass = (v > 0.58) & (v < 0.93) & (u < 0.42 - 0.22 * (v - 0.5))
    car.paint(glass, VEHICLE, ambient - 3, (0.14, 0.17, 0.21))
    warm = disc(v, u, (0.36, 0.0), (0.16, 0.34)) < 1 if oncoming else disc(v, u, (0.14, 0.25), (0.07, 0.12)) < 1
    car.warmth[warm & (car.labels == VEHICLE)] = 42.0
    grille = (u < 0.24) & (np.abs(v - 0.3) < 0.08) & ((v * 40 + 0 * u) % 1 < 0.6)
    car.albedo[grille] = 0.08
    _fit_lamps(car, oncoming, (foot - 0.36 * tall, x, 0.37 * wide), 0.055 * tall)


def _fit_lamps(car: Street, oncoming: bool, place: tuple[float, float, float], size: float) -> None:
    """Fit a pair of lamps at (y, middle x, half distance); they burn at night."""
    y, x, apart = place
    colour = (1.0, 0.95, 0.82) if oncoming else (1.0, 0.12, 0.06)
    for side in (x - apart, x + apart):
        spot = disc(car.y, car.x, (y, side), (size, 1.3 * size)) < 1
        car.albedo[spot] = np.array(colour) * (8.0 if car.night else 0.8)
        if car.night:
            car.lamps.append(Lamp(y, side, 2.5 * size, colour, 1.8 if oncoming else 0.6))
    if car.night and oncoming:
        car.lamps.append(Lamp(y, x, 0.2, colour, 0.5))


def _paint_person(rng: np.random.Generator, street: Street, foot: float, x: float, tall: float) -> None:
    """Paint a walking figure: bare skin is warmer than cloth, and cloth warmer than the street."""
    _cast_shadow(street, foot, x, 0.6 * tall)
    who = street.part(foot - tall, foot + 0.01, x - 0.4 * tall, x + 0.4 * tall)
    y, u = (foot - who.y) / tall, (who.x - x) / tall
    stride, swing = rng.uniform((0.03, 0.04), (0.14, 0.12))
    top, bottom = (_CLOTHES[n] for n in rng.integers(len(_CLOTHES), size=2))
    skin = _SKIN[rng.integers(len(_SKIN))]

    for side in (-1, 1):
        leg = _limb(y, u, (0.0, side * stride), (0.5, 0.02 * side), 0.045)
        who.paint(leg, PERSON, 27.0, bottom)
    for side in (-1, 1):
        arm = _limb(y, u, (0.46, side * (0.09 + swing)), (0.78, side * 0.09), 0.032)
        who.paint(arm, PERSON, 27.5, top)
        who.paint(disc(y, u, (0.44, side * (0.09 + swing)), (0.035, 0.03)) < 1, PERSON, 31.0, skin)
    who.paint(disc(y, u, (0.65, 0.0), (0.22, 0.115)) < 1, PERSON, 28.5, top)
    who.paint(disc(y, u, (0.92, 0.0), (0.08, 0.062)) < 1, PERSON, 33.5, skin)
    hair = (disc(y, u, (0.945, 0.0), (0.06, 0.066)) < 1) & (y > 0.935)
    who.paint(hair, PERSON, 28.0, (0.10, 0.07, 0.05))
    street.feet.append((foot, x, tall))


def _limb(y: Field, u: Field, end: tuple[float, float], joint: tuple[float, float], thick: float) -> Mask:
    """Mask a straight limb of some half-thickness between two (height, sideways) points."""
    share = np.clip((y - end[0]) / (joint[0] - end[0]), 0, 1)
    return (np.abs(u - end[1] - share * (joint[1] - end[1])) < thick) & (y >= end[0]) & (y <= joint[0])
