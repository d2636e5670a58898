"""What a change to a network does to each quantity, against what another training seed does."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fusionkit.intervals import difference_interval, paired
from fusionkit.measure import load_measurement, seeds_of
from fusionkit.weights import list_weights

MOVES, WITHIN, UNCLEAR = "moves it", "no more than a seed", "not told apart"
COLUMNS = ["variant", "quantity", "base", "measured", "difference", "low", "high", "seeds", "finding"]


def effects(
    base: str, variants: Mapping[str, str], dataset: str, split: str, quantities: Sequence[str]
) -> pd.DataFrame:
    """Compare variants of a network with the network itself, pair by pair, from the measurements on file.

    Args:
        base: Method id of the unchanged network.
        variants: Method id by name; those that are not measured are left out.
        dataset: Dataset name.
        split: Split name.
        quantities: Columns of the measurements, such as ``"vif@tang"`` or ``"loss:fusionmamba:total"``.

    Returns:
        One row per variant and quantity: means of both, mean ``difference`` (variant minus base) with its 95 %
        bootstrap interval ``low`` to ``high`` over pairs, ``seeds``: how far the base's mean moves over training seeds
        (NaN where only one is on file), and ``finding``. Empty where the base is not measured.
    """
    kept = load_measurement(base, dataset, split)
    if kept is None:
        return pd.DataFrame(columns=COLUMNS)
    seeds = [found.values for seed in seeds_of(base) if (found := load_measurement(seed, dataset, split))]
    rows = []
    for name, method in variants.items():
        changed = load_measurement(method, dataset, split)
        for quantity in quantities if changed else ():
            means = [values[quantity].mean() for values in (kept.values, *seeds)]
            spread = max(means) - min(means) if seeds else float("nan")
            rows.append([name, quantity, *_effect(kept.values[quantity], changed.values[quantity], spread)])
    return pd.DataFrame(rows, columns=COLUMNS)


def training_curves(methods: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return the loss per epoch of trained networks, as training wrote it beside their weights.

    Args:
        methods: Method id by name; those whose weights are not here are left out.
    """
    found = {}
    for name, method in methods.items():
        model, _, weights = method.partition(":")
        if weights in list_weights(model):
            found[name] = pd.read_csv(list_weights(model)[weights].with_suffix(".csv"))
    return found


def describe_effects(table: pd.DataFrame) -> str:
    """Say per variant what it moves by more than a training seed does.

    Args:
        table: Result of :func:`effects`.
    """
    if table.empty:
        return "Nothing is measured yet."
    lines = []
    for name, rows in table.groupby("variant", sort=False):
        found = rows[rows["finding"] == MOVES]
        moved = [f"{row.quantity} {row.difference:+.3g}" for row in found.itertuples()]
        rest = len(rows) - len(moved)
        what = f"moves {', '.join(moved)}" if moved else "moves nothing"
        lines.append(f"{name}: {what}; {rest} of {len(rows)} quantities no more than chance or a seed.")
    return "\n".join(lines)


def _effect(base: pd.Series, changed: pd.Series, spread: float) -> list[float | str]:
    one, two = paired(changed, base)
    difference = float((one - two).mean())
    low, high = difference_interval(changed, base)
    if low <= 0 <= high:
        finding = UNCLEAR
    else:
        finding = WITHIN if abs(difference) <= spread else MOVES
    return [base.mean(), changed.mean(), difference, low, high, spread, finding]
