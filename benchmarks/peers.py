"""Plain implementations of metrics, one image at a time, as most evaluation scripts have them.

They follow the convention ``cddfuse`` and are what our batched metrics are timed against; float64 (H, W) in 0-255.
"""

import numpy as np
from scipy.ndimage import sobel
from scipy.signal import convolve2d
from scipy.stats import entropy
from skimage.measure import shannon_entropy
from skimage.metrics import structural_similarity

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


def ssim(fused: Image, a: Image, b: Image) -> float:
    """Return the sum of the SSIM with both sources (scikit-image)."""
    return float(sum(structural_similarity(fused, x, data_range=2) for x in (a, b)))


def _vif(reference: Image, distorted: Image) -> float:
    numerator = denominator = 0.0
    for scale in range(1, 5):
        n = 2 ** (5 - scale) + 1
        x = np.arange(n) - n // 2
        window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (n / 5) ** 2))
        window /= window.sum()

        def mean(image: Image, window: Image = window) -> Image:
            return convolve2d(image, window, mode="valid")

        if scale > 1:
            reference, distorted = mean(reference)[::2, ::2], mean(distorted)[::2, ::2]
        mu1, mu2 = mean(reference), mean(distorted)
        v1 = np.maximum(mean(reference**2) - mu1**2, 0)
        v2 = np.maximum(mean(distorted**2) - mu2**2, 0)
        cov = mean(reference * distorted) - mu1 * mu2
        gain = cov / (v1 + 1e-10)
        rest = v2 - gain * cov
        gain[v1 < 1e-10], rest[v1 < 1e-10] = 0, v2[v1 < 1e-10]
        v1[v1 < 1e-10] = 0
        gain[v2 < 1e-10], rest[v2 < 1e-10] = 0, 0
        rest[gain < 0], gain[gain < 0] = v2[gain < 0], 0
        rest = np.maximum(rest, 1e-10)
        numerator += np.log10(1 + gain**2 * v1 / (rest + 2)).sum()
        denominator += np.log10(1 + v1 / 2).sum()
    return float(numerator / denominator)


def vif(fused: Image, a: Image, b: Image) -> float:
    """Return the sum of the pixel-domain visual information fidelity with both sources (scipy)."""
    return _vif(a, fused) + _vif(b, fused)


def qabf(fused: Image, a: Image, b: Image) -> float:
    """Return the share of the sources' edges that survive (scipy)."""
    strength, angle = [], []
    for image in (fused, a, b):
        x, y = sobel(image, 1, mode="constant"), -sobel(image, 0, mode="constant")
        strength.append(np.hypot(x, y))
        with np.errstate(divide="ignore", invalid="ignore"):
            angle.append(np.where(x == 0, np.pi / 2, np.arctan(y / x)))
    kept = total = 0.0
    for g, alpha in zip(strength[1:], angle[1:], strict=True):
        low, high = np.minimum(g, strength[0]), np.maximum(g, strength[0])
        ratio = np.where(g == strength[0], g, np.divide(low, high, out=np.zeros_like(g), where=high > 0))
        alike = 1 - np.abs(alpha - angle[0]) / (np.pi / 2)
        quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (alike - 0.8)))
        kept, total = kept + (quality * g).sum(), total + g.sum()
    return float(kept / total)


PEERS = {metric.__name__: metric for metric in (en, sd, sf, ag, mi, scd, cc, vif, qabf, ssim)}
