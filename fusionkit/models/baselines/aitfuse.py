"""AITFuse (Wang et al., Knowledge-Based Systems, 2024): transformers over patches and over channels at four levels."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.inputs import pad_to_multiple

WIDTH, HEADS = 32, 4
LEVELS = range(1, 5)
OWN_DEPTH, CROSS_DEPTH = 4, 2
# Side of a patch and length of its token, where patches are tokens and where channels of a patch are.
PLACES, CHANNELS = (8, 64), (16, 128)
SLOPE = 0.01
EPS = 1e-5
# The largest patch at the coarsest level.
MULTIPLE = CHANNELS[0] << LEVELS[-1] - 1


class AITFuse(Baseline):
    """Both images gate each other's features at each level, are crossed there, and decoded from coarse to fine.

    Sides are mirrored up to multiples of 128. The authors' script always goes to the next multiple, so that 256
    becomes 384, and fills up with a value of 256.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "patch and channel transformers, alternating between own and crossed attention"
    source = "Wang et al., Knowledge-Based Systems, 2024"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="Zhishe-Wang/AITFuse",
        commit="03c95e67dea4",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={},
    )
    names = (
        (r"^encode\.(\d)\.", r"en\1."),
        (r"^enter\.(\d)\.", r"conv_in\1."),
        (r"^skip\.(\d)\.", r"conv_in\1."),
        (r"^join\.(\d)\.", r"conv_t\1."),
        (r"^(cross_)?places\.(\d)\.", r"\1strans\2."),
        (r"^(cross_)?channels\.(\d)\.", r"\1ctrans\2."),
        (r"\.embed\.", ".embedding.1."),
        (r"trans(\d)\.(blocks|norm)\.", r"trans\1.en.\2."),
        (r"\.back\.", ".depatch.projection.0."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.2\.", ".mlp.fc2."),
        (r"^unused\.(\d)\.", r"strans\1.depatch.conv1."),
    )
    idle = ("unused.",)

    def __init__(self, post: str = "clip_truncate") -> None:
        super().__init__(post)
        self.encode = nn.ModuleDict({str(level): _Encoder(1 if level == 1 else WIDTH) for level in LEVELS})
        self.enter = nn.ModuleDict({str(level): _Conv(WIDTH, WIDTH, 3) for level in LEVELS})
        self.places, self.cross_places = (_transformers(False, crossed) for crossed in (False, True))
        self.channels, self.cross_channels = (_transformers(True, crossed) for crossed in (False, True))
        self.shrink, self.enlarge = nn.AvgPool2d(2), nn.Upsample(scale_factor=2)
        self.skip = nn.ModuleDict({place: _Conv(2 * WIDTH, 2 * WIDTH, 1) for place in "567"})
        outputs = {"3": 2 * WIDTH, "2": 2 * WIDTH, "1": 1}
        self.join = nn.ModuleDict({level: _Conv(4 * WIDTH, width, 3) for level, width in outputs.items()})
        self.unused = nn.ModuleDict({str(level): _Conv(1, 96, 1) for level in LEVELS})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) of any range."""
        height, width = a.shape[-2:]
        x, y = pad_to_multiple(a, MULTIPLE), pad_to_multiple(b, MULTIPLE)
        fused = []
        for level in map(str, LEVELS):
            if fused:
                x, y = self.shrink(x), self.shrink(y)
            x, y = self.extract(level, x, y)
            fused.append(self.cross(level, x, y))
        return self.decode(fused)[..., :height, :width]

    def extract(self, level: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gated features (B, 32, H, W) of both images at a level, of those of the level before."""
        x, y = (self.enter[level](self.encode[level](z)) for z in (x, y))
        gated = _gated(x, y, self.places[level](x), self.places[level](y))
        return _gated(x, y, *map(self.channels[level], gated))

    def cross(self, level: str, x: Tensor, y: Tensor) -> Tensor:
        """Return the fused features (B, 64, H, W) of a level."""
        of_x, of_y = self.cross_places[level](x, y), self.cross_places[level](y, x)
        of_x, of_y = self.cross_channels[level](of_x, of_y), self.cross_channels[level](of_y, of_x)
        return torch.cat([x + of_x, y + of_y], 1)

    def decode(self, fused: list[Tensor]) -> Tensor:
        """Return the image (B, 1, H, W) of the fused features of all levels, the finest first."""
        *finer, x = fused
        for features, skip, (level, join) in zip(reversed(finer), self.skip.values(), self.join.items(), strict=True):
            x = join(torch.cat([skip(self.enlarge(x)), features], 1), linear=level == "1")
        return x


def _transformers(by_channel: bool, crossed: bool) -> nn.ModuleDict:
    return nn.ModuleDict({str(level): _Transformer(by_channel, crossed) for level in LEVELS})


def _gated(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> tuple[Tensor, Tensor]:
    """Return features times their share of the exponentials of two maps."""
    of_x, of_y = torch.exp(of_x), torch.exp(of_y)
    return x * (of_x / (of_x + of_y + EPS)), y * (of_y / (of_y + of_x + EPS))


class _Conv(nn.Module):
    """A convolution on the image mirrored at its edges, and a leaky ReLU unless ``linear``."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")

    def forward(self, x: Tensor, linear: bool = False) -> Tensor:
        """Return features (B, outputs, H, W)."""
        x = self.conv2d(x)
        return x if linear else F.leaky_relu(x, SLOPE)


class _Residual(nn.Module):
    """Two convolutions with batch norms behind their activations, added to what they start from."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _Conv(WIDTH, WIDTH, 3), nn.BatchNorm2d(WIDTH)
        self.conv2, self.bn2 = _Conv(WIDTH, WIDTH, 3), nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 32, H, W)."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + x)


class _Encoder(nn.Sequential):
    """A residual block between two 1x1 convolutions."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.add_module("conv1", _Conv(inputs, WIDTH, 1))
        self.add_module("res", _Residual())
        self.add_module("conv2", _Conv(WIDTH, WIDTH, 1))


class _Transformer(nn.Module):
    """Features cut into patches, passed through attention blocks, and put back together.

    Args:
        by_channel: Whether the tokens are the channels of one patch, which see each other, or all patches.
        crossed: Whether keys and values come from the other image.
    """

    def __init__(self, by_channel: bool, crossed: bool) -> None:
        super().__init__()
        self.by_channel = by_channel
        self.side, length = CHANNELS if by_channel else PLACES
        values = self.side**2 * (1 if by_channel else WIDTH)
        self.embed = nn.Linear(values, length)
        depth = CROSS_DEPTH if crossed else OWN_DEPTH
        self.blocks = nn.ModuleList(_Block(length, crossed) for _ in range(depth))
        self.norm = nn.LayerNorm(length)
        self.back = nn.Linear(length, values)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return features (B, 32, H, W) of features of this shape, and of the other image's where crossed."""
        tokens = self.embed(self._cut(x))
        others = None if other is None else self.embed(self._cut(other))
        for block in self.blocks:
            tokens = block(tokens, others)
        return self._join(self.back(self.norm(tokens)), x.shape)

    def _cut(self, x: Tensor) -> Tensor:
        tiles = x.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))
        if self.by_channel:
            return tiles.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2)
        return tiles.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def _join(self, tokens: Tensor, shape: torch.Size) -> Tensor:
        grid, patch = (shape[2] // self.side, shape[3] // self.side), (self.side, self.side)
        if self.by_channel:
            tiles = tokens.unflatten(2, patch).unflatten(0, (-1, *grid)).permute(0, 3, 1, 4, 2, 5)
        else:
            tiles = tokens.unflatten(2, (*patch, -1)).unflatten(1, grid).permute(0, 5, 1, 3, 2, 4)
        return tiles.reshape(shape)


class _Block(nn.Module):
    """Attention and an MLP, each behind a norm and added to what it starts from."""

    def __init__(self, length: int, crossed: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(length)
        self.attn = _Attention(length, crossed)
        self.norm2 = nn.LayerNorm(length)
        self.mlp = nn.Sequential(nn.Linear(length, 2 * length), nn.GELU(), nn.Linear(2 * length, length))

    def forward(self, tokens: Tensor, others: Tensor | None) -> Tensor:
        """Return tokens (N, tokens, C)."""
        other = None if others is None else self.norm1(others)
        tokens = tokens + self.attn(self.norm1(tokens), other)
        return tokens + self.mlp(self.norm2(tokens))


class _Attention(nn.Module):
    """Attention of tokens to each other, or to others; only the names of the parameters differ."""

    def __init__(self, length: int, crossed: bool) -> None:
        super().__init__()
        if crossed:
            self.q = nn.Linear(length, length, bias=False)
            self.kv = nn.Linear(length, 2 * length, bias=False)
        else:
            self.qkv = nn.Linear(length, 3 * length, bias=False)
        self.proj = nn.Linear(length, length)

    def forward(self, tokens: Tensor, others: Tensor | None) -> Tensor:
        """Return tokens (N, tokens, C)."""
        together = self.qkv(tokens) if others is None else torch.cat([self.q(tokens), self.kv(others)], -1)
        query, key, value = together.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).flatten(2))
