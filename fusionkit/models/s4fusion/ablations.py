"""What Table 3 puts in the place of CMSA, and the choice between them. Maps are (B, H, W, C), channels last.

The paper names the replacements and says that their sizes were matched; how they are built is known from the modules
that the authors released in compiled form.
"""

from functools import partial

import torch
from torch import Tensor, nn

from fusionkit.models.layout import channels_first, channels_last
from fusionkit.models.s4fusion.cmsa import CrossScan, PairFusion, ScanBlock
from fusionkit.models.s4fusion.config import HEADS, Config
from fusionkit.models.scan2d import SelectiveScan2d
from fusionkit.ops import gather, scan_path, scatter

NARROWER = 1.4


class ExchangedScan(nn.Module):
    """FSSM: each modality is scanned with everything that the other one chooses and owns; there is no common state.

    Source: Table 3, Exp. 4; FSSM is that of Peng et al., "FusionMamba: Efficient image fusion with state space model"
    (2024), not of the FusionMamba in this project.
    """

    def __init__(self, channels: int, states: int, rank: int) -> None:
        super().__init__()
        self.infrared = SelectiveScan2d("ss2d", channels, states, rank)
        self.visible = SelectiveScan2d("ss2d", channels, states, rank)

    def forward(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Scan both maps (B, D, H, W); returns as many, the sum over the four orders."""
        path = scan_path("ss2d", *infrared.shape[-2:])
        heat, light = gather(path, infrared), gather(path, visible)
        return (
            *scatter(path, self.visible.scan(heat, *self.visible.arguments(light))),
            *scatter(path, self.infrared.scan(light, *self.infrared.arguments(heat))),
        )


class CrossAttention(nn.Module):
    """CA: the features of each modality, as queries, read a summary of the other; no residual, no norm.

    The summary is softmax(K^T V / sqrt(C / 8)) over the rows, (C / 8, C / 8) per head, so the cost is linear in
    the number of pixels.

    Source: Table 3, Exp. 3; the attention of CMX (Zhang et al., 2023).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.infrared = nn.Linear(channels, 2 * channels, bias=False)
        self.visible = nn.Linear(channels, 2 * channels, bias=False)

    def forward(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Transform the features of both modalities, (B, H, W, C) each."""
        of_infrared, of_visible = summary(self.infrared, infrared), summary(self.visible, visible)
        return read(infrared, of_visible), read(visible, of_infrared)


def summary(projection: nn.Linear, x: Tensor) -> Tensor:
    """Return what the keys and values of a map (B, H, W, C) add up to, (B, 8, C / 8, C / 8)."""
    keys, values = (heads(part) for part in projection(x).chunk(2, -1))
    return (keys.mT @ values * keys.shape[-1] ** -0.5).softmax(-2)


def read(x: Tensor, summary: Tensor) -> Tensor:
    """Return a map (B, H, W, C) whose tokens are those of ``x`` applied to a summary."""
    return (heads(x) @ summary).transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3])


def heads(x: Tensor) -> Tensor:
    """Split the channels of a map (B, H, W, C) into heads: (B, 8, H * W, C / 8)."""
    return x.flatten(1, 2).unflatten(-1, (HEADS, -1)).transpose(1, 2)


class ConvolutionFusion(nn.Module):
    """CNN: both modalities side by side, a 1x1 convolution to a narrower map, a residual block, a 1x1 convolution.

    Source: Table 3, Exp. 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = int(2 * channels // NARROWER)
        self.enter = nn.Conv2d(2 * channels, narrow, 1)
        self.residual = nn.Sequential(
            nn.Conv2d(narrow, narrow, 3, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
        )
        self.leave = nn.Conv2d(narrow, channels, 1)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fuse the features of both modalities, (B, H, W, C) each, into one map."""
        x = self.enter(channels_first(torch.cat([infrared, visible], -1)))
        return channels_last(self.leave((x + self.residual(x)).relu()))


def make_fusion(channels: int, config: Config, count: int) -> nn.Module:
    """Return the fusion module of one scale.

    Args:
        channels: Channels C of either modality's features.
        config: Says which module.
        count: Its blocks, where it has any.
    """
    if config.fusion == "cnn":
        return ConvolutionFusion(channels)
    if config.fusion == "add":
        return PairFusion([])
    return PairFusion([_make_block(channels, config) for _ in range(count)])


def _make_block(channels: int, config: Config) -> nn.Module:
    if config.fusion == "ca":
        return CrossAttention(channels)
    scan = ExchangedScan if config.fusion == "fssm" else partial(CrossScan, mark=config.mark)
    return ScanBlock(channels, config, scan)
