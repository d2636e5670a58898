"""ATFuse (Jian et al., arXiv 2401.11675, 2024): attention to what the other image lacks, then to both images."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published

WIDTH, HEADS, HIDDEN = 64, 4, 192
MULTIPLE = 4
EPS = 1e-6


class ATFuse(Baseline):
    """Both images at half size, three crossed attentions in a chain, convolutions back to full size.

    Sides are brought to multiples of 4 by repeating the first row and column. Three quarters of the authors'
    parameters are never used; they are held, so that their weights fit.

    Args:
        complete: Also compute twice what the authors' code computes twice; only costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "crossed attention with shared and with differing content"
    source = "Jian et al., arXiv 2401.11675, 2024"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="songlei-xiong/ATFuse",
        commit="1fd64810843a",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={},
    )
    names = (
        (r"^stem_ir\.", "stem1.0."),
        (r"^stem_vi\.", "stem1.1."),
        (r"^enter_ir\.", "patch_embed_stages1.patch_embeds.0.patch_conv."),
        (r"^enter_vi\.", "patch_embed_stages1.patch_embeds.1.patch_conv."),
        (r"^difference\.", "mhca_stage."),
        (r"^visible\.", "mhca_stage1_2."),
        (r"^infrared\.", "mhca_stage2."),
        (r"\.attention\.", ".factoratt_crpe."),
        (r"\.norm\.", ".norm2."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.2\.", ".mlp.fc2."),
        (r"^up\.", "up_scale1_aggregate."),
        (r"^last\.0\.", "head."),
        (r"^last\.1\.", "head_final."),
        (r"^unused\.enter(\d)\.(\d)\.", r"patch_embed_stages\1.patch_embeds.\2.patch_conv."),
    )
    idle = ("unused.", "difference.fuse.", "visible.fuse.", "infrared.fuse.")

    def __init__(self, complete: bool = False, post: str = "clip_truncate") -> None:
        super().__init__(post)
        self.stem_ir, self.stem_vi = _Stem(1), _Stem(1)
        self.enter_ir, self.enter_vi = _Separable(), _Separable()
        self.difference, self.visible, self.infrared = _Attention(True), _Attention(False), _Attention(False)
        self.up = _Enlarging()
        self.last = nn.Sequential(_Residual(WIDTH // 2, WIDTH // 4, complete), _Residual(WIDTH // 4, 1, complete))
        self.unused = _unused_parts()

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in grey levels, 0 to 255."""
        top, left = (-side % MULTIPLE for side in a.shape[-2:])
        a, b = (F.pad(255 * image, (left, 0, top, 0), "replicate") for image in (a, b))
        infrared, visible = self.enter_ir(self.stem_ir(a)), self.enter_vi(self.stem_vi(b))
        first = self.difference(visible, infrared)
        features = self.infrared(self.visible(first, visible), infrared)
        return self.last(self.up(features, first))[..., top:, left:].clamp(0, 255)

    def image(self, raw: Tensor) -> Tensor:
        """Map 0..255 to 0..1."""
        return raw / 255


class _Stem(nn.Module):
    """A convolution that halves the size, batch norm, hard swish."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, WIDTH, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 64, H / 2, W / 2)."""
        return F.hardswish(self.bn(self.conv(x)))


class _Separable(nn.Module):
    """A convolution channel by channel, one across channels, batch norm, hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False)
        self.pwconv = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 64, H, W)."""
        return F.hardswish(self.bn(self.pwconv(self.dwconv(x))))


class _Attention(nn.Module):
    """Attention of one image to another, whose cost grows with the number of pixels only, then an MLP.

    Args:
        of_difference: Whether what attention finds is taken off the values, so that the rest is left.

    The authors never use ``fuse``.
    """

    def __init__(self, of_difference: bool) -> None:
        super().__init__()
        self.of_difference = of_difference
        self.attention = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in ("q", "k", "v", "proj")})
        self.fuse = nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPS)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return features (B, 64, H, W): queries come from ``x``, keys and values from the other image."""
        tokens = x.flatten(2).mT
        tokens = tokens + self._attend(tokens, other.flatten(2).mT)
        tokens = tokens + self.mlp(self.norm(tokens))
        return tokens.mT.reshape(x.shape)

    def _attend(self, tokens: Tensor, others: Tensor) -> Tensor:
        sources = {"q": tokens, "k": others, "v": others}
        heads = (self.attention[part](x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part, x in sources.items())
        query, key, value = heads
        found = query @ (torch.softmax(key, 2).mT @ value)
        found = value - found if self.of_difference else found
        return self.attention["proj"](found.transpose(1, 2).flatten(2))


class _Enlarging(nn.Module):
    """Two feature maps joined and brought to twice the size by laying channels out as pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv11_headSum = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.conv12 = nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1)
        self.conv11_tail = nn.Conv2d(WIDTH // 2, WIDTH // 2, 3, padding=1)

    def forward(self, x: Tensor, early: Tensor) -> Tensor:
        """Return features (B, 32, 2H, 2W) of two times (B, 64, H, W)."""
        x = self.conv11_headSum(x + early) + x
        return self.conv11_tail(F.relu(F.pixel_shuffle(self.conv12(x), 2)))


class _Residual(nn.Module):
    """Two convolutions, added to the first alone, which is computed once more where ``twice`` is set."""

    def __init__(self, inputs: int, outputs: int, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W)."""
        first = self.conv1(x)
        return self.conv2(F.relu(first)) + (self.conv1(x) if self.twice else first)


def _unused_parts() -> nn.ModuleDict:
    """Return what the authors' network holds besides."""
    attention = ("ir1_attn1", "ir2_attn1", "vi1_attn1", "vi2_attn1", "ir1_attn1_2", "ir2_attn1_2", "mhca_stage2_2")
    parts: dict[str, nn.Module] = {name: _Attention(False) for name in attention}
    for stage, inputs, places in ((1, 1, "23"), (2, WIDTH, "01234")):
        parts[f"stem{stage}"] = nn.ModuleDict({place: _Stem(inputs) for place in places})
        parts[f"enter{stage}"] = nn.ModuleDict({place: _Separable() for place in places})
    return nn.ModuleDict(parts | {"resBlock": _Residual(WIDTH, WIDTH), "up_scale2_aggregate": _Enlarging()})
