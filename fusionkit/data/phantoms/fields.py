"""Smooth random fields, blur, colour ramps and coordinates: what every phantom family is drawn with."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Shape = tuple[int, int]
Stops = tuple[tuple[float, float, float, float], ...]
"""Colour stops ``(position, red, green, blue)``, all in [0, 1], positions rising from 0 to 1."""


def centred_grid(shape: Shape) -> tuple[Field, Field]:
    """Give pixel coordinates around the middle, in units of half the shorter side.

    Args:
        shape: (H, W).

    Returns:
        y of shape (H, 1), downwards, and x of shape (1, W), to the right.
    """
    height, width = shape
    unit = min(shape) / 2
    y = (np.arange(height) + 0.5 - height / 2) / unit
    x = (np.arange(width) + 0.5 - width / 2) / unit
    return y[:, None], x[None, :]


def corner_grid(shape: Shape) -> tuple[Field, Field]:
    """Give pixel coordinates from the upper left corner, in units of the shorter side.

    Args:
        shape: (H, W).

    Returns:
        y of shape (H, 1) and x of shape (1, W).
    """
    unit = min(shape)
    return (np.arange(shape[0])[:, None] + 0.5) / unit, (np.arange(shape[1])[None, :] + 0.5) / unit


def waves(rng: np.random.Generator, shape: Shape, terms: int, falloff: float = 1.0) -> Field:
    """Draw a smooth random field as a sum of cosines, the same scene at every image size.

    Args:
        rng: Source of the ``terms**2`` amplitudes; nothing else is drawn.
        shape: (H, W).
        terms: Number of half periods along the longer side, plus one; more terms give finer structure.
        falloff: Amplitudes fall with frequency to this power; 0 gives grainy, 2 gives very smooth fields.

    Returns:
        Field of shape (H, W), zero on average, of standard deviation about one.
    """
    k = np.arange(terms)
    radius = np.hypot(k[:, None], k[None, :])
    scale = np.where(radius > 0, np.maximum(radius, 1.0) ** -falloff, 0.0)
    amplitude = rng.standard_normal((terms, terms)) * scale
    # A cosine has variance 1/2 along each axis it oscillates on, and 1 along the axis where k = 0.
    power = np.where(k > 0, 0.5, 1.0)
    amplitude /= np.sqrt((scale**2 * power[:, None] * power[None, :]).sum())
    longest = max(shape)
    rows, cols = (np.cos(np.pi * np.outer((np.arange(n) + 0.5) / longest, k)) for n in shape)
    return rows @ amplitude @ cols.T


def blur(image: Field, fwhm: float) -> Field:
    """Blur with a Gaussian point spread function.

    Args:
        image: Field of shape (H, W).
        fwhm: Full width at half maximum, as a fraction of the shorter side.
    """
    sigma = fwhm * min(image.shape) / 2.3548
    return ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0)


def disc(y: Field, x: Field, centre: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0) -> Field:
    """Measure the normalised radius of an ellipse: below 1 inside, 1 on the rim.

    Args:
        y: Vertical coordinates.
        x: Horizontal coordinates, broadcastable with y.
        centre: (y, x) of the middle.
        radii: Semi-axes (y, x) before tilting.
        tilt: Clockwise turn on the screen, in radians.
    """
    dy, dx = y - centre[0], x - centre[1]
    cos, sin = np.cos(tilt), np.sin(tilt)
    return np.hypot((cos * dy - sin * dx) / radii[0], (sin * dy + cos * dx) / radii[1])


def to_bytes(image: Field) -> Bytes:
    """Quantise values in [0, 1] to 8 bits, clipping what lies outside."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def colourise(image: Field, stops: Stops) -> Bytes:
    """Render values in [0, 1] through a colour ramp.

    Args:
        image: Field of shape (H, W).
        stops: Colours between which the ramp is linear.

    Returns:
        RGB picture of shape (H, W, 3).
    """
    position, *channels = np.array(stops).T
    steps = np.linspace(0.0, 1.0, 256)
    table = np.stack([np.interp(steps, position, channel) for channel in channels], axis=1)
    return to_bytes(table)[to_bytes(image)]
