"""TarDAL's generator (Liu et al., CVPR 2022): a dense block over both images."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published

WIDTH, LAYERS = 32, 3


class TarDAL(Baseline):
    """The generator; the discriminators that trained it take no part in fusion.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "dense convolutions, trained against two discriminators for detection"
    source = "Liu et al., CVPR 2022"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="JinyuanLiu-CV/TarDAL",
        commit="6a9edd744b44",
        licence="GPL-3.0",
        form="a state dict of PyTorch",
        releases={},
    )

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.encoder = _layer(2, WIDTH)
        self.dense = nn.ModuleList(_layer(WIDTH * i, WIDTH) for i in range(1, LAYERS + 1))
        dense = WIDTH * (LAYERS + 1)
        self.fuse = nn.Sequential(
            nn.Sequential(nn.Conv2d(dense, dense, 3, padding=1), nn.ReLU()),
            _layer(dense, 2 * WIDTH),
            _layer(2 * WIDTH, WIDTH),
            nn.Sequential(nn.Conv2d(WIDTH, 1, 3, padding=1), nn.Tanh()),
        )

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        features = self.encoder(torch.cat([a, b], 1))
        for layer in self.dense:
            features = torch.cat([features, layer(features)], 1)
        return self.fuse(features)


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
