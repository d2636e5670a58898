"""A street as a thermal and as a colour camera show it, by day or night, sometimes through smoke."""

import numpy as np

from fusionkit.data.phantoms import street_scene
from fusionkit.data.phantoms.fields import Bytes, Field, Shape, blur, disc, to_bytes, waves
from fusionkit.data.phantoms.street_backdrop import paint_backdrop
from fusionkit.data.phantoms.street_scene import PERSON, SMOKED, Street
from fusionkit.data.phantoms.street_traffic import paint_traffic

LABEL_NAMES = street_scene.LABEL_NAMES

_SMOKE_ODDS = 0.45
_OPAQUE = 0.95
_DISPLAY_RANGE = (-8.0, 36.0)  # degrees Celsius shown as black and as white


def ir_vis(rng: np.random.Generator, shape: Shape) -> tuple[Bytes, Bytes, Bytes]:
    """Draw infrared (grey), visible (RGB, (H, W, 3)) and labels of one street."""
    scene_rng, smoke_rng, infrared_rng, visible_rng = rng.spawn(4)
    street = _build(scene_rng, shape)
    smoke = _smoke(smoke_rng, street)
    street.labels[(street.labels == PERSON) & (smoke > _OPAQUE)] = SMOKED
    return _infrared(infrared_rng, street, smoke), _visible(visible_rng, street, smoke), street.labels


def _build(rng: np.random.Generator, shape: Shape) -> Street:
    height, width = (side / min(shape) for side in shape)
    street = Street.empty(shape, rng.uniform(0.36, 0.46), bool(rng.random() < 0.55))
    paint_backdrop(rng, street, width)
    paint_traffic(rng, street, height, width)
    return street


def _smoke(rng: np.random.Generator, street: Street) -> Field:
    """Measure how much of the light a plume of smoke takes; it hides one person, or there is none."""
    foot, x, tall = street.feet[rng.integers(len(street.feet))]
    billow = waves(rng, street.labels.shape, 20, 0.8)
    drift = rng.uniform(-0.3, 0.3)
    if rng.random() > _SMOKE_ODDS:
        return np.zeros(street.labels.shape)
    rise = np.clip((foot - street.y) / tall, -0.2, 3)
    radius = disc(street.y, street.x - drift * tall * rise**2 * 0.3, (foot - 0.6 * tall, x), (0.95 * tall, 0.55 * tall))
    return 0.985 * np.clip(2.4 - 1.55 * radius + 0.16 * billow, 0, 1)


def _infrared(rng: np.random.Generator, street: Street, smoke: Field) -> Bytes:
    """Show temperature, white hot: softer optics, column noise, smoke hardly felt, no light and shade."""
    warmth = street.warmth + 0.06 * smoke * (18.0 - street.warmth)
    low, high = _DISPLAY_RANGE
    picture = (blur(warmth, 0.007) - low) / (high - low)
    columns = rng.normal(0.0, 0.006, (1, picture.shape[1]))
    return to_bytes(picture + columns + rng.normal(0.0, 0.012, picture.shape))


def _visible(rng: np.random.Generator, street: Street, smoke: Field) -> Bytes:
    """Show reflected light with shadows, lamps and their glare, and smoke in front of it all."""
    light, noise = (0.19, 0.022) if street.night else (0.92, 0.010)
    tint = np.array((0.86, 0.92, 1.08)) if street.night else np.array((1.02, 1.0, 0.96))
    picture = street.albedo * (light * street.shade)[..., None] * tint
    glare = np.zeros_like(picture)
    for lamp in street.lamps:
        rows, cols = (
            np.exp(-0.5 * ((t - centre) / lamp.spread) ** 2) for t, centre in ((street.y, lamp.y), (street.x, lamp.x))
        )
        glare += (lamp.strength * rows * cols)[..., None] * np.array(lamp.colour)
    swirl = 1 + 0.08 * waves(rng, smoke.shape, 12, 1.0)
    veil = (0.28 if street.night else 0.74) * swirl[..., None] * np.array((1.0, 0.99, 0.97))
    # A lamp lights what reflects around it, and also shines into the lens directly.
    picture = picture + glare * (0.55 + 0.6 * np.minimum(street.albedo, 1.0)) * 0.6
    picture = picture + smoke[..., None] * (veil - np.minimum(picture, 1.0))
    return to_bytes(picture + rng.normal(0.0, noise, picture.shape))
