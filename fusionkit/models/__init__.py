"""Every fusion method under one call: ``create_model(name, weights=...)``, ``forward(a, b) -> fused``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from fusionkit.errors import FusionkitError, unknown
from fusionkit.models.baselines import BASELINES
from fusionkit.models.baselines.published import Published
from fusionkit.models.classical import (
    DiscreteWavelet,
    GradientTransfer,
    GuidedFilter,
    LaplacianPyramid,
    RatioPyramid,
    StationaryWavelet,
    TwoScaleSaliency,
)
from fusionkit.models.diffmf import DiffMF
from fusionkit.models.fusionmamba import FusionMamba
from fusionkit.models.fusionmamba import load_official as load_fusionmamba
from fusionkit.models.lightfusionnet import LightFusionNet
from fusionkit.models.oracle import PixelOracle
from fusionkit.models.rules import Average, Maximum
from fusionkit.models.s4fusion import S4Fusion
from fusionkit.models.s4fusion import load_official as load_s4fusion


@dataclass(frozen=True)
class ModelEntry:
    """What the registry knows of a model.

    Attributes:
        build: Constructor; its keyword arguments are the model's options.
        about: One line for lists.
        source: Where it comes from.
        trained: Whether it needs weights to be of use.
        read_authors: Builds it from a state dict of the paper's authors and the name of its source, for messages;
            None where that is not possible.
        published: Task, repository, licence and released weights of a method whose authors published code.
    """

    build: Callable[..., nn.Module]
    about: str
    source: str
    trained: bool
    read_authors: Callable[[Mapping[str, Tensor], str], nn.Module] | None = None
    published: Published | None = None


MODELS: dict[str, ModelEntry] = {
    "average": ModelEntry(Average, "pixelwise mean", "trivial rule", trained=False),
    "maximum": ModelEntry(Maximum, "pixelwise maximum", "trivial rule", trained=False),
    "laplacian_pyramid": ModelEntry(
        LaplacianPyramid, "stronger differences between scales", "Burt & Adelson, IEEE TCOM, 1983", trained=False
    ),
    "ratio_pyramid": ModelEntry(
        RatioPyramid, "stronger ratios between scales", "Toet, Pattern Recognition Letters, 1989", trained=False
    ),
    "discrete_wavelet": ModelEntry(
        DiscreteWavelet, "stronger wavelet coefficients", "Li et al., GMIP, 1995", trained=False
    ),
    "stationary_wavelet": ModelEntry(
        StationaryWavelet, "stronger wavelet coefficients, undecimated", "Rockinger, ICIP, 1997", trained=False
    ),
    "guided_filter": ModelEntry(
        GuidedFilter, "two scales, weights that follow edges (GFF)", "Li et al., IEEE TIP, 2013", trained=False
    ),
    "gradient_transfer": ModelEntry(
        GradientTransfer,
        "grey levels of the first image, gradients of the second (GTF)",
        "Ma et al., Information Fusion, 2016",
        trained=False,
    ),
    "two_scale_saliency": ModelEntry(
        TwoScaleSaliency,
        "mean of the bases, details by saliency (TIF)",
        "Bavirisetti & Dhuli, Infrared Physics & Technology, 2016",
        trained=False,
    ),
    "oracle_lightfusionnet": ModelEntry(
        partial(PixelOracle, "lightfusionnet"),
        "pixels optimised on LightFusionNet's loss: its floor",
        "this project",
        trained=False,
    ),
    "lightfusionnet": ModelEntry(
        LightFusionNet,
        "dual-stream network with predictive context attention, 4,119 parameters",
        "Sagar, PMLR 317, 2026",
        trained=True,
    ),
    "oracle_fusionmamba": ModelEntry(
        partial(PixelOracle, "fusionmamba"),
        "pixels optimised on FusionMamba's loss: its floor",
        "this project",
        trained=False,
    ),
    "fusionmamba": ModelEntry(
        FusionMamba,
        "U-Net of dynamic state space blocks; the paper's equations or the authors' code",
        "Xie et al., arXiv 2404.09498, 2024",
        trained=True,
        read_authors=load_fusionmamba,
    ),
    "oracle_s4fusion": ModelEntry(
        partial(PixelOracle, "s4fusion_no_perception", steps=150),
        "pixels optimised on S4Fusion's loss without perception: its floor",
        "this project",
        trained=False,
    ),
    "s4fusion": ModelEntry(
        S4Fusion,
        "U-Net of scan blocks whose modalities take turns in one scan",
        "Ma et al., arXiv 2405.20881, 2024",
        trained=True,
        read_authors=load_s4fusion,
    ),
    "oracle_diffmf": ModelEntry(
        partial(PixelOracle, "diffmf", steps=150),
        "pixels optimised on DIFF-MF's loss: its floor",
        "this project",
        trained=False,
    ),
    "diffmf": ModelEntry(
        DiffMF,
        "difference-driven stages, then exchange over channels and over columns",
        "Sun et al., arXiv 2601.05538, 2026",
        trained=True,
    ),
}

MODELS |= {
    name: ModelEntry(
        network,
        network.about,
        network.source,
        trained=True,
        read_authors=network.from_authors,
        published=network.published,
    )
    for name, network in BASELINES.items()
}


def list_models() -> list[str]:
    """Return the names of all registered models."""
    return sorted(MODELS)


def model_entry(name: str) -> ModelEntry:
    """Return the registry's entry of a model.

    Raises:
        FusionkitError: No model has this name.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


def build_model(name: str, **options: Any) -> nn.Module:
    """Build a model from its options, with fresh weights, in evaluation mode.

    Raises:
        FusionkitError: Unknown model or option.
    """
    entry = model_entry(name)
    try:
        return entry.build(**options).eval()
    except TypeError as error:
        raise FusionkitError(f"model {name}: {error}") from error
