"""DIFF-MF (Sun et al., arXiv 2601.05538): stems, stages, channel exchange, spatial exchange, decoder."""

from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.models.diffmf.channel import ChannelExchange
from fusionkit.models.diffmf.config import Config, configure
from fusionkit.models.diffmf.extraction import SLOPE, DifferenceStage, State, convolutions
from fusionkit.models.diffmf.spatial import SpatialExchange, enlarge
from fusionkit.models.inputs import check_images
from fusionkit.models.layout import channels_first, channels_last


class DiffMF(nn.Module):
    """The network that the paper describes and, through its options, those of Tables II to VI.

    Rebuilt from text, figures and Table VII; the authors have released no code. Open points are named in ``Config``
    and at the modules. Both images are luma: the method section speaks of a visible image of three channels, Table VII
    of one, and the paper puts colour back through YCbCr.

    Open too is the start: scans begin as in VMamba, every other layer as PyTorch draws it, which learned faster here
    than VMamba's narrow linear layers.

    Args:
        size: ``"base"`` (the paper's) or ``"tiny"`` (ours, for a laptop).
        **changes: Fields of ``Config`` to replace.

    Raises:
        FusionkitError: Unknown size, option or value.
    """

    def __init__(self, size: str = "base", **changes: Any) -> None:
        super().__init__()
        self.config = config = configure(size, **changes)
        self.stem_infrared = convolutions(1, config.channels, config.stem_stride)
        self.stem_visible = convolutions(1, config.channels, config.stem_stride)
        self.stages = nn.Sequential(*(DifferenceStage(config) for _ in range(config.stages)))
        self.channel_exchange = ChannelExchange(config) if config.channel_exchange else None
        self.spatial_exchange = SpatialExchange(config) if config.spatial_exchange else None
        self.decoder = Decoder(config)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse two images of any size from 16x16 on.

        Args:
            a: Infrared image, (B, 1, H, W) in [0, 1].
            b: Visible image's luma, alike.

        Returns:
            The fused image, (B, 1, H, W), in [0, 1] unless ``output`` is ``"blend"``.

        Raises:
            FusionkitError: The images differ, are too small, have more channels or leave the range.
        """
        check_images(a, b)
        state = self.stages(self.enter(a, b))
        fused = self.fuse(*self.exchange(state.infrared, state.visible))
        return self.decoder(fused, torch.cat([a, b], dim=1))

    def enter(self, infrared: Tensor, visible: Tensor) -> State:
        """Return what the first stage sees of two images (B, 1, H, W): the stems' features, own and shared alike."""
        features = channels_last(self.stem_infrared(infrared)), channels_last(self.stem_visible(visible))
        return State(*features, *features)

    def exchange(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return features behind the channel exchange, of features (B, H, W, C) each."""
        return (infrared, visible) if self.channel_exchange is None else self.channel_exchange(infrared, visible)

    def fuse(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Return one map (B, 2C, H, W), without the spatial exchange (B, C, H, W), of features (B, H, W, C) each."""
        infrared, visible = channels_first(infrared), channels_first(visible)
        return (infrared + visible) / 2 if self.spatial_exchange is None else self.spatial_exchange(infrared, visible)


class Decoder(nn.Module):
    """From features to an image: one 1x1 and three 3x3 convolutions, leaky ReLUs between them, a sigmoid.

    Where the output is ``"blend"``, the first 3x3 convolution sees both images, too, and the last one gives two maps in
    place of the image: with weight w and correction c, infrared a and visible b, the fused image is
    (a + b) / 2 + tanh(w) (a - b) / 2 + c.

    Source: Fig. 2 draws a box, the text says nothing. Three 3x3 convolutions are SwinFusion's tail, the sigmoid keeps
    the image in [0, 1]. The blend is ours.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.blends = config.output == "blend"
        self.narrow = nn.Conv2d((2 if config.spatial_exchange else 1) * channels, channels, 1)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels + 2 if self.blends else channels, channels, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels // 2, 2 if self.blends else 1, 3, padding=1),
        )

    def forward(self, x: Tensor, images: Tensor) -> Tensor:
        """Return the fused image (B, 1, H, W).

        Args:
            x: Features, (B, 2C, h, w), without the spatial exchange (B, C, h, w); smaller than the images where the
                stems have strides.
            images: Infrared and visible image, (B, 2, H, W).
        """
        size = images.shape[-2:]
        x = self.narrow(x if x.shape[-2:] == size else enlarge(x, size))
        if not self.blends:
            return self.convolutions(x).sigmoid()
        correction, weight = self.convolutions(torch.cat([x, images], dim=1)).chunk(2, dim=1)
        infrared, visible = images.chunk(2, dim=1)
        return (infrared + visible + weight.tanh() * (infrared - visible)) / 2 + correction
