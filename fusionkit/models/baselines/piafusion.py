"""PIAFusion's fusion network (Tang et al., Information Fusion 83-84, 2022): two streams that exchange differences."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.convolution import mirrored
from fusionkit.models.baselines.network import Baseline, from_tensorflow
from fusionkit.models.baselines.published import Published

ENCODER = (16, 16, 32, 64, 128)
DECODER = (256, 256, 128, 64, 32)
SLOPE = 0.1


class PIAFusion(Baseline):
    """Both streams share all convolutions but the first; the classifier of day and night took part in training only.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "two streams that exchange their weighted difference, trained by day and by night"
    source = "Tang et al., Information Fusion 83-84, 2022"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="Linfeng-Tang/PIAFusion",
        commit="ad10ef8ef666",
        licence="none stated",
        form="checkpoints of TensorFlow 1",
        releases={},
    )
    names = (
        (r"^enter_(ir|vi)\.", r"PIAFusion/encoder/conv5x5_\1/"),
        (r"^encoder\.(\d)\.", r"PIAFusion/encoder/Conv\1/conv3x3/"),
        (r"^decoder\.(\d)\.", r"PIAFusion/decoder/conv\1/"),
        (r"^last\.", "PIAFusion/decoder/conv1x1/"),
        (r"/weight$", "/kernel"),
    )
    ours = staticmethod(from_tensorflow)

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.enter_ir, self.enter_vi = (nn.Conv2d(1, ENCODER[0], 1) for _ in range(2))
        self.encoder, self.decoder = _convolutions(ENCODER), _convolutions(DECODER)
        self.last = nn.Conv2d(DECODER[-1], 1, 1)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        infrared, visible = F.leaky_relu(self.enter_ir(a), SLOPE), F.leaky_relu(self.enter_vi(b), SLOPE)
        *exchanging, deepest = self.encoder.values()
        for layer in exchanging:
            infrared, visible = F.leaky_relu(layer(infrared), SLOPE), F.leaky_relu(layer(visible), SLOPE)
            infrared, visible = with_difference(infrared, visible), with_difference(visible, infrared)
        fused = torch.cat([F.leaky_relu(deepest(x), SLOPE) for x in (visible, infrared)], 1)
        for layer in self.decoder.values():
            fused = F.leaky_relu(layer(fused), SLOPE)
        return torch.tanh(self.last(fused)) / 2 + 0.5


def _convolutions(widths: tuple[int, ...]) -> nn.ModuleDict:
    pairs = enumerate(zip(widths[:-1], widths[1:], strict=True), 1)
    return nn.ModuleDict({str(place): mirrored(*pair) for place, pair in pairs})


def with_difference(own: Tensor, other: Tensor) -> Tensor:
    """Return features (B, C, H, W) plus what they have more than the other's, weighted by how little that is."""
    weight = torch.sigmoid((other - own).mean((2, 3), keepdim=True))
    return own + weight * (own - other)
