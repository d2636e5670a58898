"""IFT, Image Fusion Transformer (Vibashan et al., ICIP 2022): RFN-Nest's auto-encoder, fusion with axial attention."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import FusionkitError
from fusionkit.models.baselines.nest import NAMES, WIDTHS, Nest, layer
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.inputs import pad_to_multiple


class IFT(Baseline):
    """The auto-encoder with attention along rows and columns at each level.

    Tables of relative positions fix the size of images: smaller ones are mirrored up to it, larger ones refused.

    Args:
        side: Height and width of the images; the authors' is 256.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown, or ``side`` is no multiple of 16.
    """

    about = "nested auto-encoder, axial attention at four levels; images of at most 256x256"
    source = "Vibashan et al., ICIP 2022"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="Vibashan/Image-Fusion-Transformer",
        commit="53db2ab720d5",
        licence="none stated",
        form="state dicts of PyTorch, of the auto-encoder and of the fusion network",
        releases={},
    )
    names = (
        *NAMES,
        (r"^fusion\.", "fusion.fusion_block"),
        (r"\.axial\.down\.", ".axial_attn.conv_down."),
        (r"\.axial\.up\.", ".axial_attn.conv_up."),
        (r"\.axial\.norm_down\.", ".axial_attn.bn1."),
        (r"\.axial\.norm_up\.", ".axial_attn.bn2."),
        (r"\.axial\.(columns|rows)\.enter\.", r".axial.\1.qkv_transform."),
        (r"\.axial\.(columns|rows)\.norm_(\w+)\.", r".axial.\1.bn_\2."),
        (r"\.axial\.columns\.", ".axial_attn.hight_block."),
        (r"\.axial\.rows\.", ".axial_attn.width_block."),
        (r"\.join\.", ".axial_fusion.0."),
        (r"\.own\.", ".conv_fusion.0."),
        (r"\.rest\.", ".bottelblock."),
    )

    def __init__(self, side: int = 256, post: str = "minmax_truncate") -> None:
        super().__init__(post)
        if side < 16 or side % 16:
            raise FusionkitError(f"side = {side} is not possible for IFT; pass a multiple of 16")
        self.side = side
        self.nest = Nest()
        self.fusion = nn.ModuleDict(
            {str(level): _Fusion(width, side >> level - 1) for level, width in enumerate(WIDTHS, 1)}
        )

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in grey levels, not limited to 255."""
        height, width = a.shape[-2:]
        if max(height, width) > self.side:
            raise FusionkitError(
                f"IFT fuses images of at most {self.side}x{self.side} pixels, its tables of positions end there; "
                f"got {height}x{width}; resize them, as the authors do"
            )
        features = (self.nest.encode(255 * pad_to_multiple(image, self.side)) for image in (a, b))
        levels = zip(self.fusion.values(), *features, strict=True)
        return self.nest.decode([fusion(x, y) for fusion, x, y in levels])[..., :height, :width]

    def image(self, raw: Tensor) -> Tensor:
        """Map 0..255 to 0..1."""
        return raw / 255


class _Fusion(nn.Module):
    """The fusion of one level: a branch with attention over the whole image and one of convolutions, added."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.axial = _AxialBlock(width, side)
        self.join = layer(2 * width, width, 1)
        self.own = layer(width, width, 1)
        self.rest = nn.Sequential(layer(2 * width, width, 1), layer(width, width, 3), layer(width, width, 3))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return fused features (B, C, H, W)."""
        whole = self.join(torch.cat([self.axial(x), self.axial(y)], 1))
        return whole + self.rest(torch.cat([self.own(y), self.own(x)], 1))


class _AxialBlock(nn.Module):
    """Attention along columns, then along rows, on half the channels, added to what it starts from."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        half = width // 2
        self.down, self.norm_down = nn.Conv2d(width, half, 1, bias=False), nn.BatchNorm2d(half)
        self.columns, self.rows = _AxialAttention(half, side), _AxialAttention(half, side)
        self.up, self.norm_up = nn.Conv2d(half, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        inner = F.relu(self.norm_down(self.down(x)))
        inner = self.columns(inner.transpose(2, 3)).transpose(2, 3)
        return F.relu(x + self.norm_up(self.up(F.relu(self.rows(inner)))))


class _AxialAttention(nn.Module):
    """Attention of each position to those of its row, with relative positions in queries, keys and values.

    Args:
        channels: Channels M.
        side: Length K of a row.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.parts = (channels // 2, channels // 2, channels)
        self.relative = nn.Parameter(torch.randn(2 * channels, 2 * side - 1) * channels**-0.5)
        self.enter = nn.Conv1d(channels, 2 * channels, 1, bias=False)
        self.norm_qkv = nn.BatchNorm1d(2 * channels)
        self.norm_similarity = nn.BatchNorm2d(3)
        self.norm_output = nn.BatchNorm1d(2 * channels)
        places = torch.arange(side)
        self.register_buffer("distance", places[:, None] - places + side - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, M, H, K)."""
        batch, _, height, _ = x.shape
        rows = x.transpose(1, 2).flatten(0, 1)
        # Called as a function: thop does not see the authors' layer either, a subclass of Conv1d.
        query, key, value = self.norm_qkv(F.conv1d(rows, self.enter.weight)).split(self.parts, 1)
        of_query, of_key, of_value = self.relative[:, self.distance].split(self.parts)
        similarity = torch.stack(
            [
                query.mT @ key,
                torch.einsum("bci,cij->bij", query, of_query),
                torch.einsum("bci,cij->bji", key, of_key),
            ],
            1,
        )
        weights = torch.softmax(self.norm_similarity(similarity).sum(1), -1)
        attended = torch.stack(
            [torch.einsum("bij,bcj->bci", weights, value), torch.einsum("bij,cij->bci", weights, of_value)], 2
        )
        summed = self.norm_output(attended.flatten(1, 2)).unflatten(1, (-1, 2)).sum(2)
        return summed.unflatten(0, (batch, height)).transpose(1, 2)
