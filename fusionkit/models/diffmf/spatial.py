"""The spatial-exchange module (section III-D): both modalities in one map, in three arrangements, at three scales.

Maps are (B, C, H, W), channels first.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.diffmf.blocks import feature_block
from fusionkit.models.diffmf.config import Config
from fusionkit.models.layout import channels_first, channels_last

SCALES = 3


def in_turn(infrared: Tensor, visible: Tensor) -> Tensor:
    """Return a map (B, C, H, 2W) whose columns are infrared and visible in turn: eq. 10, column."""
    return torch.stack([infrared, visible], -1).flatten(-2)


def from_turns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Undo :func:`in_turn`."""
    return x[..., 0::2], x[..., 1::2]


def side_by_side(infrared: Tensor, visible: Tensor) -> Tensor:
    """Return a map (B, C, H, 2W) with infrared on the left and visible on the right: eq. 10, row."""
    return torch.cat([infrared, visible], -1)


def from_sides(x: Tensor) -> tuple[Tensor, Tensor]:
    """Undo :func:`side_by_side`."""
    left, right = x.chunk(2, -1)
    return left, right


class ScanFusion(nn.Module):
    """One scale: three arrangements of both modalities, a VSS block for each, and their projection to one map.

    The superscripts of eqs. 9-10 are read as image columns: over channels, the row arrangement would be the
    concatenated one, and Fig. 2 draws maps that become twice as wide. Open in the paper: what becomes of the twice as
    wide maps (``Config.merge``), and the 1x1 convolution in front of the third block.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.averaged = config.merge == "average"
        self.column, self.row, self.concat = (feature_block(config) for _ in range(3))
        self.narrow = nn.Conv2d(2 * channels, channels, 1)
        self.project = nn.Conv2d((3 if self.averaged else 5) * channels, channels, 1)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fuse the features of both modalities, (B, C, H, W) each, into one map."""
        column = from_turns(_apply(self.column, in_turn(infrared, visible)))
        row = from_sides(_apply(self.row, side_by_side(infrared, visible)))
        concat = _apply(self.concat, self.narrow(torch.cat([infrared, visible], 1)))
        parts = [sum(column) / 2, sum(row) / 2] if self.averaged else [*column, *row]
        return self.project(torch.cat([*parts, concat], 1))


def _apply(block: nn.Module, x: Tensor) -> Tensor:
    return channels_first(block(channels_last(x)))


class SpatialExchange(nn.Module):
    """Scan fusion at full, half and quarter resolution, and what the three say, from coarse to fine.

    Open in the paper: factors, strided convolutions on the way down, bilinear resizing on the way up, C channels at
    every scale (twice as many per scale fit Table VII less), and the 1x1 convolution at the middle scale.

    Source: section III-D and Fig. 2.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.fusion = nn.ModuleList(ScanFusion(config) for _ in range(SCALES))
        self.down_infrared, self.down_visible = _halving(channels), _halving(channels)
        self.middle = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fuse the features of both modalities, (B, C, H, W) each, into a map (B, 2C, H, W)."""
        fused = [self.fusion[0](infrared, visible)]
        for fusion, down_infrared, down_visible in zip(
            self.fusion[1:], self.down_infrared, self.down_visible, strict=True
        ):
            infrared, visible = down_infrared(infrared), down_visible(visible)
            fused.append(fusion(infrared, visible))
        high, middle, low = fused
        return _joined(self.middle(_joined(low, middle)), high)


def _halving(channels: int) -> nn.ModuleList:
    """Return what leads from each scale to the next: convolutions that halve a map, odd sides rounded up."""
    return nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, padding=1) for _ in range(SCALES - 1))


def _joined(coarse: Tensor, fine: Tensor) -> Tensor:
    return torch.cat([enlarge(coarse, fine.shape[-2:]), fine], 1)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map bilinearly to the size of its partner."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
