"""Plant cells as a fluorescent protein and as phase contrast show them."""

from dataclasses import dataclass

import numpy as np

from fusionkit.data.phantoms.fields import Bytes, Field, Shape, blur, centred_grid, disc, to_bytes, waves

LABEL_NAMES = ("medium", "cell wall", "cytoplasm", "vacuole", "plastid", "nucleus")
_WALL_WIDTH = 0.013  # half of it, in half picture sides
MEDIUM, WALL, CYTOPLASM, VACUOLE, PLASTID, NUCLEUS = range(6)

# Optical path by label: what delays light, and so what phase contrast sees.
_PATH = (0.0, 0.10, 0.24, 0.14, 0.50, 0.22)
# Tagged protein by label, before each cell's own level of expression.
_PROTEIN = (0.0, 0.0, 0.10, 0.01, 0.22, 1.0)


@dataclass(frozen=True)
class _Cell:
    """One cell before its neighbours press on it: an ellipse in the warped frame."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    tilt: float

    def at(self, angle: float, level: float) -> tuple[float, float]:
        """Give the (y, x) of the point at a polar angle and a fraction of the way to the rim."""
        v, u = level * self.radii[0] * np.sin(angle), level * self.radii[1] * np.cos(angle)
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return self.centre[0] + cos * v + sin * u, self.centre[1] - sin * v + cos * u


@dataclass(frozen=True)
class _Tissue:
    """The scene: labels, depth below the nearest wall, which cell a pixel is in, and how many cells."""

    labels: Bytes
    depth: Field
    owner: Bytes
    count: int


def gfp_pc(rng: np.random.Generator, shape: Shape) -> tuple[Bytes, Bytes, Bytes]:
    """Draw fluorescence (RGB, only green lit, (H, W, 3)), phase contrast (grey) and labels of some cells."""
    tissue_rng, gfp_rng, phase_rng = rng.spawn(3)
    tissue = _tissue(tissue_rng, shape)
    return _fluorescence(gfp_rng, tissue), _phase_contrast(phase_rng, tissue), tissue.labels


def _tissue(rng: np.random.Generator, shape: Shape) -> _Tissue:
    """Press three to five warped ellipses together and fill each with its organelles."""
    y, x = centred_grid(shape)
    bend_y, bend_x, fine = (waves(rng, shape, n) for n in (5, 5, 16))
    y, x = y + 0.05 * bend_y + 0.006 * fine, x + 0.05 * bend_x - 0.006 * fine
    cells = _place_cells(rng, shape)
    inside = np.stack([(1 - disc(y, x, c.centre, c.radii, c.tilt)) * min(c.radii) for c in cells])
    owner = inside.argmax(axis=0).astype(np.uint8)
    ranked = np.sort(inside, axis=0)
    # Half the lead over the next cell is the distance to the wall they share.
    depth = np.minimum(ranked[-1], (ranked[-1] - ranked[-2]) / 2)

    labels = np.full(shape, MEDIUM, np.uint8)
    labels[depth > -_WALL_WIDTH] = WALL
    labels[depth > _WALL_WIDTH] = CYTOPLASM
    labels[depth > rng.uniform(0.06, 0.1) * (1 + 0.25 * fine)] = VACUOLE
    for number, cell in enumerate(cells):
        own = (owner == number) & (depth > 1.5 * _WALL_WIDTH)
        labels[own] = _organelles(rng, labels[own], y[own], x[own], cell)
    return _Tissue(labels, depth, owner, len(cells))


def _place_cells(rng: np.random.Generator, shape: Shape) -> list[_Cell]:
    """Set cells around the middle of the picture, at about equal angles."""
    count = int(rng.integers(3, 6))
    start = rng.uniform(0, 2 * np.pi)
    reach_y, reach_x = (side / min(shape) for side in shape)
    cells = []
    for number in range(count):
        angle = start + 2 * np.pi * number / count + rng.uniform(-0.25, 0.25)
        ring = rng.uniform(0.45, 0.62)
        centre = (ring * reach_y * np.sin(angle), ring * reach_x * np.cos(angle))
        tall, wide = rng.uniform(0.38, 0.58, 2)
        cells.append(_Cell(centre, (tall, wide), rng.uniform(0, np.pi)))
    return cells


def _organelles(rng: np.random.Generator, found: Bytes, y: Field, x: Field, cell: _Cell) -> Bytes:
    """Lay strands of cytoplasm through the vacuole, plastids below the wall, and the nucleus.

    Args:
        rng: Source of places and sizes.
        found: Labels of the pixels inside the cell, one-dimensional.
        y: Their vertical coordinates.
        x: Their horizontal coordinates.
        cell: Where the cell lies.

    Returns:
        The labels with organelles.
    """
    labels = found.copy()
    home = rng.uniform(0, 2 * np.pi)
    nucleus = cell.at(home, rng.uniform(0.15, 0.55))
    dy, dx = y - nucleus[0], x - nucleus[1]
    for _ in range(3):
        end = cell.at(rng.uniform(0, 2 * np.pi), 1.0)
        along = np.array(end) - nucleus
        along /= np.hypot(*along)
        across = np.abs(dy * along[1] - dx * along[0])
        strand = (across < rng.uniform(0.008, 0.016)) & (dy * along[0] + dx * along[1] > 0)
        labels[strand & (found == VACUOLE)] = CYTOPLASM
    for _ in range(rng.integers(6, 12)):
        middle = cell.at(rng.uniform(0, 2 * np.pi), rng.uniform(0.78, 0.88))
        size, stretch = rng.uniform((0.018, 1.0), (0.034, 1.6))
        labels[disc(y, x, middle, (size, size * stretch), rng.uniform(0, np.pi)) < 1] = PLASTID
    tall, wide = rng.uniform(0.09, 0.16, 2)
    labels[disc(y, x, nucleus, (tall, wide), home) < 1] = NUCLEUS
    return labels


def _fluorescence(rng: np.random.Generator, tissue: _Tissue) -> Bytes:
    """Count the photons of a tagged protein: sharp light, a blurred haze from other planes, shot noise."""
    expression = rng.uniform(0.1, 1.0, tissue.count)
    expression[rng.integers(tissue.count)] = 1.0
    protein = np.array(_PROTEIN)
    protein[CYTOPLASM] = rng.uniform(0.04, 0.3)
    light = protein[tissue.labels] * expression[tissue.owner]
    light = light * np.clip(1 + 0.15 * waves(rng, light.shape, 24, 0.5), 0.3, 2)
    seen = 0.8 * blur(light, 0.012) + 0.25 * blur(light, 0.08) + 0.004
    photons = rng.poisson(150.0 * seen) / 150.0
    picture = np.zeros((*light.shape, 3), np.uint8)
    picture[..., 1] = to_bytes(1.15 * blur(photons, 0.005))
    return picture


def _phase_contrast(rng: np.random.Generator, tissue: _Tissue) -> Bytes:
    """Show optical path less its surroundings: dark walls between bright halos, texture, uneven light."""
    path = np.array(_PATH)[tissue.labels]
    granules = waves(rng, path.shape, 56, 0.2)
    path = path + 0.055 * granules * np.where(tissue.labels >= CYTOPLASM, 1.0, 0.35)
    path = blur(path, 0.006)
    depth = tissue.depth
    wall = np.exp(-((depth / 0.016) ** 2))
    halo = np.exp(-(((depth + 0.045) / 0.025) ** 2)) + 0.6 * np.exp(-(((depth - 0.042) / 0.016) ** 2))
    lamp = 0.52 + 0.04 * waves(rng, path.shape, 3, 1.5)
    picture = lamp - 0.75 * (path - blur(path, 0.12)) - 0.30 * wall + 0.20 * halo
    return to_bytes(picture + rng.normal(0.0, 0.012, path.shape))
