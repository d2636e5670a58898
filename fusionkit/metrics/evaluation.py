"""One entry point for any set of metrics under any convention."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.metrics.catalogue import METRICS, get_metric
from fusionkit.metrics.conventions import get_convention
from fusionkit.metrics.images import prepare


class TooSmallWarning(UserWarning):
    """Some metrics were left out because they are not defined for images this small."""


def evaluate(
    fused: Tensor, a: Tensor, b: Tensor, metrics: Sequence[str] | None = None, convention: str = "tang"
) -> dict[str, Tensor]:
    """Measure a batch of fused images against their sources.

    Args:
        fused: Fused images, (B, 1, H, W) or (B, 3, H, W); uint8, or floats in [0, 1] (rounded to 8 bits).
        a: First sources (infrared or functional), same batch, height and width.
        b: Second sources (visible or anatomical), same batch, height and width.
        metrics: Names of metrics; None for all that the convention has.
        convention: Name of the convention.

    Returns:
        Metric name to one float64 value per image, (B,), on the device of the images. NaN is returned where
        the convention's own code answers NaN. A metric that needs larger images is left out, with a
        `TooSmallWarning` that names the smallest size; the others are measured.

    Raises:
        FusionkitError: If images are unfit, a name is unknown, a named metric does not exist in the convention,
            or none of the named metrics is defined for images of this size.
    """
    rules = get_convention(convention)
    if metrics is None:
        chosen = [metric for metric in METRICS.values() if rules.name in metric.variants]
    else:
        chosen = [get_metric(name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    smallest = {metric: metric.smallest(rules.name) for metric in chosen}
    levels = prepare({"fused": fused, "a": a, "b": b}, rules)
    height, width = levels["fused"].shape[-2:]
    fitting = [metric for metric, side in smallest.items() if side <= min(height, width)]
    if len(fitting) < len(chosen):
        missing = ", ".join(f"{m.name} {side}x{side}" for m, side in smallest.items() if m not in fitting)
        message = f"images of {height}x{width} pixels are too small for some metrics; smallest size: {missing}"
        if not fitting:
            raise FusionkitError(message)
        warnings.warn(message, TooSmallWarning, stacklevel=2)
    return {metric.name: metric.measure(levels, rules) for metric in fitting}


def evaluate_conventions(
    fused: Tensor, a: Tensor, b: Tensor, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Tensor]:
    """Measure a batch under several conventions; what two of them define alike is computed once.

    Args:
        fused: Fused images, as for :func:`evaluate`.
        a: First sources.
        b: Second sources.
        wanted: What to measure, as (convention, metric).

    Returns:
        Values (B,) by (convention, metric), without the metrics that need larger images.

    Raises:
        FusionkitError: If images are unfit, a name is unknown, or a metric does not exist in its convention.
    """
    readings: list[dict[str, Tensor]] = []
    known: dict[tuple[Any, ...], Tensor] = {}
    values = {}
    for name in dict.fromkeys(convention for convention, _ in wanted):
        rules = get_convention(name)
        levels = prepare({"fused": fused, "a": a, "b": b}, rules)
        alike = (i for i, other in enumerate(readings) if all(torch.equal(levels[k], other[k]) for k in levels))
        reading = next(alike, len(readings))
        if reading == len(readings):
            readings.append(levels)
        for metric in (get_metric(m) for convention, m in wanted if convention == name):
            if metric.smallest(name) <= min(levels["fused"].shape[-2:]):
                key = (reading, metric.name, *sorted(metric.variant(name).options.items()))
                if key not in known:
                    known[key] = metric.measure(levels, rules)
                values[name, metric.name] = known[key]
    return values
