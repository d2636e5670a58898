"""DeFusion (Liang et al., ECCV 2022): a part that both images share and one of each alone, put together."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published

CHANNELS, FIRST = 3, 16
EXPANSION = 4
SMALLEST_BOTTLENECK = 32
# Per level of a decoder, the coarsest first: channels that come in, width, blocks.
COMMON = ((1536, 64, 2), (512, 16, 2), (192, 4, 2), (16, 4, 2))
UNIQUE = ((1280, 96, 4), (512, 32, 4), (192, 16, 6), (64, 4, 6))


class DeFusion(Baseline):
    """One encoder for both images, a decoder of what they share, another of what each has alone.

    Grey images enter as three equal channels. Their test script adds 16 mirrored pixels to every edge and crops the
    result; that is left out here.

    Args:
        complete: Also compute the images of the three parts, as the authors' code does; only costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "decomposed into common and unique parts, learned without pairs to fuse"
    source = "Liang et al., ECCV 2022"
    published: ClassVar = Published(
        task="infrared-visible; multi-focus; multi-exposure",
        repository="erfect2020/DecompositionForFusion",
        commit="9e7a09a66595",
        licence="MIT-style text",
        form="checkpoints of PyTorch",
        releases={},
    )
    names = (
        (r"^first\.0\.", "encoder_upper.0."),
        (r"^first\.2\.", "encoder_upper.2.layer."),
        (r"^encoder\.(\d)\.", r"upper_encoder_layer\1.layer."),
        (r"^joint\.", "common_encoder.0.layer."),
        (r"^(common|unique)\.levels\.(\d)\.", r"decoder_\1_layer\2.layer."),
        (r"^decoder_(common|unique)_layer4\.", r"decoder_\1_layer4.0."),
        (r"^unused\.(common|unique)\.", r"decoder_\1_projection_layer.0."),
        (r"^decoder_unique_", "decoder_upper_"),
        (r"\.attention\.", ".conv2."),
        (r"^last\.", "fusion_rule."),
    )
    idle = ("unused.",)

    def __init__(self, complete: bool = False, post: str = "clip_round") -> None:
        super().__init__(post)
        self.complete = complete
        self.first = nn.Sequential(nn.Conv2d(CHANNELS, FIRST, 3, padding=1), nn.ReLU(), _encoding(FIRST, 8, 6, 1, True))
        levels = (_encoding(32, 16, 6, 1, False), _encoding(64, 32, 4, 2, True), _encoding(128, 64, 4, 2, True))
        self.encoder = nn.ModuleDict({str(place): level for place, level in enumerate(levels, 1)})
        self.joint = _encoding(512, 256, 4, 1, False)
        self.common, self.unique = _Decoder(COMMON), _Decoder(UNIQUE)
        self.last = nn.Sequential(nn.Conv2d(FIRST, CHANNELS, 3, padding=1), nn.ReLU())
        projections = {name: nn.Conv2d(FIRST, CHANNELS, 3, padding=1) for name in ("common", "unique")}
        self.unused = nn.ModuleDict(projections)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 3, H, W), zero or more."""
        x, y = self.encode(a), self.encode(b)
        joint = self.joint(torch.cat([x[-1], y[-1]], 1))
        both = [torch.cat(pair, 1) for pair in zip(x, y, strict=True)]
        parts = self.unique(joint, x), self.unique(joint, y), self.common(joint, both)
        if self.complete:
            for part in parts:
                F.relu(self.unused["unique"](part))
        return self.last(sum(parts))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features of an image (B, 1, H, W) at full, half, quarter and eighth size."""
        found = [self.first(image.expand(-1, CHANNELS, -1, -1))]
        x = F.max_pool2d(found[0], 3, 2, 1)
        for level in self.encoder.values():
            x = level(x)
            found.append(x)
        return found


class _Decoder(nn.Module):
    """From joint features at an eighth of the size to an embedding at full size, with the encoder's features beside."""

    def __init__(self, levels: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleDict({str(place): _decoding(*level) for place, level in enumerate(levels, 1)})
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, joint: Tensor, features: list[Tensor]) -> Tensor:
        """Return the embedding (B, 16, H, W); ``features`` are those of ``encode``."""
        full, *others = features
        x = joint
        for level, beside in zip(self.levels.values(), [*reversed(others), None], strict=True):
            if beside is None:
                x = self.grow(x, full.shape[-2:])
            else:
                x = x if x is joint else self.grow(x, beside.shape[-2:])
                x = torch.cat([x, beside], 1)
            x = level(x)
        return x

    def grow(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return features twice as large, brought to a size with odd sides by repeating or leaving out neighbours."""
        x = self.enlarge(x)
        return x if x.shape[-2:] == size else F.interpolate(x, size)


class _Block(nn.Module):
    """A bottleneck of ResNeSt without norms: two groups of features, weighed against each other by their means.

    Args:
        inputs: Channels that come in.
        width: Channels of each group; four times as many go out.
        pool: The mean filter behind the groups, or None.
        shortcut: What the input passes on its way to the output, or None.
    """

    def __init__(self, inputs: int, width: int, pool: nn.Module | None, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.attention = _SplitAttention(width)
        self.pool = pool
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1, bias=False)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 4 * width, H, W)."""
        inner = self.attention(F.relu(self.conv1(x)))
        inner = self.conv3(inner if self.pool is None else self.pool(inner))
        return F.relu(inner + (x if self.downsample is None else self.downsample(x)))


class _SplitAttention(nn.Module):
    """Two groups of features from the two halves of the channels, mixed with weights that depend on their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 2, SMALLEST_BOTTLENECK)
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, groups=2, bias=False)
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        groups = F.relu(self.conv(x)).unflatten(1, (2, -1))
        logits = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(groups.sum(1), 1))))
        return (torch.softmax(logits.unflatten(1, (2, -1)), 1) * groups).sum(1)


def _layer(first: _Block, width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(first, *(_Block(EXPANSION * width, width, None, None) for _ in range(blocks - 1)))


def _encoding(inputs: int, width: int, blocks: int, stride: int, pooled: bool) -> nn.Sequential:
    """Return a layer of the encoder; ``pooled`` where its first block has a mean filter."""
    mean = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    shortcut = None
    if stride > 1 or inputs != EXPANSION * width:
        shortcut = nn.Sequential(mean, nn.Conv2d(inputs, EXPANSION * width, 1, bias=False))
    return _layer(_Block(inputs, width, nn.AvgPool2d(3, stride, 1) if pooled else None, shortcut), width, blocks)


def _decoding(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """Return a layer of a decoder."""
    shortcut = None
    if inputs != EXPANSION * width:
        shortcut = nn.Sequential(nn.Conv2d(inputs, EXPANSION * width, 1, bias=False))
    return _layer(_Block(inputs, width, None, shortcut), width, blocks)
