"""What the loss asks for: rules, networks and the floor on the paper's loss, and the metrics of the floor itself."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fusionkit.audits.columns import (
    NETWORK,
    OURS,
    RUNS,
    measured_columns,
    network_values,
    printed_column,
    provenance_line,
    seeds_of,
)
from fusionkit.audits.effects import training_curves
from fusionkit.cost import parameters
from fusionkit.intervals import difference_interval
from fusionkit.measure import load_measurement
from fusionkit.models import build_model
from fusionkit.papers import get_panel
from fusionkit.recipes import load_recipe
from fusionkit.yardstick import TRIVIAL, yardstick

FLOOR = f"oracle_{NETWORK}"
BEYOND = {
    "pet_mri": "the paper's protocol",
    "pet_mri-c32": "twice as wide",
    "pet_mri-lr1e3": "ten times the learning rate",
    "pet_mri-long": "ten times the rate, twice as long, cosine",
}
Values = Mapping[str, pd.DataFrame]


def recorded(dataset: str, runs: list[str]) -> dict[str, pd.DataFrame]:
    """Return the measurements on record of the trivial rules, the floor and some runs on a test split."""
    others = {name: load_measurement(name, dataset, "test") for name in (*TRIVIAL, FLOOR)}
    found = {name: measurement.values for name, measurement in others.items() if measurement}
    networks = {f"{NETWORK}:{run}": network_values(run, dataset) for run in runs}
    return found | {name: values for name, values in networks.items() if values is not None}


def main_yardsticks() -> dict[str, pd.DataFrame]:
    """Return, by title of the test set, the yardstick of the network and its seeds; sets without a floor left out."""
    tables = {}
    for dataset, (title, run, _) in RUNS.items():
        table = yardstick(dataset, "test", NETWORK, recorded(dataset, [run, *seeds_of(run)]))
        if not table.empty:
            tables[title] = table.rename(index=lambda name: str(name).removeprefix(f"{NETWORK}:"))
    return tables


def beyond_protocol(measured: Values | None = None) -> pd.DataFrame:
    """Return how far networks get on PET-MRI that were trained longer, faster or wider than the paper's.

    Args:
        measured: Per-image values by method id; None takes those on record.

    Returns:
        One row per run of ``BEYOND``: what is ``changed``, ``parameters``, ``epochs``, ``peak rate``, and, where it
        is measured, ``total`` loss and ``share`` of the way with its 95 % interval ``low`` and ``high``.
    """
    values = recorded("harvard_pet_mri", list(BEYOND)) if measured is None else measured
    table = yardstick("harvard_pet_mri", "test", NETWORK, values)
    rows = {}
    for run, changed in BEYOND.items():
        recipe = load_recipe(f"{NETWORK}/{run}")
        count = parameters(build_model(recipe.model, **recipe.options))
        method = f"{NETWORK}:{run}"
        found = table.loc[method, ["total", "share", "low", "high"]].tolist() if method in table.index else [np.nan] * 4
        rows[run] = (changed, count, recipe.epochs, recipe.lr, *found)
    names = ["changed", "parameters", "epochs", "peak rate", "total", "share", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("run")


def curves(dataset: str = "harvard_pet_mri") -> dict[str, pd.DataFrame]:
    """Return the loss curves per epoch of the runs of this audit that are trained, by run."""
    run = RUNS[dataset][1]
    wanted = [run, *seeds_of(run), *(name for name in BEYOND if name != run and name.startswith(run))]
    return training_curves({name: f"{NETWORK}:{name}" for name in wanted})


def floor_in_metrics(dataset: str, measured: Values | None = None) -> pd.DataFrame:
    """Say what the metrics of a table make of the floor image.

    Args:
        dataset: Dataset name.
        measured: Per-image values by method id; None takes those on record.

    Returns:
        Per quality column means of ``average``, ``maximum``, ``network`` (NaN where there is none) and ``floor``,
        ``against maximum`` (``better``, ``worse`` or ``unclear`` by the 95 % interval of the paired difference),
        ``place`` of the floor among these and ``printed place`` among the printed rows and itself (empty where the
        column is not printed), ``loss`` last. Empty where the rules or the floor are not measured.
    """
    title, run, panel_name = RUNS[dataset]
    panel = get_panel(panel_name)
    values = recorded(dataset, [run]) if measured is None else measured
    if any(name not in values for name in (*TRIVIAL, FLOOR)):
        return pd.DataFrame()
    names = {"average": "average", "maximum": "maximum", f"{NETWORK}:{run}": "network", FLOOR: "floor"}
    tables = {short: measured_columns(panel, values[name]) for name, short in names.items() if name in values}
    rows = {}
    for column in tables["floor"].columns:
        sign = -1 if column == "loss" else 1
        means = {short: float(table[column].mean()) for short, table in tables.items()}
        low, high = sorted(
            sign * bound for bound in difference_interval(*(tables[k][column] for k in ("floor", "maximum")))
        )
        against = "better" if low > 0 else "worse" if high < 0 else "unclear"
        ahead = sum(sign * value > sign * means["floor"] for value in means.values())
        place = f"{1 + ahead} of {len(means)}"
        rows[column] = {**means, "against maximum": against, "place": place, "printed place": ""}
        if column in panel.published:
            printed = printed_column(panel, column).drop(OURS)
            ahead = int((printed > means["floor"]).sum())
            rows[column]["printed place"] = f"{1 + ahead} of {len(printed) + 1}"
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(title)
    return table.reindex(columns=[*names.values(), "against maximum", "place", "printed place"])


def profile_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means of :func:`floor_in_metrics` with methods as rows, for ``metric_profile``."""
    return table[["average", "maximum", "network", "floor"]].dropna(axis=1).astype(float).T


def yardstick_verdict(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say in words whether the paper's protocol beats the better trivial rule on the paper's own loss."""
    lines = []
    for title, table in tables.items():
        rule = table.loc[list(TRIVIAL), "total"].idxmin()
        networks = table.dropna(subset=["share"])
        if networks.empty:
            lines.append(f"{title}: no network is measured yet.")
            continue
        beats = int((networks["share"] > 0).sum())
        shares = [f"{low:+.0%}" for low in sorted({networks["share"].min(), networks["share"].max()})]
        lines.append(
            f"{title}: {beats} of {len(networks)} networks trained by the paper's protocol beat the plain {rule} "
            f"({table.at[rule, 'total']:.1f}) on the paper's own loss; they score {networks['total'].min():.1f} to "
            f"{networks['total'].max():.1f}, {' to '.join(shares)} of the way to the floor "
            f"({table['total'].iloc[-1]:.1f})."
        )
    return "\n".join(lines) or "The floor is not measured yet on any of the three sets."


def beyond_verdict(table: pd.DataFrame) -> str:
    """Say in words how far longer training, a higher learning rate and more width get."""
    known = table.dropna(subset=["share"])
    missing = [run for run in table.index if run not in known.index]
    words = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    if known.empty:
        return " ".join(words)
    order = known.sort_values("share", ascending=False)
    parts = [f"{row.changed} {row.share:+.0%} [{row.low:+.0%}, {row.high:+.0%}]" for row in order.itertuples()]
    above = order[order["low"] > 0]
    winner = f"{len(above)} of {len(order)} beat the better trivial rule beyond chance."
    return " ".join([f"Share of the way to the floor on PET-MRI: {'; '.join(parts)}.", winner, *words])


def metric_verdict(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say in words whether the loss asks for what the metrics reward.

    Args:
        tables: Results of :func:`floor_in_metrics` by title; empty ones are left out.
    """
    lines = []
    for title, table in tables.items():
        if table.empty:
            continue
        printed = table[table["printed place"] != ""]
        groups = {word: printed.index[printed["against maximum"] == word] for word in ("better", "worse", "unclear")}
        parts = [f"{word} in {', '.join(columns)}" for word, columns in groups.items() if len(columns)]
        first = printed.index[printed["place"].str.startswith("1 of")]
        answer = "yes" if len(groups["better"]) == len(printed) else "only in part" if len(groups["better"]) else "no"
        lines.append(
            f"{title}: against the plain maximum the floor is {'; '.join(parts)}. It comes first of the measured in "
            f"{', '.join(first) or 'no column'}. Does the loss ask for what the metrics reward? {answer.capitalize()}."
        )
    return "\n".join(lines) or "The floor is not measured yet on any of the three sets."


def provenance() -> str:
    """Return the last lines of the notebook: code and measurements behind it."""
    jobs = [(name, dataset) for dataset in RUNS for name in (*TRIVIAL, FLOOR)]
    jobs += [(f"{NETWORK}:{name}", d) for d, (_, run, _) in RUNS.items() for name in (run, *seeds_of(run))]
    return provenance_line([*jobs, *((f"{NETWORK}:{run}", "harvard_pet_mri") for run in BEYOND if run != "pet_mri")])
