"""YDTR (Tang et al., IEEE TMM 25, 2023): two streams with shared weights that join like a Y."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.convolution import ConvNorm
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release
from fusionkit.models.baselines.transformer import NAMES, TokenBlocks, unused_parts

WIDTH, SQUEEZED, DEPTH = 64, 8, 2


class YDTR(Baseline):
    """Each source, and then their sum, passes the same gates over positions and channels and the same token blocks.

    Args:
        complete: Also compute the queries and keys that have no effect, as the authors' code does; only costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "shared gates and token blocks for both sources and for their sum"
    source = "Tang et al., IEEE TMM 25, 2023"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="tthinking/YDTR",
        commit="b1f01b4ba7b2",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={"authors": Release("ydtr", "3a8aaa528847d64ab9a3a05cf5b2b203a87c13ba02338823891fe2e356ed50e2")},
    )
    names = (
        (r"^first\.", "convInput."),
        (r"^positions\.", "DDF.spatial_branch.body."),
        (r"^channels\.", "DDF.channel_branch.fc."),
        (r"^last\.", "convolutional_out.conv."),
        *NAMES,
    )
    idle = ("unused.",)

    def __init__(self, complete: bool = False, post: str = "truncate") -> None:
        super().__init__(post)
        self.first = ConvNorm(1, WIDTH)
        self.positions = nn.Sequential(nn.Conv2d(WIDTH, SQUEEZED, 3, padding=1), nn.Conv2d(SQUEEZED, 1, 3, padding=1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.channels = nn.Sequential(nn.Conv2d(WIDTH, SQUEEZED, 1), nn.ReLU(), nn.Conv2d(SQUEEZED, WIDTH, 1))
        self.transformer = TokenBlocks(WIDTH, DEPTH, int(complete))
        self.last = nn.Conv2d(WIDTH, 1, 1)
        spare = {"conv64": ConvNorm(WIDTH, WIDTH), "conv": ConvNorm(2 * WIDTH, WIDTH)}
        self.unused = nn.ModuleDict(spare | unused_parts(DEPTH))

    def enhance(self, features: Tensor) -> Tensor:
        """Weigh features (B, 64, H, W) by both gates and pass them through the token blocks."""
        gates = self.positions(features) + self.channels(self.pool(features))
        return self.transformer(features * gates)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        first, second = (self.enhance(self.first(image)) for image in (a, b))
        return torch.tanh(self.last(self.enhance(first + second)))
