"""A chart of what changes to a network do to several quantities."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionkit.audits.effects import MOVES
from fusionkit.figures.charts import require
from fusionkit.figures.style import BLUE, FAINT, MUTED, new_figure, styled

ROW_HEIGHT = 0.34


@styled
def effect_chart(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the difference that each variant makes, one part of the figure per quantity.

    Points are mean differences to the unchanged network, lines their 95 % intervals over pairs, the grey band what
    training seeds of the unchanged network do; filled points leave both behind.

    Args:
        table: Result of ``fusionkit.audits.effects.effects``.
        title: Line above the chart.

    Raises:
        FusionkitError: The table has no rows.
    """
    require(table, ("variant", "quantity", "difference"), "effect chart")
    variants, quantities = table["variant"].unique()[::-1], table["quantity"].unique()
    figure = new_figure(1.9 * len(quantities) + 1.6, ROW_HEIGHT * len(variants) + 1.3)
    figure.suptitle(title)
    for axes, quantity in zip(np.atleast_1d(figure.subplots(1, len(quantities), sharey=True)), quantities, strict=True):
        rows = table[table["quantity"] == quantity].set_index("variant").loc[variants]
        spread = rows["seeds"].iloc[0]
        if spread == spread:
            axes.axvspan(-spread, spread, color=FAINT, lw=0, zorder=0)
        axes.axvline(0, color=MUTED, lw=0.8)
        for y, row in enumerate(rows.itertuples()):
            found = row.finding == MOVES
            colour = BLUE if found else MUTED
            axes.plot([row.low, row.high], [y, y], color=colour, lw=1.2)
            axes.plot(row.difference, y, "o", ms=5, color=colour, mfc=colour if found else "white")
        axes.set(title=_title(quantity), ylim=(-0.6, len(variants) - 0.4))
        axes.set_yticks(range(len(variants)), variants)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", length=0)
    return figure


def _title(quantity: str) -> str:
    name, _, convention = quantity.partition("@")
    return f"{name}\n{convention}" if convention else name.replace("loss:", "loss ").rpartition(":")[2]
