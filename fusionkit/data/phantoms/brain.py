"""CT, MR, PET and SPECT pictures of one brain slice."""

from dataclasses import dataclass

import numpy as np

from fusionkit.data.phantoms import anatomy
from fusionkit.data.phantoms.fields import (
    Bytes,
    Field,
    Shape,
    Stops,
    blur,
    colourise,
    to_bytes,
    waves,
)

LABEL_NAMES = anatomy.LABEL_NAMES

# Hounsfield units by tissue, in the order of the labels; the lesion's value is drawn.
_HOUNSFIELD = (-1000.0, -15.0, 1000.0, 8.0, 40.0, 29.0, 6.0, 39.0, 0.0)
_WINDOW = (-8.0, 140.0)

# Signal by tissue as a fraction of full scale, in the order of the labels; the lesion's signal is last.
_MR_WEIGHTINGS = {
    "T1": (0.0, 0.85, 0.07, 0.12, 0.40, 0.62, 0.10, 0.47, 0.24),
    "T2": (0.0, 0.45, 0.06, 0.92, 0.52, 0.34, 0.95, 0.40, 0.78),
    "PD": (0.0, 0.55, 0.08, 0.62, 0.70, 0.54, 0.60, 0.62, 0.80),
}


@dataclass(frozen=True)
class Scanner:
    """What sets PET and SPECT apart: sharpness, counting noise, uptake and the display's colours."""

    fwhm: float
    counts: float
    uptake: tuple[float, ...]
    stops: Stops


_PET = Scanner(
    fwhm=0.024,
    counts=220.0,
    uptake=(0.0, 0.06, 0.04, 0.06, 1.0, 0.27, 0.03, 0.95),
    stops=(
        (0.00, 0.00, 0.00, 0.00),
        (0.16, 0.00, 0.05, 0.30),
        (0.34, 0.05, 0.32, 0.78),
        (0.48, 0.45, 0.75, 0.80),
        (0.60, 0.98, 0.92, 0.30),
        (0.78, 1.00, 0.60, 0.00),
        (1.00, 0.92, 0.05, 0.10),
    ),
)
_SPECT = Scanner(
    fwhm=0.046,
    counts=60.0,
    uptake=(0.0, 0.14, 0.07, 0.10, 1.0, 0.38, 0.05, 0.92),
    stops=(
        (0.00, 0.00, 0.00, 0.00),
        (0.14, 0.10, 0.20, 0.24),
        (0.32, 0.28, 0.05, 0.50),
        (0.50, 0.52, 0.14, 0.55),
        (0.66, 0.95, 0.40, 0.16),
        (0.85, 1.00, 0.58, 0.32),
        (1.00, 1.00, 0.88, 0.74),
    ),
)


def ct_mri(rng: np.random.Generator, shape: Shape) -> tuple[Bytes, Bytes, Bytes]:
    """Draw CT (grey), MR (grey) and tissue labels of one slice, each of shape (H, W)."""
    anatomy_rng, ct_rng, mr_rng = rng.spawn(3)
    labels = anatomy.brain_slice(anatomy_rng, shape)
    return _ct(ct_rng, labels), _mr(mr_rng, labels), labels


def pet_mri(rng: np.random.Generator, shape: Shape) -> tuple[Bytes, Bytes, Bytes]:
    """Draw PET (RGB, (H, W, 3)), MR (grey) and tissue labels of one slice."""
    return _tracer_and_mr(rng, shape, _PET)


def spect_mri(rng: np.random.Generator, shape: Shape) -> tuple[Bytes, Bytes, Bytes]:
    """Draw SPECT (RGB, (H, W, 3)), MR (grey) and tissue labels of one slice."""
    return _tracer_and_mr(rng, shape, _SPECT)


def _tracer_and_mr(rng: np.random.Generator, shape: Shape, scanner: Scanner) -> tuple[Bytes, Bytes, Bytes]:
    anatomy_rng, tracer_rng, mr_rng = rng.spawn(3)
    labels = anatomy.brain_slice(anatomy_rng, shape)
    return _tracer(tracer_rng, labels, scanner), _mr(mr_rng, labels), labels


def _ct(rng: np.random.Generator, labels: Bytes) -> Bytes:
    """Show attenuation through a brain window: bone saturates, soft tissues differ by a few units."""
    values = np.array(_HOUNSFIELD)
    values[anatomy.LESION] = rng.choice((62.0, 17.0))  # fresh blood or swelling
    attenuation = values[labels] + 2.0 * waves(rng, labels.shape, 16, 0.5)
    noise = blur(rng.normal(0.0, 9.0, labels.shape), 0.006)
    low, high = _WINDOW
    return to_bytes((blur(attenuation, 0.004) + noise - low) / (high - low))


def _mr(rng: np.random.Generator, labels: Bytes) -> Bytes:
    """Show a T1-, T2- or proton-weighted slice under a coil bias field, with Rician noise."""
    weights = _MR_WEIGHTINGS[str(rng.choice(tuple(_MR_WEIGHTINGS)))]
    signal = np.array(weights)[labels] * (1 + 0.05 * waves(rng, labels.shape, 40, 0.3))
    signal = blur(signal, 0.004) * np.exp(0.09 * waves(rng, labels.shape, 4, 1.5))
    sigma = rng.uniform(0.010, 0.025)
    real, imaginary = rng.normal(0.0, sigma, (2, *labels.shape))
    return to_bytes(np.hypot(signal + real, imaginary))


def _tracer(rng: np.random.Generator, labels: Bytes, scanner: Scanner) -> Bytes:
    """Show tracer uptake as counted by a blurring scanner and coloured by a clinical display."""
    lesion = rng.choice((1.45, 0.15))  # active tumour or dead tissue
    uptake = np.array((*scanner.uptake, lesion))[labels]
    uptake = uptake * np.clip(1 + 0.16 * waves(rng, labels.shape, 5), 0.5, 1.5)
    counts = rng.poisson(scanner.counts * blur(uptake, 0.8 * scanner.fwhm))
    # Two Gaussians add in quadrature: 0.8 before and 0.6 after counting make the full width.
    seen: Field = blur(counts / scanner.counts, 0.6 * scanner.fwhm)
    peak = np.quantile(seen, 0.995)
    return colourise(seen / max(peak, 1e-6), scanner.stops)
