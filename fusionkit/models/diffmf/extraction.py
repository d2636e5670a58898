"""Stems and difference-driven stages (section III-B): where the modalities differ, the one learns of the other.

Letters: B batch, C channels, H x W places of the feature maps, D difference.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusionkit.models.diffmf.blocks import feature_block
from fusionkit.models.diffmf.config import Config
from fusionkit.models.layout import channels_first, channels_last

SLOPE = 0.2


class State(NamedTuple):
    """What goes from stage to stage, each (B, H, W, C).

    Attributes:
        infrared: The infrared image's own features.
        visible: The visible image's own features.
        shared_infrared: Features of the infrared image from the weights that both share.
        shared_visible: Features of the visible image from the same weights.
    """

    infrared: Tensor
    visible: Tensor
    shared_infrared: Tensor
    shared_visible: Tensor


def difference(first: Tensor, second: Tensor) -> Tensor:
    """Return how different two maps are at each place and in each channel, in [0, 1).

    Source: algorithm 1, line 4; the tanh is of the absolute value, where the paper prints no brackets.
    """
    return (first - second).abs().tanh()


def guide(mode: str, state: State) -> State:
    """Mix the modalities' own features, as much as the shared ones differ.

    With D the difference, ``"ir_first"`` takes i' = (1 - D) i + D v and then v' = (1 - D) v + D i', ``"vi_first"`` the
    same with the roles swapped, ``"parallel"`` neither result for the other; ``"added"`` has no difference and adds
    the shared features to the own ones.

    Args:
        mode: One of ``GUIDANCES``.
        state: Own and shared features behind the blocks of a stage.

    Source: algorithm 1, lines 4-6; Tables II and III.
    """
    infrared, visible, shared_infrared, shared_visible = state
    if mode == "added":
        return state._replace(infrared=infrared + shared_infrared, visible=visible + shared_visible)
    share = difference(shared_visible, shared_infrared)
    new_infrared, new_visible = infrared.lerp(visible, share), visible.lerp(infrared, share)
    if mode == "ir_first":
        new_visible = visible.lerp(new_infrared, share)
    elif mode == "vi_first":
        new_infrared = infrared.lerp(new_visible, share)
    return state._replace(infrared=new_infrared, visible=new_visible)


def convolutions(inputs: int, channels: int, stride: int = 1) -> nn.Sequential:
    """Return two 3x3 convolutions, each followed by a leaky ReLU; the first one takes the strides.

    Source: open in the paper. Two of them are SwinFusion's stem, from whose code this network descends; in the shared
    branch two come nearer to Table VII's count than one.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, stride, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.LeakyReLU(SLOPE),
    )


class DifferenceStage(nn.Module):
    """One stage: VSS blocks for each modality, convolutions and VSS blocks that both share, then the guidance.

    Open in the paper: the shared convolutions see one modality at a time, and have no residual around them.

    Source: algorithm 1 and Fig. 2.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.guidance = config.guidance
        self.infrared, self.visible, self.shared = _blocks(config), _blocks(config), _blocks(config)
        self.shared_convolutions = convolutions(config.channels, config.channels)

    def forward(self, state: State) -> State:
        """Return what the next stage sees; its shared features are the ones whose difference guided this stage."""
        shared = torch.cat([state.shared_infrared, state.shared_visible])
        shared = self.shared(channels_last(self.shared_convolutions(channels_first(shared))))
        own = self.infrared(state.infrared), self.visible(state.visible)
        return guide(self.guidance, State(*own, *shared.chunk(2)))


def _blocks(config: Config) -> nn.Sequential:
    return nn.Sequential(*(feature_block(config) for _ in range(config.depth)))
