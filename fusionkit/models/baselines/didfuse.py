"""DIDFuse (Zhao et al., IJCAI 2020): an auto-encoder that splits images into base and detail."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release

WIDTH = 64


class DIDFuse(Baseline):
    """Base, detail and both earlier feature maps of the sources are added, then decoded.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "auto-encoder into base and detail, features added"
    source = "Zhao et al., IJCAI 2020"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="Zhaozixiang1228/DIDFuse",
        commit="5f287300dce7",
        licence="none stated",
        form="two files of PyTorch, state dicts under the key weight; names get the prefixes encoder. and decoder.",
        releases={"authors": Release("didfuse", "4bc273f6da55d1969547c3802658f08b2899fdb07a93ee30797f3e7ff48fe253")},
    )
    names = ((r"\.(cov\d)\.", r".\1.\1."),)

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.encoder = nn.ModuleDict(
            {
                "cov1": nn.Sequential(nn.ReflectionPad2d(1), *_layer(1, WIDTH, nn.PReLU(), padding=0)),
                "cov2": _layer(WIDTH, WIDTH, nn.PReLU()),
                "cov3": _layer(WIDTH, WIDTH, nn.Tanh()),
                "cov4": _layer(WIDTH, WIDTH, nn.Tanh()),
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "cov5": _layer(2 * WIDTH, WIDTH, nn.PReLU()),
                "cov6": _layer(2 * WIDTH, WIDTH, nn.PReLU()),
                "cov7": nn.Sequential(nn.ReflectionPad2d(1), *_layer(2 * WIDTH, 1, nn.Sigmoid(), padding=0)),
            }
        )

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return features of the first and second layer, base and detail, each (B, 64, H, W)."""
        first = self.encoder["cov1"](image)
        second = self.encoder["cov2"](first)
        return first, second, self.encoder["cov3"](second), self.encoder["cov4"](second)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        first, second, base, detail = (x + y for x, y in zip(self.encode(a), self.encode(b), strict=True))
        fused = self.decoder["cov5"](torch.cat([base, detail], 1))
        fused = self.decoder["cov6"](torch.cat([fused, second], 1))
        return self.decoder["cov7"](torch.cat([fused, first], 1))


def _layer(inputs: int, outputs: int, activation: nn.Module, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=padding), nn.BatchNorm2d(outputs), activation)
