"""State dicts of the authors' code: their names for our parameters, and a strict reader."""

import re
from collections.abc import Mapping

from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.models.renaming import load_renamed
from fusionkit.models.s4fusion.network import S4Fusion

PREFIX = "vmunet."
# Pattern in our name, and what the authors have there; all that fit count, one after the other.
NAMES = (
    (r"^embed_infrared", "patch_embed_x"),
    (r"^embed_visible", "patch_embed_y"),
    (r"^encoder_infrared", "layers_x"),
    (r"^encoder_visible", "layers_y"),
    (r"^fusion\.(\d+)\.blocks", r"fusion_layers.\1.layers"),
    (r"^decoder\.(\d+)\.expand", r"layers_up.\1.upsample"),
    (r"^decoder", "layers_up"),
    (r"^head\.conv", "final_conv"),
    (r"^head", "final_up"),
    (r"\.merge\.", ".downsample."),
    (r"(blocks\.\d+)\.norm\.", r"\1.ln_1."),
    (r"\.ss2d\.", ".self_attention."),
    (r"\.gated\.", "."),
    (r"\.scan\.", "."),
)


def official_name(name: str) -> str:
    """Return the authors' name of a parameter of ``S4Fusion``."""
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return PREFIX + name


def load_official(state: Mapping[str, Tensor], source: str = "state dict") -> S4Fusion:
    """Build the network that a state dict of the authors' code belongs to, and load it strictly.

    Widths, depths and states are read off the tensors, so reduced networks load without a setting.

    Args:
        state: Tensors under the authors' names: the entry ``model`` of their checkpoint.
        source: Where it comes from, for messages.

    Returns:
        The network, in evaluation mode.

    Raises:
        FusionkitError: Keys are missing, unexpected or of another shape; all are listed.
    """
    model = S4Fusion(**_layout(state, source))
    load_renamed(model, state, official_name, source, "the authors' S4Fusion at commit 0d900f0")
    return model.eval()


def _layout(state: Mapping[str, Tensor], source: str) -> dict[str, int | tuple[int, ...]]:
    """Return the fields of ``Config`` that the keys and shapes of a state dict tell."""
    encoder = _rates(state, rf"{PREFIX}layers_x\.(\d+)\.blocks\.(\d+)\.self_attention\.A_logs")
    fusion = _rates(state, rf"{PREFIX}fusion_layers\.(\d+)\.layers\.(\d+)\.A_logs")
    dims = [state.get(f"{PREFIX}layers_x.{stage}.blocks.0.ln_1.weight") for stage in range(len(encoder))]
    if not encoder or len(fusion) != len(encoder) or any(x is None for x in dims):
        raise FusionkitError(
            f"{source}: holds no S4Fusion (no keys {PREFIX}layers_x.<stage>.blocks.<block>. ... and "
            f"{PREFIX}fusion_layers.<stage>.layers.<block>. ... of as many stages); it starts with {sorted(state)[:5]}"
        )
    return {
        "dims": tuple(x.numel() for x in dims),
        "depths": tuple(len(blocks) for blocks in encoder),
        "states": encoder[0][0].shape[-1],
        "fusion_blocks": tuple(len(blocks) for blocks in fusion),
        "fusion_states": fusion[0][0].shape[-1],
    }


def _rates(state: Mapping[str, Tensor], pattern: str) -> list[list[Tensor]]:
    """Return the tensors whose names fit a pattern of stage and block, by stage."""
    found = sorted((int(m[1]), int(m[2]), key) for key in state if (m := re.fullmatch(pattern, key)))
    return [[state[key] for s, _, key in found if s == stage] for stage in sorted({s for s, _, _ in found})]
