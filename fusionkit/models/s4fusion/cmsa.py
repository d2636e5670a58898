"""The cross-modal spatial awareness module: both modalities take turns in one scan, with a state that they share.

Letters: B batch, D channels, H x W pixels, K = 4 orders, L = H * W steps, N states of a channel, R rank of the step.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.s4fusion.config import Config
from fusionkit.models.scan2d import SelectiveScan2d
from fusionkit.models.vss import GatedScan, step_rank
from fusionkit.ops import gather, scan_path, scatter

EXPAND = 1.5


class CrossScan(SelectiveScan2d):
    """Patch mark, interleaving, Cross SS2D and recovering.

    Each modality has its own projection to step and matrices (``x_proj_weight`` infrared, ``y_proj_weight`` visible);
    rates, skips, the step's second projection and its bias are common. The mark of a pixel is a linear function of
    both modalities there, and is added to both.

    Source: S4Fusion, section 3.3, eqs. 3-4 and algorithm 1, as the authors' code reads them; ``mark`` is that of
    :class:`Config`.
    """

    def __init__(self, channels: int, states: int, rank: int, mark: str = "scanned") -> None:
        super().__init__("interleave", channels, states, rank)
        self.mark = mark
        self.y_proj_weight = nn.Parameter(torch.empty_like(self.x_proj_weight))
        nn.init.uniform_(self.y_proj_weight, -(channels**-0.5), channels**-0.5)
        if mark != "none":
            self.mark_proj = nn.Parameter(torch.empty(channels, 2 * channels))
            nn.init.uniform_(self.mark_proj, -((2 * channels) ** -0.5), (2 * channels) ** -0.5)

    def marked(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return both maps, (B, D, H, W) each, with the mark of each pixel added."""
        if self.mark == "none":
            return infrared, visible
        mark = F.conv2d(torch.cat([infrared, visible], 1), self.mark_proj[..., None, None])
        return infrared + mark, visible + mark

    def choices(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each modality chooses at its own places of the interleaved sequences.

        Args:
            infrared: Map (B, D, H, W).
            visible: Map of the same shape.

        Returns:
            Step before bias and softplus (B, K, D, 2L), B and C, each (B, K, N, 2L); infrared at even places.
        """
        path = scan_path("ss2d", *infrared.shape[-2:])
        weights = (self.x_proj_weight, self.y_proj_weight)
        found = [weight @ gather(path, x) for weight, x in zip(weights, (infrared, visible), strict=True)]
        in_turn = torch.stack(found, -1).flatten(3)
        low_rank, into, out_of = in_turn.split([self.rank, self.states, self.states], 2)
        return self.dt_projs_weight @ low_rank, into, out_of

    def forward(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Scan both maps (B, D, H, W) in turn; returns as many, the sum over the four orders."""
        path = scan_path(self.path, *infrared.shape[-2:])
        marked = self.marked(infrared, visible)
        choices = self.choices(*(marked if self.mark == "before" else (infrared, visible)))
        return scatter(path, self.scan(gather(path, *marked), *choices))


class ScanBlock(nn.Module):
    """One CMSAB, or FSSM in its place: both modalities through one gated scan, each added to what it was.

    Source: S4Fusion, section 3.3 and Fig. 1(c). The text puts a norm in front (``prenorm``), the code does not.
    """

    def __init__(self, channels: int, config: Config, scan: Callable[[int, int, int], nn.Module]) -> None:
        super().__init__()
        inner = int(EXPAND * channels)
        self.norm = nn.LayerNorm(channels) if config.prenorm else nn.Identity()
        self.gated = GatedScan(channels, inner, scan(inner, config.fusion_states, step_rank(channels)))

    def forward(self, infrared: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Transform the features of both modalities, (B, H, W, C) each."""
        more_infrared, more_visible = self.gated(self.norm(infrared), self.norm(visible))
        return infrared + more_infrared, visible + more_visible


class PairFusion(nn.Module):
    """Blocks that take and return the features of both modalities, then the sum of the two: CMSA, around its CMSABs."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fuse the features of both modalities, (B, H, W, C) each, into one map."""
        for block in self.blocks:
            infrared, visible = block(infrared, visible)
        return infrared + visible
