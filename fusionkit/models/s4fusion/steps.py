"""How long the steps are that each modality chooses in CMSA: what Table 5 prints, and what it says it prints."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.errors import FusionkitError
from fusionkit.models.inputs import check_images
from fusionkit.models.s4fusion.cmsa import CrossScan, ScanBlock
from fusionkit.models.s4fusion.network import S4Fusion
from fusionkit.models.s4fusion.patches import pad_to_legal


class Steps(NamedTuple):
    """Means over images, orders, channels and places of one block.

    Attributes:
        raw_infrared: Step of the infrared places before bias and softplus, any sign.
        raw_visible: That of the visible places.
        infrared: Step that the scan uses at infrared places, positive.
        visible: That at visible places.
    """

    raw_infrared: float
    raw_visible: float
    infrared: float
    visible: float


@torch.no_grad()
def step_sizes(model: S4Fusion, infrared: Tensor, visible: Tensor) -> list[list[Steps]]:
    """Return the steps of every block of every scale, finest scale first, read by the decoder or not.

    Table 5 prints, per scale and modality, the sum of the raw means over the blocks, averaged over the test images.

    Args:
        model: A network whose fusion is ``"cmsa"``.
        infrared: (B, 1, H, W) in [0, 1].
        visible: Alike.

    Raises:
        FusionkitError: Another fusion, which has no common steps, or images that the network would refuse.
    """
    if model.config.fusion != "cmsa":
        raise FusionkitError(f"only CMSA has steps of both modalities in one scan; got fusion {model.config.fusion!r}")
    check_images(infrared, visible)
    padded = [pad_to_legal(image, model.stride)[0] for image in (infrared, visible)]
    entering, _ = model.encode(*padded)
    return [_of_scale(list(module.blocks), pair) for module, pair in zip(model.fusion, entering, strict=True)]


def _of_scale(blocks: list[ScanBlock], pair: tuple[Tensor, Tensor]) -> list[Steps]:
    steps = []
    for block in blocks:
        maps = [block.gated.widen(block.norm(x))[0] for x in pair]
        steps.append(_of_block(block.gated.scan, *maps))
        pair = block(*pair)
    return steps


def _of_block(scan: CrossScan, infrared: Tensor, visible: Tensor) -> Steps:
    raw, _, _ = scan.choices(infrared, visible)
    used = F.softplus(raw + scan.dt_projs_bias[..., None])
    return Steps(*(float(x[..., place::2].mean()) for x in (raw, used) for place in (0, 1)))
