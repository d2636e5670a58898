"""Trained on the test slices: how many test pairs are training slices too, and what that does to the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from fusionkit.audits.columns import OURS, RUNS, measured_columns, network_values, printed_column, rounding, seeds_of
from fusionkit.data import Pair, get_dataset, load_pair, present
from fusionkit.data.colour import ycbcr_to_rgb
from fusionkit.data.leakage import overlap
from fusionkit.data.registry import split_names, split_table
from fusionkit.errors import FusionkitError
from fusionkit.figures.overlap import OverlapRow, overlap_gallery, overlap_rows
from fusionkit.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, RED, new_figure, styled
from fusionkit.papers import get_panel
from fusionkit.profiles import Profile, as_profile
from fusionkit.tables.cells import judge
from fusionkit.tables.intervals import CONFIDENCE, RESAMPLES, difference_interval, paired

GROUPS = {
    "pair": "both images in training",
    "functional_only": "only the functional image in training",
    "structural_only": "only the MRI in training",
    "listed": "in training, says the committed list",
    "no": "unseen",
}
COLOURS = {"all": INK, "pair": RED, "functional_only": ORANGE, "structural_only": ORANGE, "listed": RED, "no": GREEN}
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

    Equal identities prove an equal image. Another export of one slice has another identity; that such pairs are in
    training rests on the list of unseen pairs (none unseen where a leak-free training list exists without one).
    """
    entry = get_dataset(dataset)
    first, second = entry.modalities
    test, train = split_table(dataset, "test"), split_table(dataset, "train")
    unseen = set(split_names(dataset, "test_unseen")) if "test_unseen" in entry.splits else set()
    if "train_leakfree" not in entry.splits:
        unseen = set(test["name"])
    equal = test[second].isin(set(train[second]))
    kind = "functional_only" if "test_unseen" in entry.splits else "listed"
    verdict = np.where(test["name"].isin(unseen), "no", np.where(equal, "pair", kind))
    same = {f"{m}_equal": test[m].isin(set(train[m])) for m in (first, second)}
    return pd.DataFrame({"name": test["name"], **same, "verdict": verdict})


def overlap_counts(found: Sequence[Overlap]) -> pd.DataFrame:
    """Return how many test pairs of each dataset are in training, and how."""
    rows = [
        {"dataset": o.dataset, "test pairs": len(o.table), "in training": o.leaked}
        | {GROUPS[key]: len(o.groups.get(key, [])) for key in GROUPS if any(key in other.groups for other in found)}
        for o in found
    ]
    return pd.DataFrame(rows).set_index("dataset")


def gallery(found: Overlap) -> Figure:
    """Show test images beside their nearest training images: one or two of each group; else a planted example."""
    if not found.compared:
        return overlap_gallery(planted_rows(), title="Phantoms with a planted copy: how a new export looks")
    each = 2 if len(found.groups) == 1 else 1
    names = [name for group in found.groups.values() for name in group[len(group) // 2 :][:each]]
    words = ", ".join(f"{len(group)} {GROUPS[key]}" for key, group in found.groups.items())
    rows = overlap_rows(found.dataset, found.table, names)
    return overlap_gallery(rows, title=f"{RUNS[found.dataset][0]}: {words}")


def planted_rows() -> list[OverlapRow]:
    """Return a phantom pair beside a new export of itself (rounded, a little darker) and beside another phantom."""
    test, other = (load_pair("phantom_pet_mri", "train", name) for name in split_names("phantom_pet_mri", "train")[:2])
    rows = []
    for words, source in (("new export", test), ("another", other)):
        for modality, mine, its in (("PET", _colour(test), _colour(source)), ("MRI", test.b, source.b)):
            export = torch.round(its * 250) / 255 if source is test else its
            r = float(np.corrcoef(mine.mean(0).flatten(), export.mean(0).flatten())[0, 1])
            rows.append(OverlapRow(modality, f"phantom {test.name}", f"{words} {source.name}", mine, export, r))
    return rows


def _colour(pair: Pair) -> torch.Tensor:
    return ycbcr_to_rgb(pair.a, pair.chroma)


def leak_effects(found: Overlap, measured: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Compare the network trained with the test slices to the one trained without them, per group of test pairs.

    Args:
        found: Which test pairs are in training.
        measured: Per-image values by run (``ct_mri``, ``ct_mri-leakfree``, seeds); None takes those on record.

    Returns:
        Per ``group`` (``all`` first) and ``column``: means ``with_leak`` and ``leak_free``, ``difference`` with its
        95 % interval ``low`` and ``high`` from a bootstrap over pairs, the same in ``percent`` (``percent_low``,
        ``percent_high``) of the leak-free mean, ``pairs``, and ``seeds_percent``, the largest change of the mean
        between seeds of one training set. Empty where one of the two networks is not measured.
    """
    _, run, panel_name = RUNS[found.dataset]
    panel = get_panel(panel_name)
    values = _recorded(run, found.dataset) if measured is None else dict(measured)
    if run not in values or f"{run}-leakfree" not in values:
        return pd.DataFrame()
    tables = {name: measured_columns(panel, frame) for name, frame in values.items()}
    with_leak, leak_free = tables.pop(run), tables.pop(f"{run}-leakfree")
    groups = {"all": with_leak.index.tolist()} | found.groups
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
    whole = effects[(effects["group"] == "all") & (effects["column"] != "loss")]
    sure = whole[(whole["low"] > 0) | (whole["high"] < 0)]
    largest = whole.loc[whole["percent"].abs().idxmax()]
    seeds = largest["seeds_percent"]
    beside = f"; another seed alone moves it by up to {seeds:.1f} %" if np.isfinite(seeds) else ""
    changes = verdict_changes(found.dataset, measured)
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
    sure = more[(more["low"] > 0) | (more["high"] < 0)]
    names = ", ".join(sure.index) or "no column"
    return [f"Leaked pairs gain more than unseen ones, beyond chance, in: {names} ({len(sure)} of {len(more)})."]


@styled
def leak_chart(effects: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the change by the leak in percent, per column and group of pairs; grey: change between seeds.

    Args:
        effects: Result of :func:`leak_effects` by title; empty ones are left out.

    Raises:
        FusionkitError: All are empty.
    """
    shown = {title: table for title, table in effects.items() if not table.empty}
    if not shown:
        raise FusionkitError("leak chart: no pair of networks is measured; train ct_mri and ct_mri-leakfree first")
    columns = list(dict.fromkeys(c for table in shown.values() for c in table["column"]))
    figure = new_figure(5.4 * len(shown), 0.42 * len(columns) + 1.4)
    row = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (title, table) in zip(row, shown.items(), strict=True):
        groups = list(table["group"].unique())
        for k, group in enumerate(groups):
            part = table[table["group"] == group]
            y = np.array([columns.index(c) for c in part["column"]]) + (k - (len(groups) - 1) / 2) * 0.17
            words = GROUPS.get(group, "all pairs")
            axes.hlines(y, part["percent_low"], part["percent_high"], color=COLOURS[group], lw=1.6)
            axes.scatter(part["percent"], y, s=18, color=COLOURS[group], label=f"{words} ({part['pairs'].iloc[0]})")
        whole = table[table["group"] == "all"].dropna(subset=["seeds_percent"])
        at = [columns.index(c) for c in whole["column"]]
        axes.barh(at, 2 * whole["seeds_percent"], left=-whole["seeds_percent"], height=0.8, color=FAINT, zorder=0)
        axes.axvline(0, color=BLUE, lw=0.8)
        axes.set(title=title, xlabel="change by the leak, % of the leak-free mean")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    row[0].set_yticks(range(len(columns)), columns)
    row[0].invert_yaxis()
    return figure


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

    Empty where no pixels were compared.
    """
    if not found.compared:
        return pd.DataFrame()
    rows = []
    for key, part in found.table.groupby("verdict", sort=False):
        for modality in get_dataset(found.dataset).modalities:
            corr, apart = part[f"{modality}_corr"], part[f"{modality}_mean_diff"]
            rows.append((GROUPS[key], modality, len(part), corr.min(), corr.max(), apart.min(), apart.max()))
    names = ["group", "modality", "pairs", "lowest r", "highest r", "least difference", "largest difference"]
    return pd.DataFrame(rows, columns=names)
