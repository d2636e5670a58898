"""PMKFuse (Sun et al., 2025): Kolmogorov-Arnold convolutions and Mamba, two images that are multiplied."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.ops import selective_scan

FIRST = 4
BRANCHES, DEGREE = 4, 3
STATES, KERNEL, EXPANSION = 16, 8, 2
# Of the steps of a pair: which exist, and how wide.
ENCODER = {"2": (4, 8), "3": (8, 16), "4": (16, 32)}
DECODER = {"1": (64, 32), "2": (32, 16), "3": (16, 8)}
STEPS = (*(f"{source}.{step}" for source in ("vi", "ir") for step in ENCODER), *(f"decoder.{step}" for step in DECODER))


class PMKFuse(Baseline):
    """A global and a local pair of encoder and decoder, each of which gives an image in (0, 1).

    In both, the infrared image passes the visible one's first convolution; its own is held and idle.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "Mamba over all pixels times Kolmogorov-Arnold convolutions"
    source = "Sun et al., Optics & Laser Technology 185, 2025"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="sunyichen1994/PMKFuse",
        commit="5ca5bb3bb115",
        licence="none stated",
        form="a trained model of PyTorch, at Baidu",
        releases={},
    )
    names = (
        (r"^(unused\.)?overall\.", r"\1global."),
        (r"^(global|local)\.first\.", r"\1_encoder.vi_conv1."),
        (r"^unused\.(global|local)\.", r"\1_encoder.ir_conv1."),
        (r"^global\.(vi|ir)\.", r"global_encoder.\1_pcvm"),
        (r"^local\.(vi|ir)\.", r"local_encoder.\1_kagn"),
        (r"^global\.decoder\.", "global_decoder.pcvm"),
        (r"^local\.decoder\.", "local_decoder.kagn"),
        (r"^(global|local)\.last\.", r"\1_decoder.conv4."),
    )
    idle = ("unused.", *(f"overall.{step}.skip_scale" for step in STEPS))

    def __init__(self, post: str = "clip_round") -> None:
        super().__init__(post)
        self.overall, self.local = _Pair(_MambaBlock), _Pair(_KolmogorovArnold)
        self.unused = nn.ModuleDict({name: nn.Conv2d(1, FIRST, 3, padding=1) for name in ("overall", "local")})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        return self.overall(b, a) * self.local(b, a)


class _Pair(nn.Module):
    """An encoder of both sources and a decoder of their features.

    Args:
        make: Builds a step from the numbers of channels that come in and go out.
    """

    def __init__(self, make: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, FIRST, 3, padding=1)
        self.vi, self.ir, self.decoder = (
            nn.ModuleDict({step: make(*sizes) for step, sizes in part.items()}) for part in (ENCODER, ENCODER, DECODER)
        )
        self.last = nn.Conv2d(DECODER["3"][1], 1, 3, padding=1)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Return an image (B, 1, H, W) in (0, 1)."""
        features = torch.cat(
            [_passed(self.first(x), steps) for x, steps in ((visible, self.vi), (infrared, self.ir))], 1
        )
        return torch.tanh(self.last(_passed(features, self.decoder))) / 2 + 0.5


def _passed(x: Tensor, steps: nn.ModuleDict) -> Tensor:
    for step in steps.values():
        x = F.gelu(step(x))
    return x


class _KolmogorovArnold(nn.Module):
    """Learned functions of single pixels, in branches, added to a linear one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_GramBranch(inputs, outputs // BRANCHES) for _ in range(BRANCHES))
        self.projection = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], 1) + self.projection(x)


class _GramBranch(nn.Module):
    """A function of each pixel as a sum of polynomials of its squashed values.

    With the authors' recursion, only the second of the four numbers in ``beta_weights`` has an effect.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base_conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.poly_conv = nn.Conv2d((DEGREE + 1) * inputs, outputs, 1, bias=False)
        self.beta_weights = nn.Parameter(torch.randn(DEGREE + 1) / (inputs * (DEGREE + 1)))
        self.layer_norm = nn.InstanceNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W)."""
        squashed = torch.tanh(x)
        square = squashed**2 + self.beta_weights[1]
        polynomials = torch.cat([torch.ones_like(x), squashed, square, squashed * square], 1)
        summed = self.poly_conv(F.silu(polynomials)) + self.base_conv(F.silu(x))
        return F.silu(self.layer_norm(summed))


class _MambaBlock(nn.Module):
    """Two halves of the channels, scanned one after the other by the same Mamba; the authors never use the skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.mamba = _Mamba(inputs // 2)
        self.proj = nn.Linear(inputs, outputs)
        self.skip_scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W), of pixels read row by row."""
        halves = self.norm(x.flatten(2).mT).chunk(2, 2)
        found = self.proj(self.norm(torch.cat([self.mamba(half) for half in halves], 2)))
        return found.mT.unflatten(2, x.shape[2:])


class _Mamba(nn.Module):
    """The block of Mamba (Gu and Dao, 2023), under its names.

    Args:
        width: Channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, self.rank = EXPANSION * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, KERNEL, padding=KERNEL - 1, groups=inner)
        self.x_proj = nn.Linear(inner, self.rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, STATES + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, L, C)."""
        x, gate = self.in_proj(tokens).mT.chunk(2, 1)
        x = F.silu(self.conv1d(x)[..., : tokens.shape[1]])
        step, into, out_of = self.x_proj(x.mT).mT.split([self.rank, STATES, STATES], 1)
        step = self.dt_proj.weight @ step
        arguments = (x, step, -self.A_log.exp(), into, out_of, self.D, gate, self.dt_proj.bias)
        return self.out_proj(selective_scan(*(y.contiguous() for y in arguments), delta_softplus=True).mT)
