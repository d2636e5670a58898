"""S4Fusion taken apart: what its modules make of one pair, read off one run of the network itself.

Every module is watched while the network fuses the pair, so the maps are those that ran; what happens inside a scan is
computed again with the module's own methods. Scales are counted from 1, the finest, as the paper counts its layers,
the blocks of a fusion module (CMSAB) too. Maps are arrays (C, H, W).
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.data import Pair
from fusionkit.errors import FusionkitError
from fusionkit.figures.anatomy_run import Maps, Run, trained_or_fresh, watch
from fusionkit.models.layout import channels_first
from fusionkit.models.s4fusion import S4Fusion
from fusionkit.models.s4fusion.cmsa import CrossScan
from fusionkit.ops import gather, scan_path, scatter

TRAINED = "s4fusion:ir_vis-ablation"
MODALITIES = ("infrared", "visible")
ORDERS = ("by rows", "by columns", "by rows, backwards", "by columns, backwards")


def main_network() -> tuple[S4Fusion, str, str]:
    """Return the trained network, what to call it, and a line that says which weights it has.

    Where there are no weights it is a fresh one, and title and line say so.
    """
    network, title, note = trained_or_fresh(TRAINED, "S4Fusion", size="tiny")
    return network, title, f"{note}, trained on the fallback loss without perception" if note == TRAINED else note


def run_network(model: nn.Module, pair: Pair, title: str = "") -> Run:
    """Fuse a pair and keep the inputs and outputs of every module, also of those whose result is not used.

    Args:
        model: An S4Fusion of any options; it runs in the precision of its weights.
        pair: A loaded pair.
        title: What to call the network in pictures.

    Raises:
        FusionkitError: Another model.
    """
    if not isinstance(model, S4Fusion):
        raise FusionkitError(f"this anatomy shows S4Fusion, not {type(model).__name__}; pass such a model")
    complete = copy.copy(model)
    complete.config = replace(model.config, compute_unused=True)
    return watch(complete, pair, title)


def legal(pair: Pair, model: S4Fusion, side: int | None = None) -> Pair:
    """Return the middle of a pair in the largest size that the patches cover, so that no padding shows in the maps.

    Args:
        pair: A loaded pair; its colour is left out.
        model: Says which sizes are legal.
        side: Limit of either side in pixels; None for none.
    """
    height, width = (length - (length - 1) % model.stride for length in (min(n, side or n) for n in pair.a.shape[-2:]))
    top, left = (pair.a.shape[-2] - height) // 2, (pair.a.shape[-1] - width) // 2
    cut = (..., slice(top, top + height), slice(left, left + width))
    return replace(pair, a=pair.a[cut], b=pair.b[cut], chroma=None)


def is_read(model: S4Fusion, scale: int) -> bool:
    """Tell whether the decoder reads what the fusion module of a scale gives."""
    return scale > 1 or model.config.use_scale1


@torch.inference_mode()
def block_anatomy(run: Run, scale: int, block: int) -> Maps:
    """Return what happens inside one CMSAB (Fig. 2), step by step, for both modalities.

    Args:
        run: A run of a network whose fusion is CMSA.
        scale: From 1, the finest.
        block: From 1.

    Returns:
        Per modality, with ``_infrared`` or ``_visible`` behind the name: ``input``; twice wider, what is ``scanned``
        and the ``gate``; ``marked``; the ``step`` that the scan uses, mean of the orders; ``order1`` to ``order4``,
        what each order answers; ``cross``, their sum (Recovering); ``plain``, the same parameters in the ordinary
        scan that reads this modality alone and unmarked; ``normed``, ``gated``; back at the old width, what is
        ``added`` and the ``output``. And ``mark``, common to both.

    Raises:
        FusionkitError: No such scale or block, or another fusion.
    """
    path = block_path(run, scale, block)
    gated = f"{path}.gated"
    scan: CrossScan = run.model.get_submodule(f"{gated}.scan")
    features = run.inputs(f"{gated}.scan")
    inside = _scan_anatomy(scan, features)
    found: dict[str, Tensor] = {"mark": inside["marked"][0] - features[0]}
    for place, name in enumerate(MODALITIES):
        of_modality = {key: maps[place] for key, maps in inside.items()} | {
            "input": channels_first(run.inputs(path)[place]),
            "scanned": features[place],
            "gate": channels_first(F.silu(run.output(f"{gated}.in_proj", place).chunk(2, -1)[1])),
            "cross": run.calls[f"{gated}.scan"][0].outputs[place],
            "normed": channels_first(run.output(f"{gated}.out_norm", place)),
            "gated": channels_first(run.calls[f"{gated}.out_proj"][place].inputs[0]),
            "added": channels_first(run.output(f"{gated}.out_proj", place)),
            "output": channels_first(run.calls[path][0].outputs[place]),
        }
        found |= {f"{key}_{name}": tensor for key, tensor in of_modality.items()}
    return {name: tensor[0].numpy() for name, tensor in found.items()}


def _scan_anatomy(scan: CrossScan, features: tuple[Tensor, Tensor]) -> dict[str, tuple[Tensor, ...]]:
    """Return what the scan has inside, a map per modality: marked, step, the orders, and the plain scan."""
    path = scan_path(scan.path, *features[0].shape[-2:])
    marked = scan.marked(*features)
    choices = scan.choices(*(marked if scan.mark == "before" else features))
    answers = scan.scan(gather(path, *marked), *choices)
    steps = F.softplus(choices[0] + scan.dt_projs_bias[..., None]) / len(ORDERS)
    chosen = torch.eye(len(ORDERS), dtype=answers.dtype)[..., None, None]
    by_order = {f"order{k}": scatter(path, answers * only) for k, only in enumerate(chosen, start=1)}
    return {"marked": marked, "step": scatter(path, steps), **by_order, "plain": plain_scan(scan, features)}


def plain_scan(scan: CrossScan, features: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return what the ordinary four-direction scan (SS2D) makes of each modality alone, without the mark.

    Parameters are those of the module: its rates, skips and step biases, and the projection of each modality.

    Args:
        scan: The module.
        features: Infrared and visible maps, (B, D, H, W) each.
    """
    path = scan_path("ss2d", *features[0].shape[-2:])
    step, into, out_of = scan.choices(*features)
    return tuple(
        scatter(path, scan.scan(gather(path, x), *(each[..., place::2] for each in (step, into, out_of))))[0]
        for place, x in enumerate(features)
    )


def block_path(run: Run, scale: int, block: int) -> str:
    """Return the path of a CMSAB.

    Raises:
        FusionkitError: No such scale or block, or another fusion.
    """
    config = run.model.config
    if config.fusion != "cmsa":
        raise FusionkitError(f"only CMSA can be taken apart here; this network's fusion is {config.fusion!r}")
    if scale not in range(1, 1 + len(config.dims)):
        raise FusionkitError(f"scale {scale}: this network has the scales 1 to {len(config.dims)}; choose one of these")
    blocks = config.fusion_blocks[scale - 1]
    if block not in range(1, 1 + blocks):
        raise FusionkitError(f"block {block}: scale {scale} has the blocks 1 to {blocks}; choose one of these")
    return f"fusion.{scale - 1}.blocks.{block - 1}"
