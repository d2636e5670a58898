"""The networks behind a panel's rows: how each was trained, and how far it gets on the paper's own loss."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from fusionkit.measure import panel_methods
from fusionkit.papers import Panel
from fusionkit.tables.build import recorded
from fusionkit.weights import list_weights
from fusionkit.yardstick import TRIVIAL, yardstick

CARD = [
    "parameters",
    "trained on",
    "pairs",
    "iterations",
    "batch",
    "crop",
    "seed",
    "options",
    "loss",
    "last",
    "minutes",
]
ENOUGH = 0.5


def panel_shares(panel: Panel) -> pd.DataFrame:
    """Return how far the networks of a panel get on the paper's loss, from the measurements on record.

    Args:
        panel: A panel that compares fused images on a registered dataset.

    Returns:
        What ``fusionkit.yardstick.yardstick`` gives for the methods that the panel shows: the loss and its terms for
        both plain rules, networks and floor, and the networks' share of the way from the better rule to the floor.
        Empty unless both rules and the floor are measured.
    """
    return yardstick(panel.dataset or "", panel.split or "", panel.paper, recorded(panel))


def describe_shares(shares: pd.DataFrame) -> str:
    """Say in words which networks beat the plain rules on the loss, and whether they get half of the way to the floor.

    Args:
        shares: Result of :func:`panel_shares` or of ``fusionkit.yardstick.yardstick``.
    """
    if shares.empty:
        return "The plain rules and the floor are not all measured on the paper's loss yet."
    totals, networks = shares["total"], shares.dropna(subset=["share"])
    rules = ", ".join(f"{rule} {totals[rule]:.3f}" for rule in TRIVIAL)
    better = str(totals[list(TRIVIAL)].idxmin())
    lines = [f"The paper's loss, mean of {shares['pairs'].iloc[0]} pairs: {rules}, floor {totals.iloc[-1]:.3f}."]
    for method, row in networks.iterrows():
        beats = "below both plain rules" if row["share"] > 0 else f"not below the plain {better}"
        enough = "at least half" if row["share"] >= ENOUGH else "less than half"
        interval = f"[{row['low']:.0%}, {row['high']:.0%}]"
        lines.append(
            f"{method}: {row['total']:.3f}, {beats}; {row['share']:.0%} {interval} of the way from the {better} to "
            f"the floor, {enough}."
        )
    return "\n".join(lines if len(networks) else [*lines, "No network is measured yet."])


def training_cards(panel: Panel) -> pd.DataFrame:
    """Return how the networks of a panel's rows, and further seeds of them, were trained here, as :func:`cards_of`."""
    return cards_of(panel_methods(panel))


def cards_of(methods: Iterable[str]) -> pd.DataFrame:
    """Return how networks were trained here.

    Args:
        methods: Method ids; those without weights of ours are left out.

    Returns:
        One row per method id: number of ``parameters``, datasets, pairs, iterations, batch, side of the square crops in
        pixels, seed, the model's options, the loss with replaced weights, its ``last`` value (the mean of the last
        epoch's crops), and minutes of training.
    """
    rows = {}
    for method in methods:
        name, _, weights = method.partition(":")
        if weights in list_weights(name):
            card = list_weights(name)[weights].with_suffix(".json")
            rows[method] = _card(json.loads(card.read_text(encoding="utf-8")))
    return pd.DataFrame.from_dict(rows, orient="index", columns=CARD).rename_axis("method")


def _card(card: dict[str, Any]) -> list[Any]:
    recipe = card["recipe"]
    loss = ", ".join([recipe["loss"], *_settings(recipe["loss_weights"])])
    return [
        card["parameters"],
        ", ".join(recipe["data"]),
        card["pairs"],
        card["steps"],
        recipe["batch"],
        recipe["crop"],
        recipe["seed"],
        ", ".join(_settings(recipe["options"])),
        loss,
        round(card["last_epoch"]["total"], 3),
        round(card["seconds"] / 60, 1),
    ]


def _settings(values: dict[str, Any]) -> list[str]:
    return [f"{name} = {value}" for name, value in sorted(values.items())]
