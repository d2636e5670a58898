"""The block that DIFF-MF repeats: VMamba's, or Restormer's, with which Table VII and Figure 8 compare.

Maps are (B, H, W, C), channels last.
"""

from torch import Tensor, nn

from fusionkit.models.diffmf.config import Config
from fusionkit.models.layout import channels_first, channels_last
from fusionkit.models.restormer import ChannelTransformer, restormer_block
from fusionkit.models.vss import VisualBlock

HEADS = 16  # section IV-G
EXPANSION = 2.66  # Restormer's own; the paper names none


class TransformerBlock(nn.Module):
    """Restormer's block on maps whose channels come last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = transformer(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map (B, H, W, C)."""
        return channels_last(self.block(channels_first(x)))


def transformer(channels: int) -> ChannelTransformer:
    """Return Restormer's block, on (B, C, H, W), with the paper's number of heads."""
    return restormer_block(channels, HEADS, EXPANSION)


def feature_block(config: Config) -> VisualBlock | TransformerBlock:
    """Return the block that a network repeats, on (B, H, W, C)."""
    if config.block == "restormer":
        return TransformerBlock(config.channels)
    return VisualBlock(config.channels, config.states)
