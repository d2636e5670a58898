"""One entry point for any set of metrics under any convention."""

from collections.abc import Sequence

from torch import Tensor

from fusionkit.metrics.catalogue import METRICS, get_metric
from fusionkit.metrics.conventions import get_convention
from fusionkit.metrics.images import prepare


def evaluate(
    fused: Tensor, a: Tensor, b: Tensor, metrics: Sequence[str] | None = None, convention: str = "tang"
) -> dict[str, Tensor]:
    """Measure a batch of fused images against their sources.

    Args:
        fused: Fused images, (B, 1, H, W) or (B, 3, H, W); uint8, or floats in [0, 1] (rounded to 8 bits).
        a: First sources (infrared or functional), same batch, height and width.
        b: Second sources (visible or anatomical), same batch, height and width.
        metrics: Names of metrics; None for all that the convention has and the image size allows.
        convention: Name of the convention.

    Returns:
        Metric name to one float64 value per image, (B,), on the device of the images. NaN is returned where
        the convention's own code answers NaN.

    Raises:
        FusionkitError: If images are unfit, a name is unknown, or a named metric does not exist in the
            convention or needs larger images.
    """
    rules = get_convention(convention)
    if metrics is not None:
        names = [metrics] if isinstance(metrics, str) else metrics
        chosen = [get_metric(name) for name in names]
        for metric in chosen:
            metric.variant(rules.name)
    levels = prepare({"fused": fused, "a": a, "b": b}, rules)
    if metrics is None:
        side = min(levels["fused"].shape[-2:])
        chosen = [m for m in METRICS.values() if rules.name in m.variants and side >= m.min_side]
    return {metric.name: metric.measure(levels, rules) for metric in chosen}
