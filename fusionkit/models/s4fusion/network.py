"""S4Fusion (Ma et al., arXiv 2405.20881): an encoder per modality, a fusion module per scale, a decoder."""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.models.inputs import check_images
from fusionkit.models.resolution import PatchExpanding, PatchMerging
from fusionkit.models.s4fusion.ablations import make_fusion
from fusionkit.models.s4fusion.cmsa import EXPAND
from fusionkit.models.s4fusion.config import Config, configure
from fusionkit.models.s4fusion.patches import STEP, FoldingHead, OverlapEmbedding, next_legal, pad_to_legal
from fusionkit.models.vss import VisualBlock, initialise_linear


class S4Fusion(nn.Module):
    """The network of the released code and, through its options, of Table 3.

    As released, the finest fusion module gives a map that no decoder stage reads; ``use_scale1`` adds it.

    Args:
        size: ``"base"`` (the paper's), ``"tiny"`` or ``"micro"`` (ours, for a laptop and for tests).
        **changes: Fields of ``Config`` to replace. With ``fusion`` the size of the replacement is matched.

    Raises:
        FusionkitError: Unknown size, option or value.
    """

    def __init__(self, size: str = "base", **changes: Any) -> None:
        super().__init__()
        self.config = config = configure(size, **changes)
        dims = config.dims
        self.embed_infrared, self.embed_visible = OverlapEmbedding(dims[0]), OverlapEmbedding(dims[0])
        self.encoder_infrared, self.encoder_visible = _encoder(config), _encoder(config)
        self.fusion = nn.ModuleList(
            make_fusion(channels, config, count) for channels, count in zip(dims, config.fusion_blocks, strict=True)
        )
        self.decoder = _decoder(config)
        self.head = FoldingHead(dims[0], config.fold_normalize)
        self.apply(initialise_linear)

    @property
    def stride(self) -> int:
        """Sides of images are legal where they are a multiple of this, plus one; others are padded."""
        return STEP * 2 ** (len(self.config.dims) - 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse two images of any size from 16x16 on.

        Args:
            a: Infrared image, (B, 1, H, W) in [0, 1].
            b: Visible image's luma, alike.

        Returns:
            The fused image, (B, 1, H, W), in [0, 1] in evaluation, without limits in training.

        Raises:
            FusionkitError: The images differ, are too small, have more channels or leave the range; without ``pad``,
                also where their size is not legal.
        """
        check_images(a, b)
        if not self.config.pad:
            self._refuse_illegal(*a.shape[-2:])
        infrared, (rows, columns) = pad_to_legal(a, self.stride)
        visible, _ = pad_to_legal(b, self.stride)
        fused = self.reconstruct(infrared, visible)[..., rows, columns]
        return fused if self.training else fused.clamp(0, 1)

    def reconstruct(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Return the fused image as the last layer gives it, without checks, padding and limits.

        Args:
            infrared: (B, 1, H, W); H and W are a multiple of the stride, plus one. One or two pixels more run too,
                and get the last bias alone.
            visible: Alike.
        """
        entering, deepest = self.encode(infrared, visible)
        image = self.head(self.decode(deepest, self.fuse(entering)), infrared.shape[-2:])
        return image + self.config.residual * (infrared + visible) if self.config.residual else image

    def encode(self, infrared: Tensor, visible: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Return the features of both modalities before each stage, and the sum of both behind the last."""
        x, y = self.embed_infrared(infrared), self.embed_visible(visible)
        entering = []
        for stage_x, stage_y in zip(self.encoder_infrared, self.encoder_visible, strict=True):
            entering.append((x, y))
            x, y = stage_x(x), stage_y(y)
        return entering, x + y

    def fuse(self, entering: list[tuple[Tensor, Tensor]]) -> list[Tensor | None]:
        """Return the fused features of each scale, finest first; None where the decoder reads none."""
        fused = []
        for level, (module, pair) in enumerate(zip(self.fusion, entering, strict=True)):
            read = level > 0 or self.config.use_scale1
            found = module(*pair) if read or self.config.compute_unused else None
            fused.append(found if read else None)
        return fused

    def decode(self, x: Tensor, fused: list[Tensor | None]) -> Tensor:
        """Return tokens (B, h, w, C) from the deepest features and the fused ones of each scale, finest first."""
        for stage, skip in zip(self.decoder, reversed(fused), strict=True):
            x = stage(x)
            x = x if skip is None else x + skip
        return x

    def _refuse_illegal(self, height: int, width: int) -> None:
        following = next_legal(height, self.stride), next_legal(width, self.stride)
        if following != (height, width):
            raise FusionkitError(
                f"S4Fusion without padding: sides must be {self.stride}k + 1 pixels; got {height}x{width}, "
                f"next is {following[0]}x{following[1]}"
            )


def _encoder(config: Config) -> nn.ModuleList:
    """Return the stages of one modality's encoder: blocks, then half the resolution, except in the last."""
    stages = nn.ModuleList()
    for level, channels in enumerate(config.dims):
        stage = OrderedDict(blocks=_blocks(channels, config.depths[level], config))
        if level < len(config.dims) - 1:
            stage["merge"] = PatchMerging(channels)
        stages.append(nn.Sequential(stage))
    return stages


def _decoder(config: Config) -> nn.ModuleList:
    """Return the stages of the decoder, deepest first: twice the resolution, except in the first, then blocks."""
    stages = nn.ModuleList()
    for level, channels in reversed(list(enumerate(config.dims))):
        stage: OrderedDict[str, nn.Module] = OrderedDict()
        if level < len(config.dims) - 1:
            stage["expand"] = PatchExpanding(2 * channels, 2, channels)
        stage["blocks"] = _blocks(channels, config.depths[level], config)
        stages.append(nn.Sequential(stage))
    return stages


def _blocks(channels: int, depth: int, config: Config) -> nn.Sequential:
    return nn.Sequential(*(VisualBlock(channels, config.states, EXPAND) for _ in range(depth)))
