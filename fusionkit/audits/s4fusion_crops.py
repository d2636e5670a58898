"""What S4Fusion's loss asks of crops and of whole images: its weights are one number per image, whatever that is.

A modality that leads in one corner and trails in another has about the weight of the other one in a whole image; in
crops of the training's size each leads in turn. A network that is trained on crops learns the latter.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from fusionkit.data import Pair
from fusionkit.losses import FusionLoss, measured_preset, preset
from fusionkit.losses.information import image_weights
from fusionkit.measure import load_method
from fusionkit.models import build_model
from fusionkit.profiles import Profile, as_profile
from fusionkit.yardstick import TRIVIAL

PAPER = "s4fusion"
# The floor of crops is found by optimising their pixels: how many steps.
STEPS = {Profile.SMOKE: 30, Profile.STANDARD: 80, Profile.PAPER: 300}
FLOOR = "floor"


def crop_losses(method: str, pairs: Sequence[Pair], side: int, profile: Profile | str) -> pd.DataFrame:
    """Return the loss of whole images and of the crops that they consist of.

    Args:
        method: Id of a network.
        pairs: Loaded pairs.
        side: Of the crops, in pixels; the training's.
        profile: Name of a profile; it says how many steps the floor of the crops gets.

    Returns:
        Mean over pairs of the total loss: ``whole`` images, each weighed as one; ``crops``, each weighed for itself
        and fused for itself; ``whole, by crops``, crops of what was made of the whole image. One row per plain rule,
        network and floor; ``share`` is that of the way from the better rule to the floor, for crops.
    """
    loss = preset(measured_preset(PAPER))
    oracle = build_model(f"oracle_{PAPER}", steps=STEPS[as_profile(profile)])
    models = {**{rule: build_model(rule) for rule in TRIVIAL}, method: load_method(method), FLOOR: oracle}
    rows: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        values = [_of_pair(model, loss, pair, side, whole=name != FLOOR) for pair in pairs]
        rows[name] = pd.DataFrame(values).mean().to_dict()
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    best, floor = table.loc[list(TRIVIAL), "crops"].min(), table.loc[FLOOR, "crops"]
    table.loc[method, "share"] = (best - table.loc[method, "crops"]) / (best - floor)
    return table


def infrared_weights(pairs: Sequence[Pair]) -> pd.Series:
    """Return the weight in 0..1 that the loss gives to the infrared image of each pair; the visible has the rest."""
    weights = {pair.name: float(image_weights(pair.a[None], pair.b[None])[0]) for pair in pairs}
    return pd.Series(weights, name="weight of infrared")


@torch.inference_mode()
def _of_pair(model: nn.Module, loss: FusionLoss, pair: Pair, side: int, whole: bool) -> dict[str, float]:
    a, b = pair.a[None], pair.b[None]
    crops = tiles(a, side), tiles(b, side)
    values = {"crops": float(loss(model(*crops), *crops)["total"])}
    if whole:
        fused = model(a, b)
        values |= {
            "whole": float(loss(fused, a, b)["total"]),
            "whole, by crops": float(loss(tiles(fused, side), *crops)["total"]),
        }
    return values


def tiles(images: Tensor, side: int) -> Tensor:
    """Cut images into squares.

    Args:
        images: (B, 1, H, W).
        side: Of the squares, in pixels.

    Returns:
        (T, 1, side, side), all squares of all images; pixels at the right and at the bottom that fill none are left
        out. An axis shorter than the side stays whole.
    """
    for axis in (2, 3):
        length = min(side, images.shape[axis])
        count = images.shape[axis] // length
        images = images.narrow(axis, 0, count * length).unflatten(axis, (count, length))
        images = images.movedim(axis, 0).flatten(0, 1)
    return images


def describe_crops(table: pd.DataFrame, method: str) -> str:
    """Say in words what the loss of crops and of whole images says of a network.

    Args:
        table: Result of :func:`crop_losses`.
        method: Id of the network.
    """
    row = table.loc[method]
    places = {}
    for column in ("crops", "whole", "whole, by crops"):
        better = [rule for rule in TRIVIAL if row[column] < table.loc[rule, column]]
        places[column] = " and ".join(better) or "neither rule"
    return (
        f"On crops, fused each for itself, {method} has a loss of {row['crops']:.2f} and beats {places['crops']}, "
        f"{row['share']:.0%} of the way from the better rule to the floor. On whole images, each weighed as one, "
        f"{row['whole']:.2f}, which beats {places['whole']}; the same images weighed crop by crop, "
        f"{row['whole, by crops']:.2f}, which beats {places['whole, by crops']}."
    )
