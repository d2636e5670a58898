"""ReCoNet (Huang et al., ECCV 2022), its first version: one small fusion step repeated on its own result."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release

WIDTH = 64
ROUNDS = 3
DILATIONS = (1, 2, 3)


class ReCoNet(Baseline):
    """Each round weighs both sources by their difference to the fused image and fuses all three anew.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "attention and dilated convolutions, repeated three times on the fused image"
    source = "Huang et al., ECCV 2022 (first version)"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="dlut-dimt/ReCoNet",
        commit="0870f5f37852",
        licence="MIT",
        form="a state dict of PyTorch, the archive v0",
        releases={"authors": Release("reconet", "32a1e8bfd4e0b95db3e62f38806398437c96c6615cd47af223d1afb0e088f66f")},
    )
    names = (
        (r"^attention_([ab])\.", r"att_\1_conv."),
        (r"^dilated\.(\d)\.", r"dil_conv_\1."),
        (r"^last\.", "fus_conv."),
    )

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.attention_a = nn.Conv2d(2, 1, 3, padding=1, bias=False)
        self.attention_b = nn.Conv2d(2, 1, 3, padding=1, bias=False)
        self.dilated = nn.ModuleDict({str(d): _dilated(d) for d in DILATIONS})
        last = nn.Conv2d(len(DILATIONS) * WIDTH, 1, 3, padding=1)
        self.last = nn.Sequential(last, nn.BatchNorm2d(1), nn.Tanh())

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        fused = torch.maximum(a, b)
        for _ in range(ROUNDS):
            weighted = [a * _gate(self.attention_a, a, fused), fused, b * _gate(self.attention_b, b, fused)]
            features = torch.cat(weighted, 1)
            fused = self.last(torch.cat([layer(features) for layer in self.dilated.values()], 1))
        return fused


def _dilated(dilation: int) -> nn.Sequential:
    conv = nn.Conv2d(3, WIDTH, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(conv, nn.BatchNorm2d(WIDTH), nn.ReLU())


def _gate(layer: nn.Conv2d, image: Tensor, fused: Tensor) -> Tensor:
    """Return the weights (B, 1, H, W) of a source, from its maximum and mean with the fused image."""
    return torch.sigmoid(layer(torch.cat([torch.maximum(image, fused), (image + fused) / 2], 1)))
