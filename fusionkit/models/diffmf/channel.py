"""Channel exchange (section III-C): each modality is scanned with what the other one chooses, then reweighted.

Letters: B batch, C channels of a feature map, E = 2C channels of what is scanned, H x W places, K = 4 orders, L steps.
"""

import torch
from torch import Tensor, nn

from fusionkit.models.diffmf.blocks import transformer
from fusionkit.models.diffmf.config import EXCHANGES, Config
from fusionkit.models.layout import channels_first, channels_last
from fusionkit.models.scan2d import SelectiveScan2d
from fusionkit.models.vss import GatedScan, step_rank
from fusionkit.ops import gather, scan_path, scatter

EXPAND = 2
Pair = tuple[Tensor, Tensor]


class MatrixExchange(nn.Module):
    """Cross-modal SSD exchange: VMamba's scan for each modality, with the matrices B and C of another one.

    Steps, rates, skips, gate and what is scanned stay with the modality; orders exchange with the same order. There
    is no residual here, that of eq. 7 follows. Where nobody uses a modality's matrices, their weights learn nothing.

    Source: eqs. 4-6, 15 and 16, read as Fig. 2 draws them (``reading="ssm"``); the scan is Mamba's first one.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.sources = EXCHANGES[config.exchange]
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.sources)
        self.gated = nn.ModuleList(_gated_scan(channels, config.states) for _ in self.sources)

    def forward(self, *features: Tensor) -> Pair:
        """Transform the features of infrared and visible, (B, H, W, C) each, into as many."""
        normed = [norm(x) for norm, x in zip(self.norms, features, strict=True)]
        maps, gates = zip(*(gated.widen(x) for gated, x in zip(self.gated, normed, strict=True)), strict=True)
        infrared, visible = (
            gated.out_proj(gated.out_norm(channels_last(x)) * gate)
            for gated, x, gate in zip(self.gated, self.scan(maps), gates, strict=True)
        )
        return infrared, visible

    def scan(self, maps: Pair) -> Pair:
        """Scan the maps of both modalities, (B, E, H, W) each; returns as many, the sum over the four orders."""
        path = scan_path("ss2d", *maps[0].shape[-2:])
        scans, sequences = [gated.scan for gated in self.gated], [gather(path, x) for x in maps]
        choices = [scan.arguments(x) for scan, x in zip(scans, sequences, strict=True)]
        infrared, visible = (
            scatter(path, scan.scan(x, step, *choices[source][1:]))[0]
            for scan, x, (step, _, _), source in zip(scans, sequences, choices, self.sources, strict=True)
        )
        return infrared, visible


class TokenExchange(MatrixExchange):
    """The literal reading of eqs. 5-6: tokens are projected to three groups of C channels, and two groups exchanged.

    The groups are projected back to E channels and scanned as VMamba does. Open in the paper: the groups' width, and
    that the projections sit in front of the cross-scan, one per modality for all orders, without bias.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        inner, groups = EXPAND * config.channels, 3 * config.channels
        self.split = nn.ModuleList(nn.Linear(inner, groups, bias=False) for _ in self.sources)
        self.join = nn.ModuleList(nn.Linear(groups, inner, bias=False) for _ in self.sources)

    def scan(self, maps: Pair) -> Pair:
        """Exchange groups, and scan the maps of both modalities, (B, E, H, W) each; returns as many."""
        groups = [split(channels_last(x)).chunk(3, -1) for split, x in zip(self.split, maps, strict=True)]
        joined = [
            join(torch.cat([x, *groups[source][1:]], -1))
            for join, (x, _, _), source in zip(self.join, groups, self.sources, strict=True)
        ]
        infrared, visible = (gated.scan(channels_first(x))[0] for gated, x in zip(self.gated, joined, strict=True))
        return infrared, visible


class AttentionExchange(nn.Module):
    """Cross-modal exchange between transformers: Restormer's block per modality, with another one's queries and keys.

    Values, residuals and everything else stay with the modality.

    Source: open in the paper, which replaces "all the VSS blocks"; eqs. 4-6 with Q and K for C and B, to which the
    text calls them dual.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sources = EXCHANGES[config.exchange]
        self.blocks = nn.ModuleList(transformer(config.channels) for _ in self.sources)

    def forward(self, *features: Tensor) -> Pair:
        """Transform the features of infrared and visible, (B, H, W, C) each, into as many."""
        maps = [channels_first(x) for x in features]
        parts = [block.attention.split(block.norm1(x)) for block, x in zip(self.blocks, maps, strict=True)]
        infrared, visible = (
            channels_last(block.complete(x, block.attention.attend(*parts[source][:2], value, x.shape[-2:])))
            for block, x, (_, _, value), source in zip(self.blocks, maps, parts, self.sources, strict=True)
        )
        return infrared, visible


def _gated_scan(channels: int, states: int) -> GatedScan:
    inner = EXPAND * channels
    return GatedScan(channels, inner, SelectiveScan2d("ss2d", inner, states, step_rank(channels)))


class ResidualWeights(nn.Module):
    """The weights alpha and beta of eq. 7, (B, 1, 1, C) in (0, 1): a linear layer on the features' mean, and a sigmoid.

    Open in the paper, which says that they are learned from the features; so they cannot be plain parameters.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the weights for features (B, H, W, C)."""
        return self.linear(features.mean((1, 2), keepdim=True)).sigmoid()


class StaticWeights(nn.Module):
    """Weights alpha and beta that are the same for all images: one parameter per channel, 1 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(channels))

    def forward(self, _features: Tensor) -> Tensor:
        """Return the weights, (C,)."""
        return self.weights


class GatedResidual(nn.Module):
    """Eq. 7 for one modality: (exchanged + weights * features) * gate(exchanged).

    Source: eq. 7; Table VI leaves the residual out. Open: a sigmoid behind the gate's projection, for otherwise the
    equation is quadratic in the exchanged features.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.weights = None
        if config.residual != "none":
            self.weights = (ResidualWeights if config.residual == "learned" else StaticWeights)(channels)
        self.gate = nn.Linear(channels, channels)
        self.bounded = config.gate == "sigmoid"

    def forward(self, features: Tensor, exchanged: Tensor) -> Tensor:
        """Return the temporary features.

        Args:
            features: Before the exchange, (B, H, W, C).
            exchanged: Behind it, alike.
        """
        gate = self.gate(exchanged)
        gate = gate.sigmoid() if self.bounded else gate
        return (exchanged if self.weights is None else exchanged + self.weights(features) * features) * gate


def blend(infrared: Tensor, visible: Tensor, weights: Tensor) -> Pair:
    """Return eq. 8: of either modality 1 - weights, of the other one weights."""
    return infrared.lerp(visible, weights), visible.lerp(infrared, weights)


class ChannelReweighting(nn.Module):
    """Gated channel reweighting: eq. 7 for each modality, then a blend of the two with common weights per channel.

    Source: eqs. 7-8, Fig. 3. Open: the gate generator, here the mean over the image, two linear layers with a ReLU
    between them, and a sigmoid.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.from_figure = config.weights_from == "figure"
        self.infrared, self.visible = GatedResidual(config), GatedResidual(config)
        self.generator = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.Sigmoid()
        )

    def forward(self, features: Pair, exchanged: Pair) -> Pair:
        """Reweight both modalities.

        Args:
            features: Infrared and visible before the exchange, (B, H, W, C) each.
            exchanged: The two behind it, alike.
        """
        partner = features[1] if self.from_figure else exchanged[0]
        means = torch.cat([x.mean((1, 2), keepdim=True) for x in (features[0], partner)], -1)
        infrared, visible = self.infrared(features[0], exchanged[0]), self.visible(features[1], exchanged[1])
        return blend(infrared, visible, self.generator(means))


class ChannelExchange(nn.Module):
    """The whole module: exchange, then reweighting unless Table IV leaves it out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.exchange = _exchange(config)
        self.reweight = ChannelReweighting(config) if config.reweighting else None

    def forward(self, *features: Tensor) -> Pair:
        """Transform the features of infrared and visible, (B, H, W, C) each, into as many."""
        exchanged = self.exchange(*features)
        return exchanged if self.reweight is None else self.reweight(features, exchanged)


def _exchange(config: Config) -> nn.Module:
    if config.block == "restormer":
        return AttentionExchange(config)
    return (MatrixExchange if config.reading == "ssm" else TokenExchange)(config)
