"""VMamba's visual state space block: a selective scan in four directions, behind a gate, with a residual.

Source: VMamba in its first form ("v0"), which S4Fusion (section 3.2) and DIFF-MF (section III) build on. Maps are
(B, H, W, C), channels last.
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.layout import channels_first, channels_last
from fusionkit.models.scan2d import SelectiveScan2d


class GatedScan(nn.Module):
    """What VMamba puts around a scan: widen, depthwise convolution, scan, norm, gate, back to the old width.

    Maps of several modalities share all of this; what they learn of each other is up to the scan.

    Args:
        channels: Channels C of the maps.
        inner: Channels D of what is scanned.
        scan: Takes maps (B, D, H, W), channels first, and returns as many.
    """

    def __init__(self, channels: int, inner: int, scan: nn.Module) -> None:
        super().__init__()
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.scan = scan
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def widen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is scanned of a map (B, H, W, C), as (B, D, H, W), and its gate, (B, H, W, D)."""
        features, gate = self.in_proj(x).chunk(2, -1)
        return F.silu(self.conv2d(channels_first(features))), F.silu(gate)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """Transform maps (B, H, W, C), one per modality, into as many."""
        features, gates = zip(*(self.widen(x) for x in maps), strict=True)
        scanned = self.scan(*features)
        return tuple(
            self.out_proj(self.out_norm(channels_last(x)) * gate) for x, gate in zip(scanned, gates, strict=True)
        )


class VisualBlock(nn.Module):
    """The block: x + SS2D(norm(x)), and with an MLP then x + MLP(norm(x)).

    Args:
        channels: Channels C of the map.
        states: States N of the scan.
        expand: Width of what is scanned, in multiples of C, rounded down.
        mlp: Width of the MLP's hidden layer, in multiples of C; 0 for no MLP.
    """

    def __init__(self, channels: int, states: int = 16, expand: float = 2.0, mlp: int = 0) -> None:
        super().__init__()
        inner = int(expand * channels)
        self.norm = nn.LayerNorm(channels)
        self.ss2d = GatedScan(channels, inner, SelectiveScan2d("ss2d", inner, states, step_rank(channels)))
        self.mlp = None
        if mlp:
            hidden = mlp * channels
            layers = (nn.LayerNorm(channels), nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
            self.mlp = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map (B, H, W, C)."""
        (change,) = self.ss2d(self.norm(x))
        x = x + change
        return x if self.mlp is None else x + self.mlp(x)


def step_rank(channels: int) -> int:
    """Return the rank of the step's projection in a block of C channels: C / 16, rounded up."""
    return math.ceil(channels / 16)


def initialise_linear(module: nn.Module) -> None:
    """Draw a linear layer as VMamba does, for ``Module.apply``; every other layer keeps its own start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
