"""What cost columns can be: printed operation counts against what any layout could give.

The reasoning needs no layout. If all widths scale with C, cost is ``a C + b C^2`` with ``a, b >= 0``, so doubling
C doubles it at least and quadruples it at most. If R sets a hidden width ``h = C / R``, cost is increasing and
convex in ``h``, so the step from h = 2 to h = 4 is at most half of the step from h = 4 to h = 8. And a network
that runs at full resolution uses each weight once per pixel at least.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fusionkit.figures.charts import require
from fusionkit.figures.style import BLUE, GREEN, INK, MUTED, RED, new_figure, styled
from fusionkit.papers import Panel
from fusionkit.tables.costs import cost_of

HALF_UNIT_G = 0.005
HALF_UNIT_M = 0.0005
SIZE = (256, 256)
PIXELS = SIZE[0] * SIZE[1]


def cost_study(panel: Panel) -> pd.DataFrame:
    """Return printed operation counts of a study of C or R, and what the other rows allow.

    Args:
        panel: A published panel with the columns Param, FLOPS, and C (LightFusionNet, Table 4A) or R (Table 4B).

    Returns:
        Columns ``study`` (``C`` or ``R``), ``setting``, ``printed_g`` and ``parameters_m`` as printed, ``low_g``
        and ``high_g`` (10^9 operations that are possible, given C = 16, or R = 2 and R = 4, with their rounding),
        ``possible``, and for the layout rebuilt here ``rebuilt_g`` and ``rebuilt_parameters``.

    Raises:
        FusionkitError: The panel has no such columns.
    """
    study = "C" if "C" in panel.published else "R"
    require(panel.published, (study, "Param", "FLOPS"), f"{panel.paper}/{panel.id}")
    table = panel.published[[study, "FLOPS", "Param"]].astype(float)
    table.columns = ["setting", "printed_g", "parameters_m"]
    table.insert(0, "study", study)
    methods = [panel.rows[label].method or "" for label in table.index]
    table["rebuilt_g"] = [cost_of(method, "gmacs_thop", SIZE) for method in methods]
    table["rebuilt_parameters"] = [1e6 * (cost_of(method, "parameters_m", SIZE) or np.nan) for method in methods]
    table = table.reset_index(drop=True)
    table["low_g"], table["high_g"] = _width_bounds(table) if study == "C" else _reduction_bounds(table)
    return _judge(table)


def _width_bounds(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    anchor = table["printed_g"][table["setting"] == 16].item()
    linear = table["setting"] / 16
    low = np.minimum(linear, linear**2) * (anchor - HALF_UNIT_G)
    return low, np.maximum(linear, linear**2) * (anchor + HALF_UNIT_G)


def _reduction_bounds(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    g = table.set_index("setting")["printed_g"]
    last = table["setting"] == 8
    lowest = 1.5 * (g[4] - HALF_UNIT_G) - 0.5 * (g[2] + HALF_UNIT_G)
    low = (table["printed_g"] - HALF_UNIT_G).mask(last, lowest)
    return low, (table["printed_g"] + HALF_UNIT_G).mask(last, g[4] + HALF_UNIT_G)


def _judge(study: pd.DataFrame) -> pd.DataFrame:
    apart = (study["printed_g"] + HALF_UNIT_G < study["low_g"]) | (study["printed_g"] - HALF_UNIT_G > study["high_g"])
    return study.assign(possible=~apart)


@styled
def cost_scatter(width: pd.DataFrame, reduction: pd.DataFrame) -> Figure:
    """Draw printed operation counts against what is possible: over C, over R, and per parameter and pixel.

    Args:
        width: Result of :func:`cost_study` for C.
        reduction: Result of :func:`cost_study` for R.
    """
    figure = new_figure(11.0, 3.9)
    row = figure.subplots(1, 3)
    for axes, study, words in zip(row, (width, reduction), ("width C", "reduction ratio R"), strict=False):
        _draw_study(axes, study)
        axes.set(xlabel=words, ylabel="operations at 256x256 ($10^9$)", title=f"over the {words}")
    _draw_per_pixel(row[2], pd.concat([width, reduction]))
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_study(axes: Axes, study: pd.DataFrame) -> None:
    x = np.arange(len(study))
    height = np.maximum(study["high_g"] - study["low_g"], 2 * HALF_UNIT_G)
    axes.bar(
        x, height, bottom=study["low_g"], width=0.5, color=GREEN, alpha=0.25, label="possible, given the other rows"
    )
    for good, colour, marker, label in ((True, INK, "o", "printed"), (False, RED, "X", "printed, impossible")):
        part = study["possible"] == good
        axes.scatter(x[part], study["printed_g"][part], s=46, color=colour, marker=marker, zorder=3, label=label)
    axes.scatter(x + 0.33, study["rebuilt_g"], s=36, color=BLUE, marker="D", zorder=3, label="the layout rebuilt here")
    axes.set_xticks(x, [f"{setting:g}" for setting in study["setting"]])
    highest = max(study["high_g"].max(), study["rebuilt_g"].max())
    axes.set(ylim=(0, highest * 1.08), xlim=(-0.5, len(study) - 0.3))
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def _draw_per_pixel(axes: Axes, rows: pd.DataFrame) -> None:
    limit = max(rows["parameters_m"].max() * 1e6, rows["rebuilt_parameters"].max()) * 1.12
    axes.fill_between([0, limit], [0, limit], color=RED, alpha=0.1, lw=0)
    axes.text(
        limit * 0.97, limit * 0.06, "fewer operations per pixel\nthan parameters", ha="right", color=RED, fontsize=8
    )
    for row in rows.drop_duplicates(["printed_g", "parameters_m"]).itertuples():
        left, bottom = (row.parameters_m - HALF_UNIT_M) * 1e6, (row.printed_g - HALF_UNIT_G) * 1e9 / PIXELS
        size = (2 * HALF_UNIT_M * 1e6, 2 * HALF_UNIT_G * 1e9 / PIXELS)
        below = bottom + size[1] < left
        axes.add_patch(Rectangle((left, bottom), *size, color=RED if below else INK, alpha=0.75, lw=0))
        if below:
            text = f"printed for {row.study} = {row.setting:g}"
            axes.text(left, bottom - 300, text, color=RED, fontsize=8, va="top")
    axes.scatter(rows["rebuilt_parameters"], rows["rebuilt_g"] * 1e9 / PIXELS, s=30, color=BLUE, marker="D", zorder=3)
    axes.set(xlim=(0, limit), ylim=(0, limit * 1.1), xlabel="parameters", ylabel="operations per pixel")
    axes.set_title("boxes: what rounds to the print")
    axes.locator_params(nbins=5)
    axes.plot([0, limit], [0, limit], color=MUTED, lw=0.8)
