"""Cost columns: counted on the model of a row when a table is built; no trained weights are needed."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from fusionkit.cost import gmacs, parameters
from fusionkit.models import MODELS, build_model
from fusionkit.recipes import list_recipes, load_recipe
from fusionkit.released import list_released
from fusionkit.tensors import read_tensors
from fusionkit.weights import list_weights

CONVENTIONS = {"gmacs": "macs", "gmacs_thop": "thop", "gmacs_true": "true"}
COUNTED = ("parameters_m", *CONVENTIONS)


def cost_of(method: str, cost: str, size: tuple[int, int], options: Mapping[str, Any] | None = None) -> float | None:
    """Return what a method costs, or None where its model or the options of its weights are not known.

    Args:
        method: Method id, ``<model>`` or ``<model>:<weights>``.
        cost: One of ``COUNTED``.
        size: Height and width in pixels.
        options: Of the model; None takes those of its weights.

    Returns:
        Parameters in 10^6, or operations for one pair in 10^9.
    """
    known = _options(method) if options is None else json.dumps(options, sort_keys=True)
    if known is None or cost not in COUNTED:
        return None
    return _counted(method.partition(":")[0], known, cost, size)


def _options(method: str) -> str | None:
    """Return a model's options as JSON: from the weights' header, else from the recipe of that name."""
    name, _, weights = method.partition(":")
    if name not in MODELS or not MODELS[name].trained:
        return None
    if not weights:
        return "{}"
    if weights in list_released(name):
        return json.dumps(dict(list_released(name)[weights].options), sort_keys=True)
    if weights in list_weights(name):
        header, _ = read_tensors(list_weights(name)[weights])
        return header.get("options", "{}")
    recipe = f"{name}/{weights.partition('-seed')[0]}"
    return json.dumps(dict(load_recipe(recipe).options), sort_keys=True) if recipe in list_recipes() else None


@cache
def _counted(name: str, options: str, cost: str, size: tuple[int, int]) -> float:
    with torch.device("meta"):  # shapes are enough
        model = build_model(name, **json.loads(options))
    return parameters(model) / 1e6 if cost == "parameters_m" else gmacs(model, size, CONVENTIONS[cost])
