"""FusionGAN's generator (Ma et al., Information Fusion 48, 2019): five convolutions over both images."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline, from_tensorflow
from fusionkit.models.baselines.published import Published

WIDTHS, KERNELS = (2, 256, 128, 64, 32, 1), (5, 5, 3, 3, 1)
# What the convolutions, which do not pad, take off each edge.
MARGIN = sum(kernel // 2 for kernel in KERNELS)
SLOPE = 0.2


class FusionGAN(Baseline):
    """The generator.

    The authors' test script never restores their batch norms: each image is normed by its own mean and variance, so
    every pixel of the output depends on the whole image. Spectral norms took part in training only.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "five convolutions, trained against a discriminator"
    source = "Ma et al., Information Fusion 48, 2019"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="jiayi-ma/FusionGAN",
        commit="15e7ea1fb23d",
        licence="MIT",
        form="checkpoints of TensorFlow 1",
        releases={},
    )
    names = (
        (r"^layers\.(\d)\.weight$", r"fusion_model/layer\1/w\1"),
        (r"^layers\.(\d)\.bias$", r"fusion_model/layer\1/b\1"),
    )
    ours = staticmethod(from_tensorflow)

    def __init__(self, post: str = "minmax") -> None:
        super().__init__(post)
        sizes = enumerate(zip(WIDTHS[:-1], WIDTHS[1:], KERNELS, strict=True), 1)
        self.layers = nn.ModuleDict({str(place): nn.Conv2d(*size) for place, size in sizes})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        *hidden, last = self.layers.values()
        features = F.pad(2 * torch.cat([a, b], 1) - 1, (MARGIN,) * 4, "replicate")
        for layer in hidden:
            features = F.leaky_relu(F.instance_norm(layer(features)), SLOPE)
        return torch.tanh(last(features))

    def image(self, raw: Tensor) -> Tensor:
        """Map (-1, 1) to (0, 1)."""
        return (raw + 1) / 2
