"""CMTFusion (Park et al., IEEE TCSVT 34, 2023): what each image lacks of the other, exchanged at three levels."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.inputs import pad_to_multiple

WIDTH, EXPANSION = 32, 4
LEVELS = (3, 2, 1)
# Below this size the coarsest level is smaller than a window of its attention.
SMALLEST = 64
EPS = 1e-5
# Source, what it passes alone, and the authors' name of that.
PLACES = (
    *(("ir", "enter", "conv_ir1.conv2d"), ("ir", "down.2", "down1.0"), ("ir", "down.3", "down2.0")),
    *(("ir", "point.3", "conv11_1"), ("ir", "point.2", "conv11_3"), ("ir", "point.1", "conv11_5")),
    *(
        ("ir", "up.2", "up_eval2"),
        ("ir", "up.1", "up_eval6"),
        ("ir", "merge.2", "conv1_2"),
        ("ir", "merge.1", "conv2_2"),
    ),
    *(("rgb", "enter", "conv_rgb1.conv2d"), ("rgb", "down.2", "down3.0"), ("rgb", "down.3", "down4.0")),
    *(("rgb", "point.3", "conv11_2"), ("rgb", "point.2", "conv11_4"), ("rgb", "point.1", "conv11_6")),
    *(
        ("rgb", "up.2", "up_eval1"),
        ("rgb", "up.1", "up_eval5"),
        ("rgb", "merge.2", "conv1_1"),
        ("rgb", "merge.1", "conv2_1"),
    ),
)


class CMTFusion(Baseline):
    """Both images with maps of their edges, three levels; at each, coarse to fine, both are exchanged and fused.

    Only the finest of the three fused images is used. Images with a side below 64 pixels are mirrored up to multiples
    of it. What the authors' code holds and never uses is held, so that their weights fit.

    Args:
        complete: Also compute the two coarser images, as the authors' code does; only costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "gated exchange of what is not in the other image, at three levels"
    source = "Park et al., IEEE TCSVT 34, 2023"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="seonghyun0108/CMTFusion",
        commit="1f87ba39c4dd",
        licence="MIT",
        form="a state dict of PyTorch",
        releases={},
    )
    names = (
        *((rf"^{source}\.{part}\.", f"{place}.") for source, part, place in PLACES),
        (r"^(conv11_\d)\.", r"\1.conv2d."),
        (r"^(unused\.)?(conv[12]_\d)\.", r"\1\2.conv2d."),
        (r"^(unused\.)?(up_eval\d)\.", r"\1\2.up.0."),
        (r"^(ir|rgb)\.distil\.(\d)\.", r"\1_encoder_level\2."),
        (r"^exchange\.(\d)\.", r"Stage\1_1."),
        (r"\.gate_rgb\.", ".bot_conv1."),
        (r"\.gate_ir\.", ".bot_conv2."),
        (r"\.to_rgb\.", ".fusionTransformer_vis."),
        (r"\.to_ir\.", ".fusionTransformer_ir."),
        (r"^(unused\.)?head\.3\.", "conv6."),
        (r"^(unused\.)?head\.2\.", "conv7."),
        (r"^(unused\.)?head\.1\.", "conv8."),
    )
    idle = ("unused.", "head.2.", "head.3.")

    def __init__(self, complete: bool = False, post: str = "minmax") -> None:
        super().__init__(post)
        self.complete = complete
        self.ir, self.rgb = _Source(), _Source()
        self.exchange = nn.ModuleDict({str(level): _Exchange() for level in LEVELS})
        self.head = nn.ModuleDict({str(level): _Head() for level in LEVELS})
        self.unused = _unused_parts()

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        height, width = a.shape[-2:]
        if min(height, width) < SMALLEST:
            a, b = pad_to_multiple(a, SMALLEST), pad_to_multiple(b, SMALLEST)
        images = self.levels(a, b)
        return images[-1][..., :height, :width]

    def levels(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Return the fused images in (-1, 1) that are computed, the finest last."""
        edges_a, edges_b = _shares(_edges(a), _edges(b))
        x, y = self.rgb.encode(torch.cat([2 * b - 1, edges_b], 1)), self.ir.encode(torch.cat([2 * a - 1, edges_a], 1))
        found, visible, infrared = [], x[3], y[3]
        for level in LEVELS:
            if level < LEVELS[0]:
                visible = self.rgb.refine(level, x[level], visible)
                infrared = self.ir.refine(level, y[level], infrared)
            visible, infrared = self.exchange[str(level)](visible, infrared)
            if self.complete or level == LEVELS[-1]:
                found.append(self.head[str(level)](visible, infrared))
        return found

    def image(self, raw: Tensor) -> Tensor:
        """Map (-1, 1) to (0, 1)."""
        return (raw + 1) / 2


def _edges(image: Tensor) -> Tensor:
    """Return the length of the gradient of an image (B, 1, H, W), by central differences, at its largest nearby."""
    across = torch.tensor([[0.0, 0.0, 0.0], [-0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    kernels = torch.stack([across, across.mT])[:, None].to(image)
    across, down = F.conv2d(F.pad(image, (1, 1, 1, 1), "replicate"), kernels).split(1, 1)
    return F.max_pool2d(torch.hypot(across, down), 3, 1, 1)


def _shares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of each map in the sum of both, from -1 to 1."""
    total = a + b + EPS
    return 2 * (a / total - 0.5), 2 * (b / total - 0.5)


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class _Source(nn.Module):
    """What one image passes alone: from pixels to features at three levels, and from a coarser level to a finer one."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2, WIDTH, 3, padding=1)
        self.down = nn.ModuleDict({level: nn.Conv2d(WIDTH, WIDTH, 3, 2, 1) for level in "23"})
        self.point = nn.ModuleDict({level: nn.Conv2d(WIDTH, WIDTH, 1) for level in "123"})
        self.distil = nn.ModuleDict({level: _Distillation() for level in "123"})
        self.up = nn.ModuleDict({level: nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1) for level in "21"})
        self.merge = nn.ModuleDict({level: nn.Conv2d(2 * WIDTH, WIDTH, 1) for level in "21"})

    def encode(self, image: Tensor) -> dict[int, Tensor]:
        """Return the features of an image with its edges (B, 2, H, W), by level."""
        found = {1: self.enter(image)}
        for level in (2, 3):
            found[level] = _gelu(self.down[str(level)](found[level - 1]))
        return {level: self.distil[str(level)](self.point[str(level)](x)) for level, x in found.items()}

    def refine(self, level: int, features: Tensor, coarser: Tensor) -> Tensor:
        """Return the features of a level with those found at the next coarser one."""
        height, width = features.shape[-2:]
        large = _gelu(self.up[str(level)](coarser))[..., :height, :width]
        return self.merge[str(level)](torch.cat([features, large], 1))


class _Distillation(nn.Module):
    """Residual steps, each of which hands on half the channels, then attention (RFDN, Liu et al., ECCVW 2020)."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTH // 2
        for step in "123":
            self.add_module(f"c{step}_d", nn.Conv2d(WIDTH, half, 1))
            self.add_module(f"c{step}_r", nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
        self.c4 = nn.Conv2d(WIDTH, half, 3, padding=1)
        self.c5 = nn.Conv2d(4 * half, WIDTH, 1)
        self.esa = _SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 32, H, W)."""
        kept = []
        for step in "123":
            kept.append(_gelu(self.get_submodule(f"c{step}_d")(x)))
            x = _gelu(self.get_submodule(f"c{step}_r")(x) + x)
        return self.esa(self.c5(torch.cat([*kept, _gelu(self.c4(x))], 1)))


class _SpatialAttention(nn.Module):
    """Features weighted by a map that is computed on few channels at low resolution."""

    def __init__(self) -> None:
        super().__init__()
        few = WIDTH // 4
        self.conv1, self.conv_f = nn.Conv2d(WIDTH, few, 1), nn.Conv2d(few, few, 1)
        self.conv2 = nn.Conv2d(few, few, 3, 2)
        self.conv_max, self.conv3, self.conv3_ = (nn.Conv2d(few, few, 3, padding=1) for _ in range(3))
        self.conv4 = nn.Conv2d(few, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 32, H, W)."""
        narrow = self.conv1(x)
        low = F.relu(self.conv_max(F.max_pool2d(self.conv2(narrow), 7, 3)))
        low = self.conv3_(F.relu(self.conv3(low)))
        low = F.interpolate(low, x.shape[-2:], mode="bilinear")
        return x * torch.sigmoid(self.conv4(low + self.conv_f(narrow)))


class _Exchange(nn.Module):
    """Both images' features, each with what the gated other one lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_rgb, self.gate_ir = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        self.to_rgb, self.to_ir = _Irrelevance(), _Irrelevance()

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, 32, H, W) of both images; the second gate is normed with the first one, normed."""
        both = visible + infrared
        of_visible, of_infrared = torch.sigmoid(self.gate_rgb(both)), torch.sigmoid(self.gate_ir(both))
        of_visible = of_visible / (of_visible + of_infrared)
        of_infrared = of_infrared / (of_infrared + of_visible)
        return self.to_rgb(visible, infrared * of_infrared), self.to_ir(infrared, visible * of_visible)


class _Irrelevance(nn.Module):
    """A query's features weighted by how little channels and places have to do with a key's.

    For the places, the buffers (C, H, W) are read as (H, W, C) without transposing, as the authors' code does it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channel_conv_1 = nn.Conv2d(WIDTH, 1, 1)
        self.channel_conv_2, self.spatial_conv_1, self.spatial_conv_2 = (nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(3))
        self.conv11 = nn.Conv2d(2 * WIDTH, WIDTH, 1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return features (B, 32, H, W)."""
        height, width = query.shape[-2:]
        channels = self.channel_conv_2(query).flatten(2) @ self.channel_conv_1(key).flatten(2).mT
        keys, queries = (
            conv(x).reshape(len(query), -1, WIDTH)
            for conv, x in ((self.spatial_conv_1, key), (self.spatial_conv_2, query))
        )
        places = (queries @ keys.mean(1).unsqueeze(2)).reshape(-1, 1, height, width)
        weighted = [(1 - torch.sigmoid(relevance)) * query for relevance in (channels.unsqueeze(3), places)]
        return self.conv11(torch.cat(weighted, 1))


class _Head(nn.Module):
    """From both images' features to the fused image."""

    def __init__(self) -> None:
        super().__init__()
        wide = EXPANSION * WIDTH
        self.fused = nn.ModuleDict({"conv2d": nn.Conv2d(2 * WIDTH, WIDTH, 1)})
        self.se_conv = nn.Conv2d(WIDTH, wide, 3, padding=1, groups=WIDTH)
        self.hd_conv = nn.Conv2d(wide, wide, 3, padding=1, groups=WIDTH)
        self.cp_conv = nn.Conv2d(wide, WIDTH, 1, groups=WIDTH)
        self.pw_conv = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Return an image (B, 1, H, W) in (-1, 1)."""
        x = self.fused["conv2d"](torch.cat([visible, infrared], 1))
        x = _gelu(self.hd_conv(_gelu(self.se_conv(x))))
        return torch.tanh(self.pw_conv(self.cp_conv(x)))


def _unused_parts() -> nn.ModuleDict:
    """Return what the authors' network holds besides."""
    wide = EXPANSION * WIDTH
    parts: dict[str, nn.Module] = {f"up_eval{i}": nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1) for i in (3, 4, 7, 8)}
    parts |= {name: nn.Conv2d(2 * WIDTH, WIDTH, 1) for name in ("conv1_3", "conv1_4", "conv2_3", "conv2_4")}
    inputs = {"conv_g_ir": 2, "conv_g_rgb": 2, "conv_pre1": 1}
    single = {name: nn.Conv2d(count, WIDTH, 3, padding=1) for name, count in inputs.items()}
    parts |= {
        name: nn.ModuleDict({"conv2d": layer}) for name, layer in (single | {"conv9": nn.Conv2d(WIDTH, 1, 1)}).items()
    }
    norms = {"se_bn": wide, "hd_bn": wide, "cp_bn": WIDTH, "pw_bn": 1}
    heads = {
        str(level): nn.ModuleDict(
            {name: nn.BatchNorm2d(count) for name, count in norms.items()}
            | {"conv8": nn.ModuleDict({"conv2d": nn.Conv2d(2 * WIDTH, 1, 1)})}
        )
        for level in LEVELS
    }
    fourier = {
        f"conv_layer_{name}": nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1, bias=False) for name in ("vis", "ir")
    }
    fourier |= {"conv": nn.ModuleDict({"conv2d": nn.Conv2d(4 * WIDTH, 2 * WIDTH, 1)})}
    fourier |= {"Prelu1": nn.PReLU(), "Prelu2": nn.PReLU()}
    return nn.ModuleDict(parts | {"head": nn.ModuleDict(heads), "fft": nn.ModuleDict({"fu": nn.ModuleDict(fourier)})})
