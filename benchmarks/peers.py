"""Plain implementations of metrics, one image at a time, as most evaluation scripts have them.

They follow the convention ``cddfuse`` and are what our batched metrics are timed against; float64 (H, W) in 0-255.
"""

import numpy as np
from scipy.stats import entropy
from skimage.measure import shannon_entropy

Image = np.ndarray


def _correlation(x: Image, y: Image) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def _information(x: Image, y: Image) -> float:
    joint = np.histogram2d(x.ravel(), y.ravel(), bins=256, range=((0, 256), (0, 256)))[0]
    return float(entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.ravel()))


def en(fused: Image, a: Image, b: Image) -> float:
    """Return the entropy in bits (scikit-image)."""
    return float(shannon_entropy(fused.astype(np.uint8)))


def sd(fused: Image, a: Image, b: Image) -> float:
    """Return the standard deviation."""
    return float(fused.std())


def sf(fused: Image, a: Image, b: Image) -> float:
    """Return the spatial frequency."""
    return float(np.sqrt(np.mean(np.diff(fused, axis=0) ** 2) + np.mean(np.diff(fused, axis=1) ** 2)))


def ag(fused: Image, a: Image, b: Image) -> float:
    """Return the average gradient."""
    down, right = np.gradient(fused)
    return float(np.mean(np.sqrt((down**2 + right**2) / 2)))


def mi(fused: Image, a: Image, b: Image) -> float:
    """Return the mutual information with both sources in nats."""
    return _information(fused, a) + _information(fused, b)


def cc(fused: Image, a: Image, b: Image) -> float:
    """Return the mean correlation with both sources."""
    return (_correlation(fused, a) + _correlation(fused, b)) / 2


def scd(fused: Image, a: Image, b: Image) -> float:
    """Return the sum of the correlations of differences."""
    return _correlation(fused - b, a) + _correlation(fused - a, b)


PEERS = {metric.__name__: metric for metric in (en, sd, sf, ag, mi, cc, scd)}
