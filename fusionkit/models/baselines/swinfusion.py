"""SwinFusion (Ma et al., IEEE/CAA JAS 9, 2022): attention within each image and across both, in shifted windows."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.baselines.windows import WINDOW, ShiftedAttention, mlp
from fusionkit.models.inputs import pad_to_multiple
from fusionkit.models.layout import channels_first, channels_last

WIDTH, HEADS, HIDDEN = 60, 6, 120
DEPTH = 4
ROUNDS, CROSS_DEPTH = 2, 2
SLOPE = 0.2


class SwinFusion(Baseline):
    """Blocks on each source, rounds of own and crossed blocks on both, blocks on their fusion.

    Both sources pass the same first convolutions; the authors' second pair is held and idle. Their test script adds
    up to 8 mirrored pixels even to images whose sides are multiples of 8; here only the network's own padding is done.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "attention in shifted windows, within and across the images"
    source = "Ma et al., IEEE/CAA JAS 9, 2022"
    published: ClassVar = Published(
        task="infrared-visible; medical; multi-focus; multi-exposure",
        repository="Linfeng-Tang/SwinFusion",
        commit="ceeec3fe9356",
        licence="none of its own stated",
        form="a state dict of PyTorch, in `params` or flat",
        releases={},
    )
    names = (
        (r"^first\.0\.", "conv_first1_A."),
        (r"^first\.2\.", "conv_first2_A."),
        (r"^unused\.first\.0\.", "conv_first1_B."),
        (r"^unused\.first\.1\.", "conv_first2_B."),
        (r"^token_norm\.", "patch_embed.norm."),
        (r"^(extract_[ab]|rebuild)\.blocks\.", r"layers_\1.0.residual_group.blocks."),
        (r"^(extract_[ab]|rebuild)\.norm\.", r"norm_\1."),
        (r"^fusion\.(\d)\.own_a\.", r"layers_Fusion.\1.residual_group_A.blocks."),
        (r"^fusion\.(\d)\.own_b\.", r"layers_Fusion.\1.residual_group_B.blocks."),
        (r"^fusion\.(\d)\.crossed\.(\d)\.a\.(\w+)\.", r"layers_Fusion.\1.residual_group.blocks.\2.\3_A."),
        (r"^fusion\.(\d)\.crossed\.(\d)\.b\.(\w+)\.", r"layers_Fusion.\1.residual_group.blocks.\2.\3_B."),
        (r"^fusion_norm_a\.", "norm_Fusion_A."),
        (r"^fusion_norm_b\.", "norm_Fusion_B."),
        ("_extract_a", "_Ex_A"),
        ("_extract_b", "_Ex_B"),
        ("_rebuild", "_Re"),
        (r"\.attention(_[AB])?\.windows\.", r".attn\1."),
        (r"\.mlp(_[AB])?\.0\.", r".mlp\1.fc1."),
        (r"\.mlp(_[AB])?\.2\.", r".mlp\1.fc2."),
        (r"^merge\.0\.", "conv_after_body_Fusion."),
        (r"^last\.0\.", "conv_last1."),
        (r"^last\.2\.", "conv_last2."),
        (r"^last\.4\.", "conv_last3."),
    )
    idle = ("unused.",)

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.first = _convolutions(1, WIDTH // 2, WIDTH)
        self.unused = nn.ModuleDict(
            {"first": nn.ModuleList(nn.Conv2d(inputs, WIDTH // 2, 3, padding=1) for inputs in (1, WIDTH // 2))}
        )
        self.token_norm = nn.LayerNorm(WIDTH)
        self.extract_a, self.extract_b, self.rebuild = _Group(), _Group(), _Group()
        self.fusion = nn.ModuleList(_Round() for _ in range(ROUNDS))
        self.fusion_norm_a, self.fusion_norm_b = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.merge = _convolutions(2 * WIDTH, WIDTH)
        self.last = _convolutions(WIDTH, WIDTH // 2, WIDTH // 4, 1)[:-1]

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) of any range."""
        height, width = a.shape[-2:]
        a, b = pad_to_multiple(a, WINDOW), pad_to_multiple(b, WINDOW)
        x = self.extract_a(self.token_norm(channels_last(self.first(a))))
        y = self.extract_b(self.token_norm(channels_last(self.first(b))))
        x, y = self.token_norm(x), self.token_norm(y)
        for step in self.fusion:
            x, y = step(x, y)
        fused = torch.cat([self.fusion_norm_a(x), self.fusion_norm_b(y)], -1)
        fused = self.rebuild(self.token_norm(channels_last(self.merge(channels_first(fused)))))
        return self.last(channels_first(fused))[..., :height, :width]


def _convolutions(*widths: int) -> nn.Sequential:
    """Return 3x3 convolutions from each width to the next, each followed by a leaky ReLU."""
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return nn.Sequential(*(layer for i, o in pairs for layer in (nn.Conv2d(i, o, 3, padding=1), nn.LeakyReLU(SLOPE))))


class _Block(nn.Module):
    """Attention in windows and an MLP, each behind a norm and added to what it starts from."""

    def __init__(self, place: int, crossed: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = ShiftedAttention(WIDTH, HEADS, place % 2 * WINDOW // 2, crossed)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = mlp(WIDTH, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, H, W, C)."""
        return self.finish(x, self.attention(self.norm1(x)))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output, once attention has been paid."""
        x = x + attended
        return x + self.mlp(self.norm2(x))


class _CrossedBlock(nn.Module):
    """A block per image whose keys and values come from the other image, both from the features of before."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.a, self.b = _Block(place, crossed=True), _Block(place, crossed=True)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, H, W, C) of both images."""
        of_x, of_y = self.a.norm1(x), self.b.norm1(y)
        return self.a.finish(x, self.a.attention(of_x, of_y)), self.b.finish(y, self.b.attention(of_y, of_x))


class _Group(nn.Module):
    """Blocks on one image's features, then a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(place) for place in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, H, W, C)."""
        return self.norm(self.blocks(x))


class _Round(nn.Module):
    """Blocks on each image, then crossed blocks on both."""

    def __init__(self) -> None:
        super().__init__()
        self.own_a, self.own_b = (nn.Sequential(*map(_Block, range(CROSS_DEPTH))) for _ in "ab")
        self.crossed = nn.ModuleList(map(_CrossedBlock, range(CROSS_DEPTH)))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, H, W, C) of both images."""
        x, y = self.own_a(x), self.own_b(y)
        for block in self.crossed:
            x, y = block(x, y)
        return x, y
