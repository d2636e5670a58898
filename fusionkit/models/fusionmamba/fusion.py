"""The dynamic feature fusion module: DFEM enhances the features of both modalities, CMFM mixes them.

All take and return feature maps (B, H, W, C), channels last.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.fusionmamba.blocks import EXPAND, DynamicBlock, EfficientScan, Mlp
from fusionkit.models.fusionmamba.config import Config
from fusionkit.models.fusionmamba.convolution import DescriptiveConvolution, EfficientChannelAttention
from fusionkit.models.layout import channels_first, channels_last


class Enhancement(NamedTuple):
    """What DFEM adds to the features of two modalities.

    Attributes:
        texture1: Texture map of the first modality, (B, H, W, C).
        texture2: Texture map of the second modality.
        share: Share of the sum that the first modality gets, per channel, (B, 1, 1, C) in (0, 1).
        both: Coarse fusion: the sum of both modalities' features, (B, H, W, C).
    """

    texture1: Tensor
    texture2: Tensor
    share: Tensor
    both: Tensor


class DynamicEnhancement(nn.Module):
    """DFEM, both of them: texture by descriptive convolutions, and a share of the sum by how modalities differ.

    ``D1 = F1 + T1 + g F_f`` and ``D2 = F2 + T2 + (1 - g) F_f`` with ``T = LDC(F)``, ``F_f = F1 + F2``, and per channel
    ``g = sigmoid(mean(T2 - T1))``, or ``sigmoid(mean(F1 - F2))`` in the authors' code.

    Source: FusionMamba, section 3.4 and Fig. 4. The paper has no formula; the form is the code's, the difference of
    texture maps that of the journal version's caption, its sign unknown (the other one swaps the two shares).
    """

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        self.ldc1 = DescriptiveConvolution(channels, config.stored_ones)
        self.ldc2 = DescriptiveConvolution(channels, config.stored_ones)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.difference = config.difference

    def parts(self, first: Tensor, second: Tensor) -> Enhancement:
        """Return the parts of the sum, from the features of both modalities, (B, H, W, C) each."""
        texture1, texture2 = (
            channels_last(ldc(channels_first(x))) for ldc, x in ((self.ldc1, first), (self.ldc2, second))
        )
        more, less = (texture2, texture1) if self.difference == "texture" else (first, second)
        apart = self.pool(channels_first(more)) - self.pool(channels_first(less))
        return Enhancement(texture1, texture2, channels_last(torch.sigmoid(apart)), first + second)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance the features of both modalities, (B, H, W, C) each."""
        texture1, texture2, share, both = self.parts(first, second)
        return first + texture1 + share * both, second + texture2 + (1 - share) * both


class CrossModalityMixing(nn.Module):
    """CMFM as eqs. 6-8 have it.

    Eq. 6 adds D1 and D2 themselves, so everything keeps the width C. The gates are linear in D1 and D2. Whether the
    two depthwise convolutions are one is not stated; here each modality has its own.

    Source: FusionMamba, section 3.5, eqs. 6-8.
    """

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        self.value1, self.value2, self.gate1, self.gate2 = (nn.Linear(channels, channels, bias=False) for _ in range(4))
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in range(2))
        self.es2d = EfficientScan(channels, config.states)
        self.norm = nn.LayerNorm(channels)
        self.eca = EfficientChannelAttention()

    def hybrid(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mixed features of eq. 6, (B, H, W, C)."""
        values = [
            channels_last(conv(channels_first(value(x))))
            for conv, value, x in ((self.conv1, self.value1, first), (self.conv2, self.value2, second))
        ]
        return values[0] * values[1] + first + second

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Mix enhanced features (B, H, W, C) of both modalities into one map."""
        scanned = self.es2d(channels_first(F.silu(self.hybrid(first, second))))
        fused = scanned * (F.silu(self.gate1(first)) + F.silu(self.gate2(second)))
        return channels_last(self.eca(channels_first(self.norm(fused)))) + first + second


class CodeMixing(nn.Module):
    """CMFM's core as the authors' code has it, between the norms before it and the attention behind it.

    The width is doubled inside, one depthwise convolution serves both modalities, and the gate of the second modality
    is SiLU of the first one's (``own_gate`` corrects that).

    Source: the file of the fusion module in the authors' repository, in our words and names.
    """

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        inner = EXPAND * channels
        self.in_proj1 = nn.Linear(channels, 2 * inner, bias=False)
        self.in_proj2 = nn.Linear(channels, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.es2d = EfficientScan(inner, config.states, rank=-(-channels // 16))
        self.out_proj = nn.Linear(inner, channels, bias=False)
        self.own_gate = config.own_gate

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Mix normed features (B, H, W, C) of both modalities into one map."""
        features1, gate1 = self.in_proj1(first).chunk(2, -1)
        features2, gate2 = self.in_proj2(second).chunk(2, -1)
        features1, features2 = (F.silu(self.conv2d(channels_first(x))) for x in (features1, features2))
        gate1 = F.silu(gate1)
        gate2 = F.silu(gate2 if self.own_gate else gate1)
        scanned = self.es2d(features1 * features2 + features1 + features2)
        return self.out_proj(scanned * gate1 + scanned * gate2)


class DynamicFusion(nn.Module):
    """DFFM of the paper: DFEM, then CMFM; either can be left out (Table 7).

    Source: FusionMamba, Fig. 3.
    """

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        self.dfem = DynamicEnhancement(channels, config) if config.enhance else None
        self.cmfm = CrossModalityMixing(channels, config) if config.mix else None

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse features (B, H, W, C) of both modalities into one map."""
        if self.dfem is not None:
            first, second = self.dfem(first, second)
        return first + second if self.cmfm is None else self.cmfm(first, second)


class CodeFusion(nn.Module):
    """DFFM of the authors' code: norms before CMFM, and the raw features instead of the enhanced ones added behind it.

    It also stores a 1x1 convolution that nothing reads (``unused``).
    """

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        self.dfem = DynamicEnhancement(channels, config)
        self.unused = nn.Conv2d(channels, channels // 2, 1)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.cmfm = CodeMixing(channels, config)
        self.eca = EfficientChannelAttention()
        self.mlp = nn.Sequential(nn.LayerNorm(channels), Mlp(channels)) if config.fusion_mlp else None

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse features (B, H, W, C) of both modalities into one map."""
        enhanced1, enhanced2 = self.dfem(first, second)
        mixed = self.cmfm(self.norm1(enhanced1), self.norm2(enhanced2))
        fused = first + second + mixed + channels_last(self.eca(channels_first(mixed)))
        return fused if self.mlp is None else fused + self.mlp(fused)


class SummedBlock(nn.Module):
    """The ablation "DFFM -> DVSS": the encoder's block on the sum of both modalities' features."""

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        self.block = DynamicBlock(channels, config, drop=0.0)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse features (B, H, W, C) of both modalities into one map."""
        return self.block(first + second)


FUSION_MODULES: dict[str, type[nn.Module]] = {"dffm": DynamicFusion, "dffm_code": CodeFusion, "dvss": SummedBlock}
