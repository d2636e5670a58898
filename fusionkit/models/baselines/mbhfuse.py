"""MBHFuse (Sun et al., 2025): convolutions for low frequencies, a transformer for high ones, random layers between.

The authors' module of differences builds new convolutions, and attention, in every forward pass. They are never
trained or saved, tools that watch layers do not see them, and no output can be had twice. Here they are drawn from
the same seed at every pass, so that the network is a function of its weights and images.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.channel_transformer import NAMES
from fusionkit.models.baselines.convolution import mirrored
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.restormer import restormer_block

WIDTHS = (8, 16, 32, 64)
WIDTH, HEADS, EXPANSION = 64, 8, 4
DECODER = (32, 16, 16, 8)
BOTTLENECK = 8
SEED = 0


class MBHFuse(Baseline):
    """Two encoders of both sources, two decoders of their fusions, and one of these together.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "convolutions and transformers side by side; differences through layers that stay random"
    source = "Sun et al., Optics & Laser Technology 181, 2025"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="sunyichen1994/MBHFuse",
        commit="0d7f1c0b2bd2",
        licence="none stated",
        form="a trained model of PyTorch, at Baidu",
        releases={},
    )
    names = (
        *NAMES,
        (r"^(low|high)\.(vi|ir)\.1\.", r"\1_freq_encoder.\2_conv1."),
        (r"^low\.(vi|ir)\.(\d)\.", r"low_freq_encoder.\1_conv\2.conv.1."),
        (r"^(low|high)\.blocks\.", r"\1_freq_encoder.transformer_block"),
        (r"^(low|high)_fusion\.", r"\1_freq_fusion."),
        (r"^from_low\.0\.", "decoder_cnn.conv1.conv.1."),
        (r"^from_low\.2\.", "decoder_cnn.conv2."),
        (r"^from_high\.blocks\.0\.", "decoder_transformer.transformer_block."),
        (r"^from_high\.last\.", "decoder_transformer.conv1."),
        (r"^decoder\.convolutions\.(\d)\.", r"decoder.conv\1.conv.1."),
        (r"^decoder\.blocks\.", "decoder.transformer_block"),
        (r"^decoder\.last\.", "decoder.conv4."),
    )
    # Eight heads of one channel each: a softmax over one value, whatever its scale.
    idle = ("decoder.blocks.3.attention.scale",)

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.low, self.high = _Encoder(WIDTHS), _Encoder((WIDTH,))
        self.low_fusion, self.high_fusion = nn.Conv2d(2 * WIDTH, WIDTH, 1), nn.Conv2d(2 * WIDTH, WIDTH, 1)
        half = WIDTH // 2
        self.from_low = nn.Sequential(nn.Conv2d(WIDTH, half, 1), nn.GELU(), nn.Conv2d(half, half, 1))
        self.from_high = _Restoring(WIDTH, half, "0")
        self.fusion = nn.Conv2d(2 * half, half, 1)
        self.decoder = _Restoring(DECODER[-1], 1, "3", DECODER)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        draw = _Random()
        visible, infrared = self.low.features(b, a, draw)
        visible, infrared = draw.coordinated(*map(self.low.blocks["1"], (visible, infrared)))
        low = _unit(self.from_low(self.low_fusion(torch.cat([visible, infrared], 1))))
        visible, infrared = map(self.high.blocks["1"], self.high.features(b, a, draw))
        for weigh in WEIGHTS:
            visible, infrared = draw.weighed(visible, infrared, weigh)
        high = self.from_high(self.high_fusion(torch.cat([visible, infrared], 1)))
        return self.decoder(self.fusion(torch.cat([low, high], 1)))


def _unit(x: Tensor) -> Tensor:
    """Map any value into (0, 1)."""
    return torch.tanh(x) / 2 + 0.5


def _by_channel(x: Tensor) -> Tensor:
    return torch.sigmoid(x.mean((2, 3), keepdim=True))


def _by_place(x: Tensor) -> Tensor:
    """Return the sigmoid of each pixel's number: one half for the first, one for nearly all."""
    return torch.sigmoid(torch.arange(x[0, 0].numel(), device=x.device).to(x.dtype)).view(1, 1, *x.shape[2:])


def _by_corners(x: Tensor) -> Tensor:
    return torch.sigmoid(x[:, :, :: x.shape[2] - 1, :: x.shape[3] - 1].mean((2, 3), keepdim=True))


# How the features are weighed before the differences are added, in this order.
WEIGHTS = (_by_channel, _by_place, _by_corners)


class _Random:
    """Layers with the values that PyTorch would draw for them, always the same ones in the same order."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(SEED)

    def convolve(self, x: Tensor, outputs: int, kernel: int) -> Tensor:
        """Pass features through a convolution that keeps the size."""
        bound = (x.shape[1] * kernel**2) ** -0.5
        shapes = (outputs, x.shape[1], kernel, kernel), (outputs,)
        weight, bias = ((2 * torch.rand(shape, generator=self.generator) - 1) * bound for shape in shapes)
        return F.conv2d(x, weight.to(x), bias.to(x), padding=kernel // 2)

    def difference(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y times three convolutions of it."""
        found = convolved = x - y
        for _ in range(3):
            convolved = self.convolve(convolved, x.shape[1], 3)
        return found * F.gelu(convolved)

    def attend(self, x: Tensor) -> Tensor:
        """Weigh features by attention along rows and along columns; statistics are those of each image."""
        height, width = x.shape[-2:]
        strip = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT], 2)
        strip = F.hardswish(F.instance_norm(self.convolve(strip, BOTTLENECK, 1)))
        rows, columns = strip.split([height, width], 2)
        of_rows, of_columns = (torch.sigmoid(self.convolve(part, x.shape[1], 1)) for part in (rows, columns.mT))
        return x * of_columns * of_rows

    def weighed(self, visible: Tensor, infrared: Tensor, weigh: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return both features, weighed, each with the difference of the other one to it."""
        of_visible, of_infrared = self.difference(visible, infrared), self.difference(infrared, visible)
        return visible * weigh(visible) + of_infrared, infrared * weigh(infrared) + of_visible

    def coordinated(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Return both features, each with attention to its own difference to the other one."""
        of_visible, of_infrared = self.difference(visible, infrared), self.difference(infrared, visible)
        to_infrared, to_visible = self.attend(of_infrared), self.attend(of_visible)
        return visible + to_visible, infrared + to_infrared


class _Encoder(nn.Module):
    """A convolution of single pixels per source, 3x3 ones that exchange differences, and a block that both share."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.vi, self.ir = (_convolutions(nn.Conv2d(1, widths[0], 1), widths) for _ in range(2))
        self.blocks = nn.ModuleDict({"1": restormer_block(WIDTH, HEADS, EXPANSION)})

    def features(self, visible: Tensor, infrared: Tensor, draw: _Random) -> tuple[Tensor, Tensor]:
        """Return the features (B, 64, H, W) of two images (B, 1, H, W) before the block."""
        for place, (of_visible, of_infrared) in enumerate(zip(self.vi.values(), self.ir.values(), strict=True)):
            visible, infrared = F.gelu(of_visible(visible)), F.gelu(of_infrared(infrared))
            if place:
                visible, infrared = draw.weighed(visible, infrared, WEIGHTS[place - 1])
        return visible, infrared


class _Restoring(nn.Module):
    """3x3 convolutions, a block, a convolution of single pixels; values in (0, 1).

    Args:
        width: Channels of the block.
        outputs: Channels that go out.
        block: The block's number in the authors' code.
        widths: Channels before, between and behind the 3x3 convolutions.
    """

    def __init__(self, width: int, outputs: int, block: str, widths: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.convolutions = _convolutions(None, widths)
        self.blocks = nn.ModuleDict({block: restormer_block(width, HEADS, EXPANSION)})
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W) in (0, 1)."""
        for layer in (*self.convolutions.values(), *self.blocks.values()):
            x = F.gelu(layer(x))
        return _unit(self.last(x))


def _convolutions(first: nn.Conv2d | None, widths: tuple[int, ...]) -> nn.ModuleDict:
    """Return a first layer, if any, and 3x3 convolutions from each width to the next, numbered from 1."""
    layers = [] if first is None else [first]
    layers += [mirrored(*pair) for pair in zip(widths[:-1], widths[1:], strict=True)]
    return nn.ModuleDict({str(place): layer for place, layer in enumerate(layers, 1)})
