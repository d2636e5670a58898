"""The selective scan over feature maps: the part that the papers' Mamba blocks share.

Letters: B batch, C channels, H x W pixels, K orders, L steps of an order, N states of a channel, R rank of the step.
"""

import math

import torch
from torch import Tensor, nn

from fusionkit.ops import gather, scan_path, scatter, selective_scan

DIRECTIONS = 4
SMALLEST_STEP, LARGEST_STEP, STEP_FLOOR = 1e-3, 1e-1, 1e-4


class SelectiveScan2d(nn.Module):
    """Read maps in four orders, scan each with parameters of its own, and put the answers back into maps.

    Parameters carry the names of VMamba's code, in its layout.

    Args:
        path: Family of orders, a key of ``fusionkit.ops.scan_paths.SCAN_PATHS``.
        channels: Channels C of the maps; on a joined path, those of both maps together.
        states: States N.
        rank: Rank R of the projection that gives the step; None takes C / 16, rounded up.

    Source: VMamba, "SS2D"; initial values as in Mamba (steps between 0.001 and 0.1, rates 1 to N).
    """

    def __init__(self, path: str, channels: int, states: int = 16, rank: int | None = None) -> None:
        super().__init__()
        self.path, self.channels, self.states = path, channels, states
        self.rank = rank or math.ceil(channels / 16)
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, self.rank + 2 * states, channels))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, channels, self.rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, channels))
        self.A_logs = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(DIRECTIONS * channels, 1))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw projections and steps anew."""
        nn.init.uniform_(self.x_proj_weight, -(self.channels**-0.5), self.channels**-0.5)
        nn.init.uniform_(self.dt_projs_weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            low, high = math.log(SMALLEST_STEP), math.log(LARGEST_STEP)
            step = (torch.rand_like(self.dt_projs_bias) * (high - low) + low).exp().clamp(min=STEP_FLOOR)
            self.dt_projs_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def arguments(self, sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the sequences themselves choose: step, input and output matrix.

        Args:
            sequences: (B, K, C, L).

        Returns:
            Step before bias and softplus (B, K, C, L), B and C, each (B, K, N, L).
        """
        found = self.x_proj_weight @ sequences
        low_rank, into, out_of = found.split([self.rank, self.states, self.states], 2)
        return self.dt_projs_weight @ low_rank, into, out_of

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """Scan maps, one per modality that the path reads.

        Args:
            maps: Each (B, C, H, W); on a joined path (B, C / 2, H, W).

        Returns:
            As many maps of the same shape, the sum over the orders that visit a pixel.
        """
        path = scan_path(self.path, *maps[0].shape[-2:])
        sequences = gather(path, *maps)
        return scatter(path, self.scan(sequences, *self.arguments(sequences)))

    def scan(self, sequences: Tensor, step: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
        """Scan sequences with given choices, and with the rates, skips and step biases of this module.

        Args:
            sequences: What is scanned, (B, K, C, L).
            step: Step before bias and softplus, (B, K, C, L).
            into: Matrix B, (B, K, N, L).
            out_of: Matrix C, (B, K, N, L).

        Returns:
            (B, K, C, L).
        """
        answers = selective_scan(
            sequences.flatten(1, 2),
            step.flatten(1, 2),
            -self.A_logs.exp(),
            into,
            out_of,
            self.Ds,
            delta_bias=self.dt_projs_bias.flatten(),
            delta_softplus=True,
        )
        return answers.view_as(sequences)
