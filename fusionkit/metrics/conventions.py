"""The named ways in which toolboxes read an image before they measure it, as data.

A convention decides how pixels become numbers (quantisation, colour); in what a single metric differs under
it is recorded beside that metric, in the ``variants`` of its `Metric`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from skimage.color import rgb2lab
from torch import Tensor

from fusionkit.errors import unknown


def round_half_up(x: Tensor) -> Tensor:
    """Round non-negative values to the nearest integer, halves upward as MATLAB does."""
    return torch.floor(x + 0.5)


@dataclass(frozen=True)
class GreyRule:
    """How three channels become one.

    Attributes:
        text: The rule in words.
        convert: Takes levels 0..255, float64 (B, 3, H, W); returns whole levels (B, 1, H, W).
    """

    text: str
    convert: Callable[[Tensor], Tensor]


def _matlab_grey(levels: Tensor) -> Tensor:
    weights = levels.new_tensor((0.298936021, 0.587043074, 0.114020904)).view(1, 3, 1, 1)
    return round_half_up((levels * weights).sum(dim=1, keepdim=True))


def _opencv_grey(levels: Tensor) -> Tensor:
    # Whole weights keep exact halves exact.
    weights = levels.new_tensor((299.0, 587.0, 114.0)).view(1, 3, 1, 1)
    return torch.round((levels * weights).sum(dim=1, keepdim=True) / 1000)


def _lightness(levels: Tensor) -> Tensor:
    lab = rgb2lab((levels / 255).movedim(1, -1).cpu().numpy())
    lightness = round_half_up(torch.from_numpy(lab[..., 0]).to(levels).unsqueeze(1) * 2.55)
    equal = (levels == levels[:, :1]).flatten(1).all(dim=1).view(-1, 1, 1, 1)
    return torch.where(equal, levels[:, :1], lightness)


MATLAB_GREY = GreyRule(
    "MATLAB rgb2gray: 0.298936021 R + 0.587043074 G + 0.114020904 B, halves rounded up", _matlab_grey
)
OPENCV_GREY = GreyRule("OpenCV: 0.299 R + 0.587 G + 0.114 B, halves rounded to even", _opencv_grey)
LIGHTNESS = GreyRule(
    "lightness L* of CIE Lab, 0 to 100 stretched to 0..255 and rounded; an image with three equal channels is "
    "measured as it is",
    _lightness,
)
CHANNEL_BY_CHANNEL = "channel by channel, then the mean; a grey image joins every channel"


@dataclass(frozen=True)
class Convention:
    """One toolbox's reading of images.

    Attributes:
        name: What users write.
        used_by: Whose tables it explains.
        source: The code it stands for.
        values: The numbers its code computes with.
        grey: Its grey rule, or None where colour images are measured channel by channel and averaged.
        quantisation: How floats in [0, 1] become grey levels.
    """

    name: str
    used_by: str
    source: str
    values: str
    grey: GreyRule | None
    quantisation: str = "255 x rounded to uint8, halves to even"

    @property
    def colour(self) -> str:
        """Return the colour rule in words."""
        return self.grey.text if self.grey else CHANNEL_BY_CHANNEL


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "tang",
            "FusionMamba's tables; likely other papers since 2023 that use MATLAB",
            "Linfeng Tang's MATLAB evaluation code, driver of March 2023",
            "0..255 doubles",
            MATLAB_GREY,
        ),
        Convention(
            "tang2022",
            "the spreadsheet published in that repository (SD near 9, SF near 0.04)",
            "Linfeng Tang's MATLAB evaluation code, driver of 2022",
            "[0, 1] doubles for SF, Qabf, Nabf, MSE and PSNR, saturating uint8 for SD and VIF, 0..255 for the rest",
            MATLAB_GREY,
        ),
        Convention(
            "vifb",
            "VIFB's tables",
            "MATLAB code of the visible and infrared image fusion benchmark VIFB",
            "0..255 doubles",
            None,
        ),
        Convention(
            "liu",
            "papers that report Qcb, Qcv, Q_P, Q_Y or Q_NCIE",
            "Zheng Liu's MATLAB collection of fusion metrics; its grey rule is taken to be MATLAB's",
            "0..255 doubles",
            MATLAB_GREY,
        ),
        Convention(
            "cddfuse",
            "CDDFuse; by magnitude DIFF-MF; many papers since 2023 that use Python",
            "the Python class Evaluator of CDDFuse, computed here in float64 instead of its float32",
            "0..255",
            OPENCV_GREY,
        ),
        Convention(
            "cddfuse-uint8",
            "LightFusionNet's SF and AG, by magnitude",
            "the same Python functions fed uint8 arrays",
            "uint8: differences and squares wrap modulo 256",
            OPENCV_GREY,
        ),
        Convention(
            "han",
            "papers that really mean VIFF",
            "the MATLAB code that Han et al. published with VIFF",
            "0..255 doubles",
            LIGHTNESS,
        ),
        Convention(
            "rfn",
            "RFN-Nest, IFT, the DenseFuse family",
            "MATLAB evaluation code of RFN-Nest; its grey rule is taken to be MATLAB's",
            "[0, 1] doubles",
            MATLAB_GREY,
        ),
        Convention(
            "reference",
            "fusionkit's recommendation",
            "the definitions of the original publications",
            "0..255 float64",
            MATLAB_GREY,
        ),
    )
}


def get_convention(name: str) -> Convention:
    """Return a convention by name.

    Args:
        name: A key of `CONVENTIONS`.

    Raises:
        FusionkitError: If no convention has this name; near names are suggested.
    """
    if name not in CONVENTIONS:
        raise unknown("convention", name, CONVENTIONS)
    return CONVENTIONS[name]
