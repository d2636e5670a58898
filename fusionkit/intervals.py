"""Bootstrap intervals over image pairs: always the same resamples, so that tables do not change by themselves."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95
Interval = tuple[float, float]
UNKNOWN: Interval = (-np.inf, np.inf)


def bootstrap(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> Interval:
    """Return the 95 % percentile interval of a statistic of paired samples, with a fixed seed.

    Args:
        statistic: Function of as many arrays as there are samples, reducing along ``axis``.
        samples: Arrays (N,) of one value per image pair; pairs are drawn together.

    Returns:
        Lower and upper bound; minus and plus infinity where there are fewer than two pairs.
    """
    if len(samples[0]) < 2:
        return UNKNOWN
    drawn = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        paired=len(samples) > 1,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def mean_interval(values: np.ndarray) -> Interval:
    """Return the interval of the mean of per-image values (N,), all finite."""
    return bootstrap(np.mean, values)


def difference_interval(first: pd.Series, second: pd.Series) -> Interval:
    """Return the interval of mean(first - second) over the pairs on which both are finite."""
    one, two = paired(first, second)
    return bootstrap(np.mean, one - two)


def ratio_interval(first: pd.Series, second: pd.Series) -> Interval:
    """Return the interval of mean(first) / mean(second) - 1 over the pairs on which both are finite."""
    return bootstrap(_relative_difference, *paired(first, second))


def paired(*samples: pd.Series) -> list[np.ndarray]:
    """Return per-image values on the pairs that all samples have, without pairs where one is not finite."""
    frame = pd.concat(list(samples), axis=1, join="inner")
    frame = frame[np.isfinite(frame).all(axis=1)]
    return [frame.iloc[:, i].to_numpy(dtype=float) for i in range(len(samples))]


def _relative_difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(first, axis=axis) / np.mean(second, axis=axis) - 1
