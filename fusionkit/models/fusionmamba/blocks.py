"""The blocks of encoder and decoder: the paper's, the code's, and the two that Table 7 puts in their place.

All take and return feature maps (B, H, W, C), channels last.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.fusionmamba.config import Config
from fusionkit.models.fusionmamba.convolution import (
    DescriptiveConvolution,
    EfficientChannelAttention,
    SqueezeExcitation,
)
from fusionkit.models.layout import channels_first, channels_last
from fusionkit.models.scan2d import SelectiveScan2d

EXPAND = 2
MLP_RATIO = 4
WINDOW = 8


class EfficientScan(nn.Module):
    """ES2D: every second row and column scanned at a time, four scans, each pixel read once; then a norm.

    Source: FusionMamba, section 3.3 and Fig. 2(e).
    """

    def __init__(self, channels: int, states: int, rank: int | None = None) -> None:
        super().__init__()
        self.scan = SelectiveScan2d("es2d", channels, states, rank)
        self.out_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scan (B, C, H, W), channels first; returns (B, H, W, C), channels last."""
        (scanned,) = self.scan(x)
        return self.out_norm(channels_last(scanned))


class EfficientStateSpace(nn.Module):
    """ESSM: widen, depthwise convolution, ES2D, gate, back to the old width.

    Source: FusionMamba, section 3.3 and Fig. 2(c).
    """

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        inner = EXPAND * channels
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        # the step's rank follows the width outside, not the width that is scanned
        self.es2d = EfficientScan(inner, states, rank=-(-channels // 16))
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Relate far pixels of (B, H, W, C)."""
        features, gate = self.in_proj(x).chunk(2, -1)
        features = F.silu(self.conv2d(channels_first(features)))
        return self.out_proj(self.es2d(features) * F.silu(gate))


class DynamicBlock(nn.Module):
    """DVSS as eq. 5 has it: channel attention over the normed scan, plus the descriptive convolution of the input.

    Source: FusionMamba, section 3.3, eq. 5.
    """

    def __init__(self, channels: int, config: Config, drop: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.essm = EfficientStateSpace(channels, config.states)
        self.norm2 = nn.LayerNorm(channels)
        self.eca = EfficientChannelAttention()
        self.ldc = DescriptiveConvolution(channels, config.stored_ones)
        self.drop_path = DropPath(drop)
        self.serial, self.identity = config.placement == "serial", config.identity

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, H, W, C)."""
        far = channels_first(self.norm2(self.essm(self.norm(x))))
        kept = self.eca(far)
        near = self.ldc(far + kept if self.serial else channels_first(x))
        change = self.drop_path(channels_last(kept)) + channels_last(near)
        return x + change if self.identity else change


class CodeBlock(nn.Module):
    """DVSS as the authors' code has it: the convolution behind the scan, squeeze-excitation, identity and an MLP.

    Source: the file of the model in the authors' repository, in our words and names.
    """

    def __init__(self, channels: int, config: Config, drop: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.essm = EfficientStateSpace(channels, config.states)
        self.eca = EfficientChannelAttention()
        self.ldc = DescriptiveConvolution(channels, config.stored_ones)
        self.se = SqueezeExcitation(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, H, W, C)."""
        far = self.essm(self.norm(x))
        first = channels_first(far)
        near = channels_last(self.ldc(first + self.eca(first)))
        x = x + self.drop_path(self.se(far) + self.se(near))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class EfficientBlock(nn.Module):
    """EVSS, the ablation "DVSS -> EVSS": a plain convolution beside the scan, no channel attention over it.

    Source: EfficientVMamba's block without its MLP, so that only what Table 7 names differs from eq. 5.
    """

    def __init__(self, channels: int, config: Config, drop: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.essm = EfficientStateSpace(channels, config.states)
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
        )
        self.se = SqueezeExcitation(channels)
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, H, W, C)."""
        normed = self.norm(x)
        near = channels_last(self.conv(channels_first(normed)))
        return x + self.drop_path(self.se(self.essm(normed)) + self.se(near))


class WindowTransformerBlock(nn.Module):
    """The ablation "DVSS -> Transformer": attention within windows of 8x8 tokens, then an MLP.

    The paper does not say which Transformer; this is Swin's block. Windows of every second block are shifted by
    half a window, cyclically and without a mask, so windows at the seam see both edges.
    """

    def __init__(self, channels: int, config: Config, drop: float, shifted: bool = False) -> None:
        super().__init__()
        self.heads = max(channels // (24 if channels % 32 else 32), 1)
        self.shift = WINDOW // 2 if shifted else 0
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.position = nn.Parameter(torch.zeros(self.heads, 2 * WINDOW - 1, 2 * WINDOW - 1))
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)
        self.drop_path = DropPath(drop)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, H, W, C)."""
        x = x + self.drop_path(self.attend(self.norm(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def attend(self, x: Tensor) -> Tensor:
        """Let every token of (B, H, W, C) look at the tokens of its window; small maps are one smaller window."""
        height, width = x.shape[1:3]
        tall, wide = min(WINDOW, height), min(WINDOW, width)
        shift = (self.shift if height > tall else 0, self.shift if width > wide else 0)
        x = F.pad(x, (0, 0, 0, -width % wide, 0, -height % tall)).roll((-shift[0], -shift[1]), (1, 2))
        windows = x.unflatten(2, (-1, wide)).unflatten(1, (-1, tall)).transpose(2, 3)
        tokens = self.qkv(windows).flatten(3, 4).unflatten(-1, (3, self.heads, -1))
        query, key, value = tokens.permute(4, 0, 1, 2, 5, 3, 6).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value, self.bias(tall, wide))
        mixed = self.proj(mixed.transpose(3, 4).flatten(4)).unflatten(3, (tall, wide))
        x = mixed.transpose(2, 3).flatten(1, 2).flatten(2, 3)
        return x.roll(shift, (1, 2))[:, :height, :width]

    def bias(self, tall: int, wide: int) -> Tensor:
        """Return what each pair of tokens of a window adds to its attention, (heads, tokens, tokens)."""
        rows = torch.arange(tall, device=self.position.device).repeat_interleave(wide)
        columns = torch.arange(wide, device=self.position.device).repeat(tall)
        apart = [x[:, None] - x + WINDOW - 1 for x in (rows, columns)]
        return self.position[:, apart[0], apart[1]]


class Mlp(nn.Module):
    """Linear to four times the channels, GELU, linear back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis of ``x``."""
        return self.fc2(F.gelu(self.fc1(x)))


class DropPath(nn.Module):
    """Skip a residual for whole samples at random, in training only (stochastic depth)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Drop samples of (B, ...) and scale the others so that the expectation stays."""
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(kept) / kept


def make_block(channels: int, config: Config, drop: float, index: int) -> nn.Module:
    """Return one block of a stage.

    Args:
        channels: Channels of the stage.
        config: Says which block.
        drop: Its probability of skipping.
        index: Its place in the stage; Transformer blocks shift their windows at odd places.
    """
    if config.block == "transformer":
        return WindowTransformerBlock(channels, config, drop, shifted=index % 2 == 1)
    kind = {"dvss": DynamicBlock, "dvss_code": CodeBlock, "evss": EfficientBlock}[config.block]
    return kind(channels, config, drop)
