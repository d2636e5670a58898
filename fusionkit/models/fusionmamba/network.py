"""FusionMamba (Xie et al., arXiv 2404.09498): one encoder for both images, a fusion module per level, a decoder."""

from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.models.fusionmamba.blocks import make_block
from fusionkit.models.fusionmamba.config import HEAD, configure
from fusionkit.models.fusionmamba.fusion import FUSION_MODULES
from fusionkit.models.inputs import check_images, pad_to_multiple
from fusionkit.models.layout import channels_first
from fusionkit.models.resolution import PATCH, PatchEmbedding, PatchExpanding, PatchMerging
from fusionkit.models.vss import initialise_linear


class FusionMamba(nn.Module):
    """The network of the paper, of the authors' code and, through its options, of Tables 7 and 8.

    ``mode="paper"`` follows the equations; ``mode="official"`` computes what the released code computes. The two
    differ in more than twenty points (see ``Config`` and the audit "Paper or code?").

    Args:
        size: ``"base"`` (the paper's), ``"tiny"`` (ours, for a laptop), ``"table6"`` or ``"ct_code"``.
        mode: ``"paper"`` or ``"official"``.
        **changes: Fields of ``Config`` to replace.

    Raises:
        FusionkitError: Unknown size, mode, option or value.
    """

    def __init__(self, size: str = "base", mode: str = "paper", **changes: Any) -> None:
        super().__init__()
        self.config = config = configure(size, mode, **changes)
        dims, depths = config.dims, config.depths
        drops = [config.drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
        self.embed1, self.embed2 = PatchEmbedding(dims[0]), PatchEmbedding(dims[0])
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level, (channels, depth) in enumerate(zip(dims, depths, strict=True)):
            first = sum(depths[:level])
            blocks = [make_block(channels, config, drops[first + i], i) for i in range(depth)]
            last = level == len(dims) - 1
            self.encoder.append(Stage(blocks, after=None if last else PatchMerging(channels)))
        for level in reversed(range(len(dims))):
            channels, depth = dims[level], depths[level]
            end = sum(depths[: level + 1]) - 1
            blocks = [make_block(channels, config, drops[end - i], i) for i in range(depth)]
            last = level == len(dims) - 1
            self.decoder.append(Stage(blocks, before=None if last else PatchExpanding(2 * channels, 2, channels)))
        self.fusion = nn.ModuleList(FUSION_MODULES[config.fusion](channels, config) for channels in dims)
        self.expand = PatchExpanding(dims[0], PATCH, dims[0] // HEAD)
        self.head = nn.Conv2d(dims[0] // HEAD, 1, 1)
        self.apply(initialise_linear)

    @property
    def stride(self) -> int:
        """Sides of the images that the stages see are multiples of this; others are padded."""
        return PATCH * 2 ** (len(self.config.dims) - 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse two images of any size from 16x16 on.

        Args:
            a: Infrared image, CT, PET or SPECT luma, or GFP luma, (B, 1, H, W) in [0, 1].
            b: Visible image's luma, MRI, or phase contrast, alike.

        Returns:
            The fused image, (B, 1, H, W): in [0, 1] in evaluation, and in training where ``clamp`` is set.

        Raises:
            FusionkitError: The images differ, are too small, have more channels or leave the range.
        """
        check_images(a, b)
        height, width = a.shape[-2:]
        first, second = (pad_to_multiple(image, self.stride) for image in (b, a))
        fused = self.reconstruct(first, second)[..., :height, :width]
        return fused if self.training and not self.config.clamp else fused.clamp(0, 1)

    def reconstruct(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the fused image as the last layer gives it, without checks, padding and limits.

        Args:
            first: Visible image, MRI or phase contrast, which the paper counts first, (B, 1, H, W); H and W are
                multiples of the stride.
            second: The other modality, alike.
        """
        features1, features2, deepest = self.encode(first, second)
        fused = [module(x, y) for module, x, y in zip(self.fusion, features1, features2, strict=True)]
        if not self.config.level0:
            fused[0] = None  # computed nevertheless, as in the authors' code, so that its cost is that of the code
        image = self.decode(deepest, fused)
        return image + self.config.residual * (first + second) if self.config.residual else image

    def encode(self, first: Tensor, second: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return the features before each stage, of either modality, and the sum of both behind the last.

        Both modalities go through the one encoder side by side, as one batch.
        """
        x = torch.cat([self.embed1(first), self.embed2(second)])
        entering = []
        for stage in self.encoder:
            entering.append(x)
            x = stage(x)
        deepest1, deepest2 = x.chunk(2)
        return [x.chunk(2)[0] for x in entering], [x.chunk(2)[1] for x in entering], deepest1 + deepest2

    def decode(self, x: Tensor, fused: list[Tensor | None]) -> Tensor:
        """Return the image (B, 1, H, W) from the deepest features and the fused ones of each level, finest first."""
        for stage, skip in zip(self.decoder, reversed(fused), strict=True):
            x = stage(x)
            x = x if skip is None else x + skip
        return self.head(channels_first(self.expand(x)))


class Stage(nn.Module):
    """Blocks of one resolution, with what leads to it (decoder) or away from it (encoder)."""

    def __init__(
        self, blocks: list[nn.Module], before: nn.Module | None = None, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.before, self.blocks, self.after = before, nn.ModuleList(blocks), after

    def forward(self, x: Tensor) -> Tensor:
        """Transform features (B, H, W, C)."""
        if self.before is not None:
            x = self.before(x)
        for block in self.blocks:
            x = block(x)
        return x if self.after is None else self.after(x)
