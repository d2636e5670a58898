"""What is known about a metric, together with the code that measures it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.metrics.conventions import Convention, get_convention
from fusionkit.metrics.images import prepare

V = TypeVar("V")
# Pixels of one batch of maps, and images in it: histograms of pairs take half a megabyte per image.
CPU_PIXELS, GPU_PIXELS = 2**17, 2**24
IMAGES = 64


@dataclass(frozen=True)
class Variant:
    """A metric as one convention has it.

    Attributes:
        unit: Unit of the values.
        range: Smallest and largest value, in words.
        note: In what it differs from the reference definition.
        options: Keyword arguments of the metric's kernel.
        min_side: Smallest height and width under this convention, in pixels, where it is more than the metric's.
    """

    unit: str
    range: str
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    min_side: int = 1


@dataclass(frozen=True, eq=False)
class Metric:
    """A fusion metric: metadata, the conventions in which it exists, and one kernel for all of them.

    Attributes:
        name: Short name in lower case.
        full_name: Name in full.
        source: Original publication.
        better: Which values count as better: higher ones, lower ones, or those closer to zero.
        needs: Whether it looks at the fused image alone or also at the sources.
        edge_cases: What happens for constant or equal images.
        kernel: Takes the needed images as grey levels, float64 (B, C, H, W), and options; returns (B, C).
        variants: Convention name to variant.
        min_side: Smallest height and width that it is defined for, in pixels.
    """

    name: str
    full_name: str
    source: str
    better: Literal["higher", "lower", "zero"]
    needs: Literal["fused", "fused, a, b"]
    edge_cases: str
    kernel: Callable[..., Tensor]
    variants: Mapping[str, Variant]
    min_side: int = 1

    def __call__(
        self, fused: Tensor, a: Tensor | None = None, b: Tensor | None = None, *, convention: str = "tang"
    ) -> Tensor:
        """Measure a batch.

        Args:
            fused: Fused images, (B, 1, H, W) or (B, 3, H, W), uint8 or floats in [0, 1].
            a: First sources, alike; needed where `needs` names them.
            b: Second sources, alike.
            convention: Name of the convention.

        Returns:
            One float64 value per image, (B,), on the device of the images; NaN where the definition is 0/0.

        Raises:
            FusionkitError: If images or names are bad, or this metric needs sources that are missing.
        """
        images = {"fused": fused} if self.needs == "fused" else {"fused": fused, "a": a, "b": b}
        if any(image is None for image in images.values()):
            raise FusionkitError(f"metric {self.name!r} needs the sources; call {self.name}(fused, a, b)")
        rules = get_convention(convention)
        return self.measure(prepare(images, rules), rules)

    def measure(self, levels: Mapping[str, Tensor], convention: Convention) -> Tensor:
        """Measure prepared images.

        Args:
            levels: Grey levels by name, as `fusionkit.metrics.images.prepare` returns them.
            convention: The convention they were prepared for.

        Returns:
            One float64 value per image, (B,).

        Raises:
            FusionkitError: If the metric does not exist in the convention or the images are too small.
        """
        variant = self.variant(convention.name)
        needed = [levels[name] for name in self.needs.split(", ")]
        height, width = needed[0].shape[-2:]
        side = self.smallest(convention.name)
        if min(height, width) < side:
            raise FusionkitError(
                f"metric {self.name!r} needs images of at least {side}x{side} pixels under {convention.name!r}; "
                f"got {height}x{width}"
            )
        # Few images at a time: their maps stay in the cache of a CPU, and memory stays bounded.
        pixels = CPU_PIXELS if needed[0].device.type == "cpu" else GPU_PIXELS
        count = min(IMAGES, max(1, pixels // needed[0][0].numel()))
        batches = zip(*(image.split(count) for image in needed), strict=True)
        return torch.cat([self.kernel(*batch, **variant.options).mean(dim=1) for batch in batches])

    def gain(self, values: V) -> V:
        """Turn values of this metric so that higher is better.

        Args:
            values: A number, or an array, series or tensor of any shape.
        """
        return {"higher": values, "lower": -values, "zero": -abs(values)}[self.better]

    def smallest(self, convention: str) -> int:
        """Return the smallest height and width that a convention allows, in pixels.

        Raises:
            FusionkitError: If the metric does not exist in that convention.
        """
        return max(self.min_side, self.variant(convention).min_side)

    def variant(self, convention: str) -> Variant:
        """Return how a convention defines this metric.

        Args:
            convention: Name of an existing convention.

        Raises:
            FusionkitError: If the metric does not exist in that convention.
        """
        if convention not in self.variants:
            known = ", ".join(self.variants)
            raise FusionkitError(
                f"metric {self.name!r} does not exist in convention {convention!r}; choose one of {known}"
            )
        return self.variants[convention]
