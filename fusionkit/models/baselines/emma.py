"""EMMA's fusion network, Ufuser (Zhao et al., CVPR 2024): a U-Net of blocks with a global and a local branch."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.models.baselines.channel_transformer import NAMES, base_block
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.inputs import pad_to_multiple

WIDTHS = (8, 16, 32, 32)
HEADS = 8
LEVELS = range(1, len(WIDTHS) + 1)
# Sides must be multiples of this.
MULTIPLE = 32


class EMMA(Baseline):
    """An encoder per source, fusion at each of four levels, one decoder.

    Images with other sides than multiples of 32 are fused as the authors do it: four crops of the largest size that
    is one, each in a corner of the image. Where a side is shorter than 32 pixels, both are mirrored up to a multiple.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "U-Net with channel attention beside residual convolutions, trained without a target"
    source = "Zhao et al., CVPR 2024"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="Zhaozixiang1228/MMIF-EMMA",
        commit="9983ca2f6275",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={},
    )
    names = (
        *NAMES,
        (r"^infrared\.blocks\.", "I_en_"),
        (r"^visible\.blocks\.", "V_en_"),
        (r"^infrared\.down\.", "I_down"),
        (r"^visible\.down\.", "V_down"),
        (r"^fusion\.", "f_"),
        (r"^decoder\.", "de_"),
        (r"^up\.", "up"),
        (r"\.overall\.", ".GlobalFeature."),
        (r"\.local\.", ".LocalFeature.Extraction."),
        (r"\.body\.([02])\.", r".conv.\1."),
        (r"\.join\.", ".FFN."),
    )
    # Eight heads of one channel each: a softmax over one value, whatever its scale.
    idle = tuple(
        f"{part}.overall.attention.scale" for part in ("infrared.blocks.1", "visible.blocks.1", "fusion.1", "decoder.1")
    )

    def __init__(self, post: str = "minmax") -> None:
        super().__init__(post)
        self.infrared, self.visible = _Encoder(), _Encoder()
        self.fusion = nn.ModuleDict({str(i): _Block(2 * WIDTHS[i - 1], WIDTHS[i - 1]) for i in LEVELS})
        self.up = nn.ModuleDict({str(i): _enlarging(WIDTHS[i - 1], WIDTHS[i - 2]) for i in LEVELS[1:]})
        inputs = [2 * width for width in WIDTHS[:-1]] + [WIDTHS[-1]]
        self.decoder = nn.ModuleDict({str(i): _Block(inputs[i - 1], WIDTHS[i - 1]) for i in LEVELS})
        last = nn.Conv2d(WIDTHS[0], 1, 3, padding=1, padding_mode="reflect")
        self.last = nn.Sequential(last, nn.Sigmoid())

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        height, width = a.shape[-2:]
        if min(height, width) < MULTIPLE:
            a, b = pad_to_multiple(a, MULTIPLE), pad_to_multiple(b, MULTIPLE)
        fused = torch.empty_like(a)
        for rows in _corners(a.shape[2]):
            for columns in _corners(a.shape[3]):
                fused[..., rows, columns] = self.fuse(a[..., rows, columns], b[..., rows, columns])
        return fused[..., :height, :width]

    def fuse(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image of two whose sides are multiples of 32."""
        levels = zip(self.infrared(a), self.visible(b), self.fusion.values(), strict=True)
        *fused, x = (block(torch.cat([x, y], 1)) for x, y, block in levels)
        x = self.decoder["4"](x)
        for level in reversed(LEVELS[:-1]):
            x = self.decoder[str(level)](torch.cat([self.up[str(level + 1)](x), fused[level - 1]], 1))
        return self.last(x)


class _Encoder(nn.Module):
    """Features of one image at four levels, each half as large as the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({str(i): _Block((1, *WIDTHS)[i - 1], WIDTHS[i - 1]) for i in LEVELS})
        self.down = nn.ModuleDict({str(i): _conv(WIDTHS[i - 1], WIDTHS[i - 1], stride=2) for i in LEVELS[:-1]})

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of an image (B, 1, H, W)."""
        found = []
        for level, block in self.blocks.items():
            x = block(x)
            found.append(x)
            if level in self.down:
                x = self.down[level](x)
        return found


class _Block(nn.Module):
    """Attention between channels and two residual convolutions, side by side, joined by a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.embed = _conv(inputs, outputs)
        self.overall = base_block(outputs, HEADS, "reflect")
        self.local = nn.Sequential(_Residual(outputs), _Residual(outputs))
        self.join = _conv(2 * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W)."""
        x = self.embed(x)
        return self.join(torch.cat([self.overall(x), self.local(x)], 1))


class _Residual(nn.Module):
    """Two convolutions with ReLU between them, added to what they start from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels, bias=True), nn.ReLU(), _conv(channels, channels, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        return x + self.body(x)


def _conv(inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="reflect", bias=bias)


def _enlarging(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.ReLU())


def _corners(side: int) -> list[slice]:
    """Return where along a side the crops lie; what is written last, the first crop, stays whole."""
    whole = side // MULTIPLE * MULTIPLE
    return [slice(side - whole, side), slice(whole)] if whole < side else [slice(side)]
