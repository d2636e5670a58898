"""Every loss term once; each paper's total is a preset: terms with weights.

All images are (B, 1, H, W) float tensors in [0, 1]; every term returns a scalar tensor, zero or larger.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fusionkit.errors import unknown
from fusionkit.losses.gradient import gradient_max
from fusionkit.losses.information import informed_dissimilarity, informed_intensity
from fusionkit.losses.intensity import intensity_max, intensity_max_squared
from fusionkit.losses.perception import entropy, load_perception, perceived_dissimilarity, perceived_intensity
from fusionkit.losses.similarity import (
    ms_ssim_to_sources,
    normalised_ms_ssim_to_sources,
    ssim_to_sources,
    ssim_to_sources_inside,
)

Term = Callable[[Tensor, Tensor, Tensor], Tensor]

TERMS: dict[str, Term] = {
    term.__name__: term
    for term in (
        intensity_max,
        intensity_max_squared,
        gradient_max,
        ssim_to_sources,
        ssim_to_sources_inside,
        normalised_ms_ssim_to_sources,
        ms_ssim_to_sources,
        informed_intensity,
        informed_dissimilarity,
        perceived_intensity,
        perceived_dissimilarity,
        entropy,
    )
}


@dataclass(frozen=True)
class FusionLoss:
    """A weighted sum of named terms.

    Args:
        weights: Weight per name in ``TERMS``.

    Raises:
        FusionkitError: A term is not known.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in TERMS:
                raise unknown("loss term", name, TERMS)

    def __call__(self, fused: Tensor, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Return each unweighted term and their weighted sum ``"total"``, scalars."""
        values = {name: TERMS[name](fused, a, b) for name in self.weights}
        total = sum(weight * values[name] for name, weight in self.weights.items())
        return values | {"total": total}

    def provenance(self) -> dict[str, Any]:
        """Return which outside weights the terms look through; nothing where they look through none."""
        looks = {"perceived_intensity", "perceived_dissimilarity", "entropy"} & self.weights.keys()
        return {"perception": load_perception().provenance()} if looks else {}


PRESETS: dict[str, FusionLoss] = {
    # LightFusionNet, eq. 5. Its Table 5 prints the same three numbers in another order.
    "lightfusionnet": FusionLoss({"intensity_max": 20.0, "gradient_max": 100.0, "ssim_to_sources": 50.0}),
    # FusionMamba, eqs. 9-12 and section 4.1.2.
    "fusionmamba": FusionLoss({"intensity_max_squared": 1.0, "gradient_max": 1.0, "ssim_to_sources_inside": 10.0}),
    # What the authors' code minimises; its first release had the weights 100, 10, 1, and an answer of the authors
    # advises 10, 1, 1 for infrared-visible pairs.
    "fusionmamba_code": FusionLoss(
        {"intensity_max_squared": 10.0, "gradient_max": 1.0, "normalised_ms_ssim_to_sources": 10.0}
    ),
    "fusionmamba_first_code": FusionLoss(
        {"intensity_max_squared": 100.0, "gradient_max": 10.0, "normalised_ms_ssim_to_sources": 1.0}
    ),
    "fusionmamba_advice": FusionLoss(
        {"intensity_max_squared": 10.0, "gradient_max": 1.0, "normalised_ms_ssim_to_sources": 1.0}
    ),
    # DIFF-MF, eqs. 11-14, which give no weights; these are SwinFusion's for infrared-visible pairs.
    "diffmf": FusionLoss({"intensity_max": 20.0, "gradient_max": 20.0, "ssim_to_sources": 10.0}),
    # S4Fusion, eq. 5: three coefficients of 15, as the text is read; the fourth is not given.
    "s4fusion": FusionLoss(
        {"perceived_intensity": 15.0, "perceived_dissimilarity": 15.0, "gradient_max": 15.0, "entropy": 1.0}
    ),
    # The same without a ResNet50: no entropy, and weights from the images themselves.
    "s4fusion_no_perception": FusionLoss(
        {"informed_intensity": 15.0, "informed_dissimilarity": 15.0, "gradient_max": 15.0}
    ),
}
# What measures the networks of a paper whose own loss needs weights that are not part of this project.
FALLBACKS = {"s4fusion": "s4fusion_no_perception"}


def measured_preset(paper: str) -> str:
    """Return the name of the loss that networks of a paper are measured by: its own, or its fallback."""
    return FALLBACKS.get(paper, paper)


def preset(name: str, weights: Mapping[str, float] | None = None) -> FusionLoss:
    """Return a paper's loss, with some of its weights replaced.

    Args:
        name: A key of ``PRESETS``.
        weights: Replacements by term name.

    Raises:
        FusionkitError: The preset or a term is not known.
    """
    if name not in PRESETS:
        raise unknown("loss", name, PRESETS)
    return FusionLoss({**PRESETS[name].weights, **(weights or {})})
