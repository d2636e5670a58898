"""DATFuse (Tang et al., IEEE TCSVT 33, 2023): dual attention, token blocks, dual attention again."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.convolution import ConvNorm
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release
from fusionkit.models.baselines.transformer import NAMES, TokenBlocks, unused_parts

WIDTH, SQUEEZED, DEPTH = 16, 4, 2


class DATFuse(Baseline):
    """Features are extracted by one convolution used twice, and weighted over channels and over positions.

    Args:
        complete: Also compute the queries and keys that have no effect, as the authors' code does; only costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "channel and position attention around two token blocks"
    source = "Tang et al., IEEE TCSVT 33, 2023"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="tthinking/DATFuse",
        commit="0cd93f15fb55",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={"authors": Release("datfuse", "dfb9125c7a765baa85c1ac31c5d10e62d1d541d74a31ffd9d94fab372a8b72c3")},
    )
    names = (
        (r"^first\.", "convolutional."),
        (r"^extract\.", "fem."),
        (r"^channels\.", "cam.fc."),
        (r"^positions\.", "sam.body."),
        (r"^last\.", "convolutional_out.conv."),
        *NAMES,
    )
    idle = ("unused.",)

    def __init__(self, complete: bool = False, post: str = "truncate") -> None:
        super().__init__(post)
        self.first = ConvNorm(2, WIDTH, 5)
        self.extract = ConvNorm(WIDTH, WIDTH, relu=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.channels = nn.Sequential(
            nn.Conv2d(WIDTH, SQUEEZED, 1), nn.ReLU(), nn.Conv2d(SQUEEZED, WIDTH, 1), nn.Sigmoid()
        )
        self.positions = nn.Sequential(
            nn.Conv2d(WIDTH, SQUEEZED, 3, padding=1),
            nn.BatchNorm2d(SQUEEZED),
            nn.ReLU(),
            nn.Conv2d(SQUEEZED, 1, 3, padding=1),
            nn.BatchNorm2d(1),
            nn.Sigmoid(),
        )
        self.transformer = TokenBlocks(WIDTH, DEPTH, int(complete))
        self.last = nn.Conv2d(WIDTH, 1, 1)
        self.unused = nn.ModuleDict(unused_parts(DEPTH))

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Extract features (B, 16, H, W); return them, and them times the sum of both attentions."""
        features = self.extract(F.relu(self.extract(features)))
        channels = self.channels(self.pool(features))
        return features, features * channels + features * self.positions(features)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        shallow = self.first(torch.cat([a, b], 1))
        _, weighted = self.attend(shallow)
        features, weighted = self.attend(self.transformer(F.relu(weighted + shallow)))
        return torch.tanh(self.last(weighted + features))
