"""A random brain slice: head layers, folded cortex, ventricles, deep nuclei and sometimes a lesion."""

import numpy as np

from fusionkit.data.phantoms.fields import Bytes, Field, Shape, centred_grid, disc, waves

LABEL_NAMES = (
    "background",
    "scalp",
    "skull",
    "cerebrospinal fluid",
    "grey matter",
    "white matter",
    "ventricles",
    "deep nuclei",
    "lesion",
)
BACKGROUND, SCALP, SKULL, FLUID, GREY, WHITE, VENTRICLE, NUCLEUS, LESION = range(9)


def brain_slice(rng: np.random.Generator, shape: Shape) -> Bytes:
    """Draw the tissue map of one axial slice, forehead up.

    Args:
        rng: Source of the shape parameters; the same state gives the same head at every size.
        shape: (H, W); the head fills most of the shorter side.

    Returns:
        Tissue numbers of shape (H, W), indices into ``LABEL_NAMES``. Only the lesion may be absent by
        chance (three slices in five have one); below 64 pixels thin layers may fall between pixels.
    """
    y, x = _head_coordinates(rng, shape)
    depth, radius = _depth_below_skin(rng, y, x)
    scalp, skull, gap = rng.uniform((0.045, 0.05, 0.012), (0.065, 0.07, 0.03))
    skull_wave, gap_wave = waves(rng, shape, 7), waves(rng, shape, 7)
    inner_table = scalp + skull * (1 + 0.12 * skull_wave)
    below_pia = depth - inner_table - gap * (1 + 0.3 * gap_wave)

    labels = np.zeros(shape, np.uint8)
    labels[depth > 0] = SCALP
    labels[depth > scalp] = SKULL
    labels[depth > inner_table] = FLUID
    sulcus, cortex = _cortex(rng, y, x, below_pia, radius)
    thickness = rng.uniform(0.038, 0.048)
    inside = below_pia > 0
    labels[inside] = WHITE
    labels[inside & (np.minimum(below_pia, cortex) < thickness)] = GREY
    labels[inside & (sulcus < 0)] = FLUID
    _paint_deep_structures(rng, labels, y, x)
    _paint_lesion(rng, labels, y, x, waves(rng, shape, 16, 0.3))
    return labels


def _head_coordinates(rng: np.random.Generator, shape: Shape) -> tuple[Field, Field]:
    """Place, turn and smoothly warp the coordinate frame of the head."""
    y, x = centred_grid(shape)
    dy, dx = rng.uniform(-0.03, 0.03, 2)
    turn = rng.normal(0.0, 0.05)
    y, x = y - dy, x - dx
    y, x = np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x
    bend_y, bend_x, fine_y, fine_x = (waves(rng, shape, n) for n in (4, 4, 14, 14))
    return y + 0.018 * bend_y + 0.005 * fine_y, x + 0.018 * bend_x + 0.005 * fine_x


def _depth_below_skin(rng: np.random.Generator, y: Field, x: Field) -> tuple[Field, Field]:
    """Measure the radial distance inwards from the skin of an egg-shaped head, and the radius."""
    length, width = rng.uniform((0.84, 0.68), (0.93, 0.76))
    egg = rng.uniform(0.05, 0.16)
    radius = np.maximum(np.hypot(y, x), 1e-6)
    level = np.hypot(y / length, x / (width * (1 + egg * y)))
    return radius / np.maximum(level, 1e-6) - radius, radius


def _cortex(rng: np.random.Generator, y: Field, x: Field, below_pia: Field, radius: Field) -> tuple[Field, Field]:
    """Measure the distance to the nearest sulcus: from its wall (negative in the fluid), and its middle.

    Sulci are curved segments that start at the surface, at about equal angles, with random depths and
    widths; the two at the temples are deep, and a fissure splits the hemispheres in front and behind.
    """
    count = int(rng.integers(22, 31))
    depths = rng.uniform(0.07, 0.24, count)
    widths = rng.uniform(0.004, 0.015, count)
    sylvian = [count // 4, count - count // 4]
    depths[sylvian] = 0.27
    widths[sylvian] = rng.uniform(0.014, 0.024)
    sway, curl = waves(rng, y.shape, 5), waves(rng, y.shape, 9)
    angle = np.arctan2(x, -y) + 0.07 * sway + 0.5 * np.clip(below_pia, 0, 0.3) * curl
    turn = angle * count / (2 * np.pi)
    first = np.floor(turn)

    middle_gap = rng.uniform(0.006, 0.014)
    front, back = rng.uniform((-0.36, 0.3), (-0.28, 0.38))
    beyond = np.minimum(np.maximum(y - front, 0), np.maximum(back - y, 0))
    middle = np.hypot(x + 0.006 * curl, beyond)
    wall = middle - middle_gap * (1 + 0.3 * sway)
    for number in (first, first + 1):
        which = number.astype(int) % count
        across = np.abs(turn - number) * radius * (2 * np.pi / count)
        distance = np.hypot(across, np.maximum(below_pia - depths[which], 0))
        middle = np.minimum(middle, distance)
        taper = np.clip(1 - 0.7 * below_pia / depths[which], 0, 1)
        wall = np.minimum(wall, distance - widths[which] * taper)
    return wall, middle


def _paint_deep_structures(rng: np.random.Generator, labels: Bytes, y: Field, x: Field) -> None:
    """Paint nuclei, then ventricles, mirrored about the midline; the frame's warp breaks the symmetry."""
    size = rng.uniform(0.75, 1.5)
    swell = rng.uniform(0.9, 1.12)
    side = np.abs(x)
    for centre, radii, tilt in (
        ((-0.16, 0.135), (0.11, 0.045), -0.35),
        ((-0.03, 0.25), (0.16, 0.055), 0.25),
        ((0.09, 0.085), (0.12, 0.065), -0.2),
    ):
        labels[disc(y, side, centre, (radii[0] * swell, radii[1] * swell), tilt) < 1] = NUCLEUS
    for centre, radii, tilt in (
        ((-0.18, 0.075), (0.14, 0.03 * size), -0.35),
        ((0.26, 0.15), (0.13, 0.035 * size), 0.45),
        ((0.05, 0.0), (0.09, 0.012 * size), 0.0),
    ):
        labels[disc(y, side, centre, radii, tilt) < 1] = VENTRICLE


def _paint_lesion(rng: np.random.Generator, labels: Bytes, y: Field, x: Field, ragged: Field) -> None:
    """Paint one ragged lesion in a hemisphere of three slices in five, only where there is brain."""
    present = rng.random() < 0.6
    side = rng.choice((-1.0, 1.0))
    centre = (rng.uniform(-0.38, 0.38), side * rng.uniform(0.2, 0.33))
    radii = rng.uniform(0.055, 0.12, 2)
    if present:
        grown = disc(y, x, centre, (radii[0], radii[1]), rng.uniform(0, np.pi)) + 0.2 * ragged < 1
        labels[grown & (labels >= FLUID)] = LESION
