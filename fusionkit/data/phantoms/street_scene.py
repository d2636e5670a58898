"""The painted street that both cameras look at: what, how warm, what colour, and which lamps burn."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fusionkit.data.phantoms.fields import Bytes, Field, Shape, corner_grid

LABEL_NAMES = (
    "sky",
    "building",
    "window",
    "pavement",
    "road",
    "tree",
    "sign",
    "vehicle",
    "person",
    "person in smoke",
)
SKY, BUILDING, WINDOW, PAVEMENT, ROAD, TREE, SIGN, VEHICLE, PERSON, SMOKED = range(10)

Colour = tuple[float, float, float]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Lamp:
    """A light in the picture: place, spread (both in shorter sides), colour and strength."""

    y: float
    x: float
    spread: float
    colour: Colour
    strength: float


@dataclass(frozen=True)
class Street:
    """The painted scene; every array has the picture's height and width.

    Attributes:
        y: Rows in shorter sides from the top, (H, 1).
        x: Columns in shorter sides from the left, (1, W).
        labels: Indices into ``LABEL_NAMES``.
        warmth: Temperature in degrees Celsius.
        albedo: Reflected colour, (H, W, 3).
        shade: Share of the sunlight that arrives.
        lamps: Lights that burn.
        feet: (y, x, height) of each person, back to front.
        horizon: Its height in shorter sides; also the height of the camera and of people's heads.
    """

    y: Field
    x: Field
    labels: Bytes
    warmth: Field
    albedo: Field
    shade: Field
    night: bool
    horizon: float
    lamps: list[Lamp] = field(default_factory=list)
    feet: list[tuple[float, float, float]] = field(default_factory=list)

    @classmethod
    def empty(cls, shape: Shape, horizon: float, night: bool) -> "Street":
        """Start a street with nothing in it; the horizon is a fraction of the height."""
        y, x = corner_grid(shape)
        height = shape[0] / min(shape)
        arrays = (np.zeros(shape, np.uint8), np.zeros(shape), np.zeros((*shape, 3)), np.ones(shape))
        return cls(y, x, *arrays, night, horizon * height)

    def part(self, top: float, bottom: float, left: float, right: float) -> "Street":
        """Give a view of a rectangle (in shorter sides), so that small things are cheap to paint."""
        rows = slice(*np.searchsorted(self.y[:, 0], (top, bottom)))
        cols = slice(*np.searchsorted(self.x[0], (left, right)))
        arrays = (a[rows, cols] for a in (self.labels, self.warmth, self.albedo, self.shade))
        return Street(self.y[rows], self.x[:, cols], *arrays, self.night, self.horizon, self.lamps, self.feet)

    def paint(self, where: Mask, label: int, warmth: float | Field, albedo: Colour | Field) -> None:
        """Cover a region, shadows on it included, with one thing; fields hold the masked pixels only."""
        self.labels[where] = label
        self.warmth[where] = warmth
        self.albedo[where] = albedo
        self.shade[where] = 1.0
