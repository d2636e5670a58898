"""State dicts of the authors' code: their names for our parameters, and a strict reader."""

import re
from collections.abc import Mapping

from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.models.fusionmamba.network import FusionMamba
from fusionkit.models.renaming import load_renamed

# Our name, as a pattern, and what the authors call it; the first that fits counts.
NAMES = (
    (r"embed([12])\.(.*)", r"patch_embed\1.\2"),
    (r"encoder\.(\d+)\.after\.(.*)", r"layers.\1.downsample.\2"),
    (r"encoder\.(\d+)\.blocks\.(.*)", r"layers.\1.blocks.\2"),
    (r"decoder\.(\d+)\.before\.(.*)", r"layers_up.\1.upsample.\2"),
    (r"decoder\.(\d+)\.blocks\.(.*)", r"layers_up.\1.blocks.\2"),
    (r"fusion\.(\d+)\.(.*)", r"Cross_block.\1.\2"),
    (r"expand\.(.*)", r"final_up.\1"),
    (r"head\.(.*)", r"final_conv.\1"),
)
PARTS = (
    ("es2d.scan.", ""),
    ("es2d.out_norm.", "out_norm."),
    ("dfem.ldc", "Cross_layer.texture_enhance"),
    ("unused.", "Cross_layer.Diff_enhance.lastconv."),
    ("cmfm.", "self_attention_cross."),
    (".essm.", ".op."),
    (".ldc.", ".conv_branch."),
)
BLOCK_PARTS = ((".eca.", ".self_attention_cross_channel."),)
FUSION_PARTS = ((".eca.", ".self_attention_cross_spatial."), (".norm1.", ".ln_1."), (".norm2.", ".ln_2."))


def official_name(name: str) -> str:
    """Return the authors' name of a parameter of ``FusionMamba(mode="official")``."""
    renamed = next(re.sub(ours, theirs, name) for ours, theirs in NAMES if re.fullmatch(ours, name))
    for ours, theirs in (*PARTS, *(FUSION_PARTS if name.startswith("fusion.") else BLOCK_PARTS)):
        renamed = renamed.replace(ours, theirs)
    return renamed


def load_official(state: Mapping[str, Tensor], source: str = "state dict") -> FusionMamba:
    """Build the network that a state dict of the authors' code belongs to, and load it strictly.

    Widths and depths are read off the tensors, so all of the authors' variants load without a setting.

    Args:
        state: Tensors under the authors' names.
        source: Where it comes from, for messages.

    Returns:
        The network in ``mode="official"``, in evaluation mode.

    Raises:
        FusionkitError: Keys are missing, unexpected or of another shape; all are listed.
    """
    model = FusionMamba(mode="official", **_layout(state, source))
    load_renamed(model, state, official_name, source, "the authors' FusionMamba at commit 3ee1e7a")
    return model.eval()


def _layout(state: Mapping[str, Tensor], source: str) -> dict[str, tuple[int, ...]]:
    """Return dims and depths as the keys and shapes of a state dict tell them."""
    found = [re.match(r"layers\.(\d+)\.blocks\.(\d+)\.norm\.weight$", key) for key in state]
    blocks = [(int(m[1]), int(m[2]), state[m[0]].numel()) for m in found if m]
    stages = sorted({stage for stage, _, _ in blocks})
    if not blocks or stages != list(range(len(stages))):
        raise FusionkitError(
            f"{source}: holds no encoder of FusionMamba (no keys layers.<stage>.blocks.<block>.norm.weight); "
            f"it starts with {sorted(state)[:5]}"
        )
    dims = tuple(next(width for s, _, width in blocks if s == stage) for stage in stages)
    depths = tuple(1 + max(block for s, block, _ in blocks if s == stage) for stage in stages)
    return {"dims": dims, "depths": depths}
