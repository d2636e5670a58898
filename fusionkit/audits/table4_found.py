"""FusionMamba's Table 4, found again: which rows its test set and metrics give, and why the others cannot come."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from fusionkit.data import load_pair
from fusionkit.data.registry import split_names
from fusionkit.figures.style import BLUE, GREEN, INK, RED, new_figure, styled
from fusionkit.measure import is_here, load_method
from fusionkit.metrics import evaluate
from fusionkit.models.baselines.writing import POSTS
from fusionkit.papers import Column, get_panel
from fusionkit.profiles import Profile, as_profile, stand_in
from fusionkit.survey import load_survey
from fusionkit.tables import build
from fusionkit.tables.cells import MATCH, printed_decimals, printed_number

PANEL, DATASET = "fusionmamba/table4", "tno21_256"
PAIRS = 21
FOUND = ("DATF [12]", "IFT [11]", "SDNet [2]")
# Rows of which 42 TNO pairs, fused at their own sizes, were released by others: folder by row.
RELEASED = {"RfN [30]": "RFN-Nest", "U2F [4]": "U2Fusion", "FGAN [8]": "FusionGAN", "SDNet [2]": "SDNet"}
# Rows whose networks can be run here, and ways in which their images may have been written.
WRITINGS = {
    "SDNet [2]": ("sdnet:ir_vis", ("clip_round", "minmax")),
    "U2F [4]": ("u2fusion:ir_vis", ("clip_round", "maximum")),
}
SMOKE_PAIRS = 2


def columns() -> dict[str, Column]:
    """Return the six quality columns of the table by label."""
    return {label: column for label, column in get_panel(PANEL).columns.items() if column.metric}


def found_rows(rows: Iterable[str] = FOUND) -> pd.DataFrame:
    """Set measured means of some rows beside the printed ones.

    Args:
        rows: Labels of the table.

    Returns:
        Per row and column: ``printed`` (text), ``measured`` (mean over the 21 pairs, None where not on record),
        ``deviation`` and whether the printed ``digits`` come out, cut off as this table does.
    """
    table, lines = build(PANEL), {}
    for row in rows:
        for label in columns():
            cell = table.cells[row, label]
            apart = None if cell.mean is None else cell.mean - printed_number(cell.published)
            lines[row, label] = (cell.published, cell.mean, apart, cell.verdict == MATCH)
    names = ["printed", "measured", "deviation", "digits"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=names).set_axis(
        pd.MultiIndex.from_tuples(lines, names=["row", "column"])
    )


def found_verdict(found: pd.DataFrame) -> str:
    """Say in words how many digits come out.

    Args:
        found: Result of :func:`found_rows`.
    """
    known = found.dropna(subset="measured")
    missed = known[~known["digits"]]
    lines = [f"{row}, {label}: {m.printed} against {m.measured:.6f}" for (row, label), m in missed.iterrows()]
    rows = known.index.unique("row")
    return (
        f"{len(rows)} rows ({', '.join(rows)}): {known['digits'].sum()} of {len(known)} cells come out to the printed "
        f"digits" + (f"; not {'; '.join(lines)}." if lines else ".")
    )


@torch.inference_mode()
def writings(profile: Profile | str) -> tuple[pd.DataFrame, str]:
    """Measure networks on the 21 pairs whose outputs are written as images in several ways.

    Args:
        profile: Name of a profile. Phantoms stand in under smoke and where the pairs are not here.

    Returns:
        Per row and way of writing the mean of each column; and what was measured. Rows whose weights are not here are
        left out.
    """
    dataset, split, why = stand_in(DATASET, "test", profile)
    names = split_names(dataset, split)[: SMOKE_PAIRS if as_profile(profile) is Profile.SMOKE else None]
    pairs = [load_pair(dataset, split, name) for name in names]
    a, b = (torch.stack([getattr(pair, source) for pair in pairs]) for source in ("a", "b"))
    metrics, lines = {label: str(column.metric) for label, column in columns().items()}, {}
    for row, (method, posts) in WRITINGS.items():
        if is_here(method):
            network = load_method(method)
            images = torch.cat([network.image(network.raw(*one)) for one in zip(a.split(1), b.split(1), strict=True)])
            for post in posts:
                values = evaluate(POSTS[post](images), a, b, list(metrics.values()), "tang")
                lines[row, post] = {label: float(values[metric].mean()) for label, metric in metrics.items()}
    table = pd.DataFrame.from_dict(lines, orient="index", columns=list(metrics))
    table.index = pd.MultiIndex.from_tuples(lines, names=["row", "written"])
    left_out = [row for row, (method, _) in WRITINGS.items() if not is_here(method)]
    note = f"{len(pairs)} pairs of {dataset}/{split}{why}."
    return table, note + (f" Left out, weights missing: {', '.join(left_out)}." if left_out else "")


def subset_bounds(values: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the lowest and the highest mean that any so many images can have.

    No choice of ``count`` images has a mean below that of the ``count`` smallest values or above that of the largest.

    Args:
        values: One row per image, finite.
        count: 1 to the number of images.

    Returns:
        ``low`` and ``high`` per column of the values.
    """
    ordered = np.sort(values.to_numpy(dtype=float), axis=0)
    low, high = ordered[:count].mean(axis=0), ordered[len(ordered) - count :].mean(axis=0)
    return pd.DataFrame({"low": low, "high": high}, index=values.columns)


def reach_of_subsets(count: int = PAIRS) -> pd.DataFrame:
    """Say which printed cells some choice of the released images could have given.

    Args:
        count: Number of images that are chosen.

    Returns:
        Per row and column: ``printed``, ``all`` (mean of all images), ``low`` and ``high`` (bounds of the mean of any
        ``count`` images), whether the printed value is ``possible`` (a whole unit of its last digit is allowed
        for), and ``most``: the largest number of images for which it is.
    """
    lines = {}
    for row, folder in RELEASED.items():
        values = _released_values(folder)
        bounds = {n: subset_bounds(values, n) for n in range(1, len(values) + 1)}
        for label in columns():
            text = str(get_panel(PANEL).published.loc[row, label])
            fits = [n for n, bound in bounds.items() if _inside(text, *bound.loc[label])]
            low, high = bounds[count].loc[label]
            lines[row, label] = (text, values[label].mean(), low, high, count in fits, max(fits, default=0))
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["printed", "all", "low", "high", "possible", "most"])
    table.index = pd.MultiIndex.from_tuples(lines, names=["row", "column"])
    return table


def reach_verdict(table: pd.DataFrame, count: int = PAIRS) -> str:
    """Say in words which columns rule out that a printed row comes from the released images.

    Args:
        table: Result of :func:`reach_of_subsets`.
        count: The number of images that it was made with.
    """
    lines = []
    for row, cells in table.groupby(level="row", sort=False):
        out = list(cells.index.get_level_values("column")[~cells["possible"]])
        most = int(cells["most"].min())
        rest = f"subsets of up to {most} images are not ruled out by any column" if most else "nor of any other number"
        lines.append(f"- {row}: {', '.join(out) or 'no column'} out of reach of any {count} of the images; {rest}.")
    return "\n".join(lines)


@styled
def reach_figure(table: pd.DataFrame, count: int = PAIRS) -> Figure:
    """Draw what any choice of the released images can give, and what is printed.

    Args:
        table: Result of :func:`reach_of_subsets`.
        count: The number of images that it was made with.
    """
    rows, labels = table.index.unique("row"), table.index.unique("column")
    figure = new_figure(11.5, 2.9)
    figure.suptitle(
        f"Bars: means that any {count} of the 42 images can have. Printed: crosses out of reach, circles not."
    )
    for number, (axes, label) in enumerate(zip(figure.subplots(1, len(labels), sharey=True), labels, strict=True)):
        for place, row in enumerate(rows):
            cell = table.loc[(row, label)]
            axes.plot([cell["low"], cell["high"]], [place, place], color=BLUE, lw=7, alpha=0.45, solid_capstyle="butt")
            axes.plot(cell["all"], place, "|", color=INK, ms=9)
            mark, colour = ("o", GREEN) if cell["possible"] else ("x", RED)
            axes.plot(float(cell["printed"]), place, mark, color=colour, ms=7, mew=2)
        axes.set(title=label, ylim=(len(rows) - 0.5, -0.5))
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=3)
        if not number:
            axes.set_yticks(range(len(rows)), rows)
    return figure


def _released_values(folder: str) -> pd.DataFrame:
    """Return the table's columns of each of the 42 released images, as surveyed."""
    found = load_survey(f"published:{folder}", "tno", "test").values
    return pd.DataFrame({label: found[f"{c.metric}@{c.convention}"] for label, c in columns().items()})


def _inside(text: str, low: float, high: float) -> bool:
    number, unit = float(text), 10.0 ** -printed_decimals(text)
    return low - unit <= number <= high + unit
