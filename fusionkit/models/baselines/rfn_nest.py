"""RFN-Nest (Li et al., Information Fusion 73, 2021): an auto-encoder whose levels are fused by residual networks."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.nest import NAMES, WIDTHS, Nest, layer
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published

LARGEST = 512


class RFNNest(Baseline):
    """The auto-encoder with a residual fusion network at each level.

    Images with a side of more than 512 pixels are fused in four parts that overlap by five pixels, as the authors do
    it; overlaps are averaged.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "nested auto-encoder, residual fusion at four levels"
    source = "Li et al., Information Fusion 73, 2021"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="hli1221/imagefusion-rfn-nest",
        commit="76e4e0500a3d",
        licence="none stated",
        form="state dicts of PyTorch, of the auto-encoder and of the fusion network",
        releases={},
    )
    names = (
        *NAMES,
        (r"^fusion\.", "fusion.fusion_block"),
        (r"\.join\.", ".conv_fusion."),
        (r"\.(ir|vi)\.", r".conv_\1."),
        (r"\.rest\.", ".bottelblock."),
    )

    def __init__(self, post: str = "minmax_truncate") -> None:
        super().__init__(post)
        self.nest = Nest()
        self.fusion = nn.ModuleDict({str(level): _Fusion(width) for level, width in enumerate(WIDTHS, 1)})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in grey levels, not limited to 255."""
        height, width = a.shape[-2:]
        if max(height, width) <= LARGEST:
            return self.fuse(a, b)
        total, count = torch.zeros_like(a), torch.zeros_like(a)
        for rows in _halves(height):
            for columns in _halves(width):
                total[..., rows, columns] += self.fuse(a[..., rows, columns], b[..., rows, columns])
                count[..., rows, columns] += 1
        return total / count

    def fuse(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image of one part."""
        levels = zip(self.fusion.values(), self.nest.encode(255 * a), self.nest.encode(255 * b), strict=True)
        return self.nest.decode([fusion(x, y) for fusion, x, y in levels])

    def image(self, raw: Tensor) -> Tensor:
        """Map 0..255 to 0..1."""
        return raw / 255


class _Fusion(nn.Module):
    """The fusion of one level: one convolution over both sources, and several with two of their own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.join = layer(2 * width, width, 3)
        self.ir, self.vi = layer(width, width, 3), layer(width, width, 3)
        self.rest = nn.Sequential(layer(2 * width, width, 1), layer(width, width, 3), layer(width, width, 3))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return fused features (B, C, H, W)."""
        return self.rest(torch.cat([self.ir(x), self.vi(y)], 1)) + self.join(torch.cat([x, y], 1))


def _halves(side: int) -> tuple[slice, slice]:
    centre = side // 2
    return slice(centre + 3), slice(centre - 2, side)
