"""FusionMamba taken apart: what each of its modules makes of one pair, read off one run of the network itself.

Every module is watched while the network fuses the pair, so the maps are those that ran; only plain products and
activations between two modules are computed again. The paper counts the modality ``b`` (visible, MRI, phase
contrast) first: ``F1``, ``T1``, ``D1`` belong to ``b``. Maps are arrays (C, H, W), values per channel (C,).
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.data import Pair
from fusionkit.errors import FusionkitError, unknown
from fusionkit.figures.anatomy_run import Maps, Run, watch
from fusionkit.figures.panels import modality_titles
from fusionkit.measure import load_method
from fusionkit.models.fresh import fresh_model
from fusionkit.models.fusionmamba import FusionMamba
from fusionkit.models.fusionmamba.blocks import CodeBlock, DynamicBlock
from fusionkit.models.fusionmamba.config import DIFFERENCES
from fusionkit.models.fusionmamba.convolution import EfficientChannelAttention
from fusionkit.models.fusionmamba.fusion import CodeFusion, DynamicEnhancement, DynamicFusion
from fusionkit.weights import list_weights

PAPER, CODE = "fusionmamba:ir_vis", "fusionmamba:ir_vis-official"
# What a block adds up, in the names of ``block_anatomy``.
SUMMANDS = {DynamicBlock: ("kept", "near"), CodeBlock: ("input", "far_scaled", "near_scaled", "mlp")}


def both_readings() -> tuple[dict[str, FusionMamba], str]:
    """Return the infrared-visible network as the paper's equations and as the authors' code have it.

    Returns:
        The networks by title, the paper's first, and a line that says which weights they have. Where there are no
        weights of the code's form, the second is a fresh one and its title says so.
    """
    networks, notes = {"paper": load_method(PAPER)}, [f"paper: {PAPER}"]
    if CODE.partition(":")[2] in list_weights("fusionmamba"):
        networks["code"] = load_method(CODE)
        notes.append(f"code: {CODE}")
    else:
        networks["code, untrained"] = fresh_model("fusionmamba", size="tiny", mode="official")
        notes.append(f"code: fresh weights, since there are none of {CODE} here; only its wiring is of interest")
    return networks, "; ".join(notes)


def run_network(model: nn.Module, pair: Pair, title: str = "") -> Run:
    """Fuse a pair and keep the inputs and outputs of every module.

    Args:
        model: A FusionMamba of any options; it runs in the precision of its weights.
        pair: A loaded pair.
        title: What to call the network in pictures.

    Raises:
        FusionkitError: Another model.
    """
    if not isinstance(model, FusionMamba):
        raise FusionkitError(f"this anatomy shows FusionMamba, not {type(model).__name__}; pass such a model")
    return watch(model, pair, title)


def run_networks(networks: Mapping[str, nn.Module], pair: Pair) -> list[Run]:
    """Return a run of each network on a pair.

    Args:
        networks: By title.
        pair: A loaded pair.
    """
    return [run_network(model, pair, title) for title, model in networks.items()]


def modalities(pair: Pair) -> tuple[str, str]:
    """Return what the two images of a pair show, in the order in which the paper counts them."""
    first, second = modality_titles(pair)
    return second, first


def block_paths(model: nn.Module) -> list[str]:
    """Return the paths of all DVSS blocks of encoder and decoder, in the order in which they run.

    Raises:
        FusionkitError: The network has other blocks.
    """
    found = [
        path
        for path, part in model.named_modules()
        if isinstance(part, DynamicBlock | CodeBlock) and path.startswith(("encoder", "decoder"))
    ]
    if not found:
        raise FusionkitError("this network has no DVSS blocks to take apart; take one with block 'dvss' or 'dvss_code'")
    return found


@torch.inference_mode()
def block_anatomy(run: Run, path: str, image: int = 0) -> Maps:
    """Return what happens inside one DVSS block (Fig. 2 b-g, eq. 5).

    Args:
        run: A run.
        path: One of ``block_paths``.
        image: In the encoder, which runs on both images: 0 for the paper's first modality, 1 for its second. The
            decoder runs once.

    Returns:
        ``input``, ``normed``; inside the ESSM, twice as wide: ``value`` (what is scanned), ``scanned``,
        ``scan_normed``, ``gate``, ``gated``; then ``far`` (what the ESSM gives), ``weights`` per channel (ECA),
        ``kept`` (what the ECA gives), ``near`` (what the LDC gives) and ``output``. The paper's block has
        ``far_normed``, the code's ``far_scaled``, ``near_scaled`` (squeeze-excitation) and ``mlp``.

    Raises:
        FusionkitError: No DVSS block has this path.
    """
    if path not in block_paths(run.model):
        raise unknown("DVSS block", path, block_paths(run.model))
    block, essm = run.model.get_submodule(path), f"{path}.essm"
    found = {
        "input": _last(run.inputs(path)[0]),
        "normed": _last(run.output(f"{path}.norm")),
        "value": run.inputs(f"{essm}.es2d")[0],
        "scanned": run.output(f"{essm}.es2d.scan"),
        "scan_normed": _last(run.output(f"{essm}.es2d")),
        "gate": _last(F.silu(run.output(f"{essm}.in_proj").chunk(2, -1)[1])),
        "gated": _last(run.inputs(f"{essm}.out_proj")[0]),
        "far": _last(run.output(essm)),
        "weights": _weights(run, f"{path}.eca"),
        "kept": run.output(f"{path}.eca"),
        "near": run.output(f"{path}.ldc"),
        "output": _last(run.output(path)),
    }
    if isinstance(block, DynamicBlock):
        found["far_normed"] = _last(run.output(f"{path}.norm2"))
    else:
        found |= {f"{name}_scaled": _last(run.output(f"{path}.se", call)) for call, name in enumerate(("far", "near"))}
        found["mlp"] = _last(run.output(f"{path}.mlp"))
    which = image if path.startswith("encoder") else 0
    return {name: tensor[which].numpy() for name, tensor in found.items()}


def block_summands(block: nn.Module) -> tuple[str, ...]:
    """Return the names of the maps in ``block_anatomy`` whose sum is the block's output."""
    return (*SUMMANDS[type(block)], *(("input",) if getattr(block, "identity", False) else ()))


@torch.inference_mode()
def dfem_anatomy(run: Run, level: int) -> Maps:
    """Return what happens inside the DFEM of a level (Fig. 4).

    Args:
        run: A run.
        level: From 0, the finest.

    Returns:
        Maps ``F1``, ``F2`` (in), ``T1``, ``T2`` (texture), ``both`` (their sum), ``D1``, ``D2`` (out); per channel
        ``share1``, ``share2``, and what the first share would be for each difference: ``share_texture``,
        ``share_features``.

    Raises:
        FusionkitError: No such level, or a fusion module without DFEM.
    """
    path = f"{_fusion_path(run, level)}.dfem"
    dfem: DynamicEnhancement = run.model.get_submodule(path)
    call = run.calls[path][0]
    parts = dfem.parts(*call.inputs)
    found = {
        "F1": call.inputs[0],
        "F2": call.inputs[1],
        "T1": parts.texture1,
        "T2": parts.texture2,
        "both": parts.both,
        "D1": call.outputs[0],
        "D2": call.outputs[1],
    }
    shares = {"share1": parts.share, "share2": 1 - parts.share}
    for difference in DIFFERENCES:
        other = copy.copy(dfem)
        other.difference = difference
        shares[f"share_{difference}"] = other.parts(*call.inputs).share
    maps = {name: _last(tensor)[0].numpy() for name, tensor in found.items()}
    return maps | {name: share[0, 0, 0].numpy() for name, share in shares.items()}


@torch.inference_mode()
def cmfm_anatomy(run: Run, level: int) -> Maps:
    """Return what happens inside the CMFM of a level (Fig. 5, eqs. 6-8), with what the DFFM adds behind it.

    Args:
        run: A run.
        level: From 0, the finest.

    Returns:
        Maps ``D1``, ``D2`` (in), ``C1``, ``C2``, ``hybrid``, ``scanned``, ``gate1``, ``gate2``, ``H1``, ``H2``,
        ``Hf``, ``kept`` (what the ECA gives), ``X`` (out), and ``weights`` per channel (ECA). Where the code runs, C1
        to Hf are twice as wide, and there are ``own_gate2`` (the second gate as its own modality would have it, unless
        that is what runs), ``mixed`` (Hf back at the old width) and what is added behind, ``F1`` and ``F2``.

    Raises:
        FusionkitError: No such level, or a fusion module without CMFM.
    """
    path = _fusion_path(run, level)
    fusion = run.model.get_submodule(path)
    read = _paper_mixing if isinstance(fusion, DynamicFusion) else _code_mixing
    found = read(run, path)
    found["H1"], found["H2"] = (found["scanned"] * found[gate] for gate in ("gate1", "gate2"))
    found["X"] = _last(run.output(path))
    return {name: tensor[0].numpy() for name, tensor in found.items()}


def _paper_mixing(run: Run, path: str) -> dict[str, Tensor]:
    cmfm = f"{path}.cmfm"
    first, second = run.inputs(cmfm)
    return {
        "D1": _last(first),
        "D2": _last(second),
        "C1": run.output(f"{cmfm}.conv1"),
        "C2": run.output(f"{cmfm}.conv2"),
        "hybrid": _last(run.model.get_submodule(cmfm).hybrid(first, second)),
        "scanned": _last(run.output(f"{cmfm}.es2d")),
        "gate1": _last(F.silu(run.output(f"{cmfm}.gate1"))),
        "gate2": _last(F.silu(run.output(f"{cmfm}.gate2"))),
        "Hf": _last(run.inputs(f"{cmfm}.norm")[0]),
        "kept": run.output(f"{cmfm}.eca"),
        "weights": _weights(run, f"{cmfm}.eca"),
    }


def _code_mixing(run: Run, path: str) -> dict[str, Tensor]:
    cmfm = f"{path}.cmfm"
    enhanced1, enhanced2 = run.calls[f"{path}.dfem"][0].outputs
    gate1, own = (_last(F.silu(run.output(f"{cmfm}.in_proj{i}").chunk(2, -1)[1])) for i in (1, 2))
    corrected = run.model.get_submodule(cmfm).own_gate
    return {
        "F1": _last(run.inputs(path)[0]),
        "F2": _last(run.inputs(path)[1]),
        "D1": _last(enhanced1),
        "D2": _last(enhanced2),
        "C1": F.silu(run.output(f"{cmfm}.conv2d", 0)),
        "C2": F.silu(run.output(f"{cmfm}.conv2d", 1)),
        "hybrid": run.inputs(f"{cmfm}.es2d")[0],
        "scanned": _last(run.output(f"{cmfm}.es2d")),
        "gate1": gate1,
        "gate2": own if corrected else F.silu(gate1),
        **({} if corrected else {"own_gate2": own}),
        "Hf": _last(run.inputs(f"{cmfm}.out_proj")[0]),
        "mixed": _last(run.output(cmfm)),
        "kept": run.output(f"{path}.eca"),
        "weights": _weights(run, f"{path}.eca"),
    }


def _fusion_path(run: Run, level: int) -> str:
    levels = len(run.model.fusion)
    if level not in range(levels):
        raise FusionkitError(f"level {level}: this network has the levels 0 to {levels - 1}; choose one of these")
    module = run.model.fusion[level]
    if not isinstance(module, DynamicFusion | CodeFusion) or module.dfem is None or module.cmfm is None:
        raise FusionkitError(f"level {level}: this network's fusion module lacks DFEM or CMFM; take one that has both")
    return f"fusion.{level}"


def _weights(run: Run, path: str) -> Tensor:
    """Return the weights of a channel attention, (B, C)."""
    attention: EfficientChannelAttention = run.model.get_submodule(path)
    return attention.weights(run.inputs(path)[0])[..., 0, 0]


def _last(x: Tensor) -> Tensor:
    """View (B, H, W, C) as (B, C, H, W), as all maps are handed out."""
    return x.permute(0, 3, 1, 2)
