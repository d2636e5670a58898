"""Trained on the test slices: how many test pairs are training slices too, and what that does to the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fusionkit.audits.columns import (
    NETWORK,
    OURS,
    RUNS,
    measured_columns,
    network_values,
    printed_column,
    provenance_line,
    rounding,
    seeds_of,
)
from fusionkit.data import get_dataset, present
from fusionkit.data.leakage import overlap
from fusionkit.data.registry import split_names, split_table
from fusionkit.intervals import CONFIDENCE, RESAMPLES, difference_interval, paired
from fusionkit.papers import get_panel
from fusionkit.profiles import Profile, as_profile
from fusionkit.tables.cells import judge

GROUPS = {
    "pair": "both images in training",
    "functional_only": "only the functional image in training",
    "structural_only": "only the MRI in training",
    "listed": "in training, says the committed list",
    "no": "unseen",
}
AUDITED = ("harvard_ct_mri", "harvard_spect_mri")
SMALL_PERCENT = 5.0


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which test pairs of a dataset are in its training split.

    Attributes:
        dataset: Dataset name.
        table: One row per test pair with ``name`` and ``verdict``; more columns where pixels were compared.
        source: How it was found, one sentence.
        compared: Whether pixels were compared here.
    """

    dataset: str
    table: pd.DataFrame
    source: str
    compared: bool

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names of the test pairs by verdict, in the order of ``GROUPS``."""
        found = {key: self.table["name"][self.table["verdict"] == key].tolist() for key in GROUPS}
        return {key: names for key, names in found.items() if names}

    @property
    def leaked(self) -> int:
        """Number of test pairs with at least one image in training."""
        return int((self.table["verdict"] != "no").sum())


def find_overlap(dataset: str, profile: str) -> Overlap:
    """Compare test with training images where they are here and the profile allows, else read the committed lists.

    Args:
        dataset: Dataset with the splits ``test`` and ``train``.
        profile: Name of a profile; ``smoke`` never looks at images.
    """
    here = present(dataset, "test") and present(dataset, "train")
    if as_profile(profile) is Profile.SMOKE or not here:
        why = "the smoke profile looks at no images" if here else "the images are not here"
        return Overlap(dataset, overlap_of_lists(dataset), f"committed lists of image identities ({why})", False)
    return Overlap(dataset, overlap(dataset), "pixels of all test and training images, compared just now", True)


def overlap_of_lists(dataset: str) -> pd.DataFrame:
    """Say from the committed lists alone which test pairs are in training.

    Another export of a slice is another image to a hash, so the lists cannot say which side of a pair is in training.
    They do say which pairs are unseen (none where a leak-free training list exists without a list of unseen pairs),
    and how many images are equal, pixel for pixel.

    Returns:
        As ``fusionkit.data.leakage.overlap``, with ``<modality>_equal`` in place of the nearest images and the
        verdicts ``listed`` and ``no``.
    """
    entry = get_dataset(dataset)
    test, train = split_table(dataset, "test"), split_table(dataset, "train")
    if "train_leakfree" not in entry.splits:
        unseen = set(test["name"])
    else:
        unseen = set(split_names(dataset, "test_unseen")) if "test_unseen" in entry.splits else set()
    equal = {f"{m}_equal": test[m].isin(set(train[m])) for m in entry.modalities}
    verdict = np.where(test["name"].isin(unseen), "no", "listed")
    return pd.DataFrame({"name": test["name"], **equal, "verdict": verdict})


def overlap_counts(found: Sequence[Overlap]) -> pd.DataFrame:
    """Return how many test pairs of each dataset are in training, and how."""
    rows = [
        {"dataset": o.dataset, "test pairs": len(o.table), "in training": o.leaked}
        | {GROUPS[key]: len(o.groups.get(key, [])) for key in GROUPS if any(key in other.groups for other in found)}
        for o in found
    ]
    return pd.DataFrame(rows).set_index("dataset")


def leak_effects(found: Overlap, measured: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Compare the network trained with the test slices to the one trained without them, per group of test pairs.

    Args:
        found: Which test pairs are in training.
        measured: Per-image values by run (``ct_mri``, ``ct_mri-leakfree``, seeds); None takes those on record.

    Returns:
        Per ``group`` (``all`` first, then the others if there are several) and ``column``: means ``with_leak`` and
        ``leak_free``, ``difference`` with its 95 % interval ``low`` and ``high`` from a bootstrap over pairs, the same
        in ``percent`` (``percent_low``, ``percent_high``) of the leak-free mean, ``pairs``, and ``seeds_percent``, the
        largest change of the mean between seeds of one training set. Empty where one of the two networks is not
        measured.
    """
    _, run, panel_name = RUNS[found.dataset]
    panel = get_panel(panel_name)
    values = _recorded(run, found.dataset) if measured is None else dict(measured)
    if run not in values or f"{run}-leakfree" not in values:
        return pd.DataFrame()
    tables = {name: measured_columns(panel, frame) for name, frame in values.items()}
    with_leak, leak_free = tables.pop(run), tables.pop(f"{run}-leakfree")
    groups = {"all": with_leak.index.tolist()} | (found.groups if len(found.groups) > 1 else {})
    rows = [
        {"group": group, "column": column}
        | _effect(with_leak.loc[names, column], leak_free.loc[names, column])
        | {"seeds_percent": _seed_change(column, names, with_leak, tables)}
        for group, names in groups.items()
        for column in with_leak.columns
    ]
    return pd.DataFrame(rows)


def excess(found: Overlap, measured: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Return by how much the difference on leaked pairs exceeds that on unseen ones, per column.

    What the leaked pairs alone gain from being in training; a larger training set helps unseen pairs as well.

    Returns:
        Indexed by column: ``excess``, ``low``, ``high`` (95 %, bootstrap within both groups), ``percent`` of the
        leak-free mean on leaked pairs. Empty where no pair is unseen or a network is not measured.
    """
    _, run, panel_name = RUNS[found.dataset]
    values = _recorded(run, found.dataset) if measured is None else dict(measured)
    unseen = found.groups.get("no", [])
    if len(unseen) < 2 or run not in values or f"{run}-leakfree" not in values:
        return pd.DataFrame()
    with_leak, leak_free = (measured_columns(get_panel(panel_name), values[n]) for n in (run, f"{run}-leakfree"))
    leaked = [name for name in with_leak.index if name not in unseen]
    rows = {}
    for column in with_leak.columns:
        change = with_leak[column] - leak_free[column]
        samples = [change[names].to_numpy() for names in (leaked, unseen)]
        drawn = stats.bootstrap(
            samples,
            lambda one, other, axis: np.mean(one, axis=axis) - np.mean(other, axis=axis),
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        more = float(samples[0].mean() - samples[1].mean())
        percent = 100 * more / abs(float(leak_free.loc[leaked, column].mean()))
        rows[column] = {"excess": more, "low": drawn.low, "high": drawn.high, "percent": percent}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("column")


def verdict_changes(dataset: str, measured: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Set the printed row beside both networks: does any verdict of the table depend on the leak?"""
    _, run, panel_name = RUNS[dataset]
    panel = get_panel(panel_name)
    values = _recorded(run, dataset) if measured is None else dict(measured)
    if run not in values or f"{run}-leakfree" not in values:
        return pd.DataFrame()
    means = [measured_columns(panel, values[name]).mean() for name in (run, f"{run}-leakfree")]
    rows = {}
    for column in [c for c in means[0].index if c in panel.published]:
        printed = float(printed_column(panel, column)[OURS])
        decimals = round(-np.log10(2 * rounding(panel, column)))
        verdicts = [judge(printed, decimals, float(mean[column])) for mean in means]
        rows[column] = (printed, means[0][column], verdicts[0], means[1][column], verdicts[1])
    names = ["printed", "with leak", "verdict", "leak-free", "verdict without"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def leak_verdict(found: Overlap, measured: Mapping[str, pd.DataFrame] | None = None) -> str:
    """Say in words what the overlap does to a table."""
    title = RUNS[found.dataset][0]
    share = f"{title}: {found.leaked} of {len(found.table)} test pairs are training slices, wholly or in part"
    effects = leak_effects(found, measured)
    if effects.empty:
        return f"{share}. The network with the leak or the one without is not measured yet, so no effect is known."
    changes = verdict_changes(found.dataset, measured)
    whole = effects[(effects["group"] == "all") & effects["column"].isin(changes.index)]
    sure = whole[(whole["low"] > 0) | (whole["high"] < 0)]
    largest = whole.loc[whole["percent"].abs().idxmax()]
    seeds = largest["seeds_percent"]
    beside = f"; another seed alone moves it by up to {seeds:.1f} %" if np.isfinite(seeds) else ""
    moved = int((changes["verdict"] != changes["verdict without"]).sum())
    size = "small" if abs(largest["percent"]) < SMALL_PERCENT else "not small"
    lines = [
        f"{share}.",
        f"Trained without them, {len(sure)} of {len(whole)} columns change by more than chance over pairs; "
        f"the largest change is {largest['percent']:+.1f} % in {largest['column']}{beside}: {size}.",
        f"{moved} of {len(changes)} verdicts against the printed row depend on the leak.",
    ]
    return " ".join([*lines, *_excess_words(excess(found, measured))])


def _excess_words(more: pd.DataFrame) -> list[str]:
    if more.empty:
        return []
    above, below = (", ".join(more.index[mask]) or "no column" for mask in (more["low"] > 0, more["high"] < 0))
    size = more["percent"].drop("loss", errors="ignore").abs().max()
    return [
        f"Set against unseen pairs, the change on leaked pairs is higher in {above} and lower in {below}, by up to "
        f"{size:.1f} % of a column."
    ]


def _recorded(run: str, dataset: str) -> dict[str, pd.DataFrame]:
    found = {name: network_values(name, dataset) for name in (run, f"{run}-leakfree", *seeds_of(run))}
    return {name: frame for name, frame in found.items() if frame is not None}


def _effect(with_leak: pd.Series, leak_free: pd.Series) -> dict[str, float]:
    one, other = paired(with_leak, leak_free)
    low, high = difference_interval(with_leak, leak_free)
    mean, reference = float(np.mean(one - other)), float(np.mean(other))
    scale = 100 / abs(reference) if reference else float("nan")
    return {
        "with_leak": float(np.mean(one)),
        "leak_free": reference,
        "difference": mean,
        "low": low,
        "high": high,
        "percent": mean * scale,
        "percent_low": low * scale,
        "percent_high": high * scale,
        "pairs": len(one),
    }


def _seed_change(column: str, names: list[str], base: pd.DataFrame, seeds: Mapping[str, pd.DataFrame]) -> float:
    centre = float(base.loc[names, column].mean())
    changes = [abs(float(table.loc[names, column].mean()) - centre) for table in seeds.values() if column in table]
    return 100 * max(changes) / abs(centre) if changes and centre else float("nan")


def nearest_of(found: Overlap) -> pd.DataFrame:
    """Return the range of correlation and mean difference to the nearest training image, per group and modality.

    Where no pixels were compared it is the number of images that are equal, pixel for pixel, by the lists.
    """
    if not found.compared:
        equal = {m: int(found.table[f"{m}_equal"].sum()) for m in get_dataset(found.dataset).modalities}
        return pd.DataFrame({"equal, pixel for pixel": equal}).rename_axis("modality")
    rows = []
    for key, part in found.table.groupby("verdict", sort=False):
        for modality in get_dataset(found.dataset).modalities:
            corr, apart = part[f"{modality}_corr"], part[f"{modality}_mean_diff"]
            rows.append((GROUPS[key], modality, len(part), corr.min(), corr.max(), apart.min(), apart.max()))
    names = ["group", "modality", "pairs", "lowest r", "highest r", "least difference", "largest difference"]
    return pd.DataFrame(rows, columns=names)


def provenance() -> str:
    """Return the last line of the notebook: code and measurements behind it."""
    runs = [
        (f"{NETWORK}:{name}", d)
        for d in AUDITED
        for run in [RUNS[d][1]]
        for name in (run, f"{run}-leakfree", *seeds_of(run))
    ]
    return provenance_line(runs)
