"""DIFF-MF taken apart: what its stages and exchanges make of one pair, read off one run of the network itself.

Every module is watched while the network fuses the pair, so the maps are those that ran; only what is computed between
two modules is computed again. Stages and scales are counted from 1. Maps are arrays (C, H, W), values per channel (C,).
"""

import torch
from torch import Tensor, nn

from fusionkit.data import Pair
from fusionkit.errors import FusionkitError
from fusionkit.figures.anatomy_run import Maps, Run, trained_or_fresh, watch
from fusionkit.models.diffmf import DiffMF, difference
from fusionkit.models.diffmf.channel import ChannelReweighting, blend
from fusionkit.models.diffmf.spatial import SCALES, from_sides, from_turns
from fusionkit.models.layout import channels_first

# The network as published, and the one that was trained like it; that of Table I adds the images to its output.
TRAINED, TRANSFORMER = "diffmf:equal_conditions", "diffmf:ir_vis-restormer"
MODALITIES = ("infrared", "visible")


def scan_network() -> tuple[dict[str, nn.Module], str]:
    """Return the network with scans by its title, and a line that says which weights it has."""
    return _network("DIFF-MF", TRAINED)


def both_networks() -> tuple[dict[str, nn.Module], str]:
    """Return the networks with scans and with Restormer's blocks by their titles, and a line on their weights."""
    scans, note = scan_network()
    transformers, other = _network("Restormer's blocks", TRANSFORMER, block="restormer")
    return scans | transformers, f"{note}; {other}"


def _network(title: str, method: str, **options: str) -> tuple[dict[str, nn.Module], str]:
    """Return a network by its title, and a line that says which weights it has."""
    network, called, note = trained_or_fresh(method, title, size="tiny", **options)
    return {called: network}, f"{title}: {note}"


def run_network(model: nn.Module, pair: Pair, title: str = "") -> Run:
    """Fuse a pair and keep the inputs and outputs of every module.

    Args:
        model: A DIFF-MF of any options.
        pair: A loaded pair.
        title: What to call the network in pictures.

    Raises:
        FusionkitError: Another model.
    """
    if not isinstance(model, DiffMF):
        raise FusionkitError(f"this anatomy shows DIFF-MF, not {type(model).__name__}; pass such a model")
    return watch(model, pair, title)


@torch.inference_mode()
def stage_anatomy(run: Run, stage: int) -> Maps:
    """Return what happens in one difference-driven stage (algorithm 1).

    Args:
        run: A run of a network whose guidance is by differences.
        stage: From 1.

    Returns:
        Per modality, with ``_infrared`` or ``_visible`` behind the name: the ``input``, its ``own`` features behind
        the blocks, the ``shared`` ones, and what goes ``on``. And ``D``, common to both.

    Raises:
        FusionkitError: No such stage, or no guidance by differences.
    """
    config = run.model.config
    if stage not in range(1, 1 + config.stages):
        raise FusionkitError(f"stage {stage}: this network has {config.stages} stages, counted from 1; choose one")
    if config.guidance == "added":
        raise FusionkitError("this network adds shared features and computes no difference; take another guidance")
    path = f"stages.{stage - 1}"
    before, after = run.inputs(path)[0], run.calls[path][0].outputs
    found = {"D": difference(after.shared_visible, after.shared_infrared)}
    for name in MODALITIES:
        found |= {
            f"input_{name}": getattr(before, name),
            f"own_{name}": run.output(f"{path}.{name}"),
            f"shared_{name}": getattr(after, f"shared_{name}"),
            f"on_{name}": getattr(after, name),
        }
    return _maps(found)


@torch.inference_mode()
def channel_anatomy(run: Run) -> Maps:
    """Return what happens in the channel exchange (Fig. 3, eqs. 4-8).

    Args:
        run: A run of a network with reweighting, whose residual has weights.

    Returns:
        Per modality, with ``_infrared`` or ``_visible`` behind the name: maps ``before`` the exchange, ``exchanged``,
        the ``gate``, ``gated`` (eq. 7) and ``after`` (eq. 8); per channel the ``residual`` weights (alpha, beta). And
        ``weights`` w of eq. 8, common to both.

    Raises:
        FusionkitError: The network lacks a part of this.
    """
    config, path = run.model.config, "channel_exchange.reweight"
    if not (config.channel_exchange and config.reweighting) or config.residual == "none":
        raise FusionkitError("this network lacks channel reweighting or its residual; take one that has both")
    exchange, whole = run.calls["channel_exchange.exchange"][0], run.calls["channel_exchange"][0]
    module: ChannelReweighting = run.model.get_submodule(path)
    found: dict[str, Tensor] = {}
    for place, name in enumerate(MODALITIES):
        gate = run.output(f"{path}.{name}.gate")
        found |= {
            f"before_{name}": exchange.inputs[place],
            f"exchanged_{name}": exchange.outputs[place],
            f"gate_{name}": gate.sigmoid() if module.infrared.bounded else gate,
            f"gated_{name}": run.output(f"{path}.{name}"),
            f"after_{name}": whole.outputs[place],
        }
    values = {f"residual_{name}": run.output(f"{path}.{name}.weights") for name in MODALITIES}
    values["weights"] = run.output(f"{path}.generator")
    return _maps(found) | {name: value.flatten().numpy() for name, value in values.items()}


@torch.inference_mode()
def spatial_anatomy(run: Run, scale: int) -> Maps:
    """Return what the spatial exchange makes of one scale (Fig. 2, eqs. 9-10).

    Args:
        run: A run of a network with spatial exchange.
        scale: From 1, the full size.

    Returns:
        Maps ``infrared`` and ``visible`` (in), the average halves of the ``column`` and the ``row`` scan, ``concat``,
        and ``fused`` (out).

    Raises:
        FusionkitError: No such scale, or no spatial exchange.
    """
    if not run.model.config.spatial_exchange:
        raise FusionkitError("this network has no spatial exchange; take one that has it")
    if scale not in range(1, 1 + SCALES):
        raise FusionkitError(f"scale {scale}: there are the scales 1 to {SCALES}; choose one of these")
    path = f"spatial_exchange.fusion.{scale - 1}"
    inputs = run.inputs(path)
    column, row, concat = (channels_first(run.output(f"{path}.{name}")) for name in ("column", "row", "concat"))
    found = {
        "infrared": inputs[0],
        "visible": inputs[1],
        "column": sum(from_turns(column)) / 2,
        "row": sum(from_sides(row)) / 2,
        "concat": concat,
        "fused": run.output(path),
    }
    return {name: tensor[0].numpy() for name, tensor in found.items()}


def reblended(maps: Maps, weights: float) -> Maps:
    """Return eq. 8 with one weight for all channels in place of those that the network found.

    Args:
        maps: Result of :func:`channel_anatomy`.
        weights: In [0, 1]; 0 leaves each modality to itself, 1 exchanges the two, 0.5 makes them equal.

    Returns:
        ``infrared`` and ``visible``.
    """
    gated = (torch.from_numpy(maps[f"gated_{name}"]) for name in MODALITIES)
    return dict(zip(MODALITIES, (x.numpy() for x in blend(*gated, torch.tensor(weights))), strict=True))


def _maps(found: dict[str, Tensor]) -> Maps:
    return {name: channels_first(tensor)[0].numpy() for name, tensor in found.items()}
