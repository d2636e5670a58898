"""DIFF-MF's Tables VIII and IX, as far as the record goes: where the method leads, by how much, in which classes."""

import pandas as pd
from matplotlib.figure import Figure

from fusionkit.figures.style import FAINT, MUTED, RED, new_figure, styled
from fusionkit.papers import get_panel

OURS = "DIFF-MF"


def class_values(panel: str, mean: str) -> pd.DataFrame:
    """Return the printed values of all classes and their printed mean, one row per method.

    Args:
        panel: For example ``"diffmf/table8"``.
        mean: Column of the mean over the classes, which comes last.
    """
    values = get_panel(panel).published.astype(float)
    return values[[*values.columns.drop(mean), mean]]


def class_leads(panel: str, mean: str) -> pd.DataFrame:
    """Compare DIFF-MF with the best other method, class by class; arguments as in :func:`class_values`.

    Returns:
        Per class and for the mean: ``DIFF-MF``, ``best other``, ``by`` which method, ``lead`` (negative where another
        is ahead), ``place`` among all methods, and ``spread``, highest minus lowest of all methods.
    """
    values = class_values(panel, mean)
    others = values.drop(OURS)
    table = pd.DataFrame({OURS: values.loc[OURS], "best other": others.max(), "by": others.idxmax()})
    table["lead"] = table[OURS] - table["best other"]
    table["place"] = 1 + (others > values.loc[OURS]).sum()
    table["spread"] = values.max() - values.min()
    return table.rename_axis("class")


@styled
def class_figure(panel: str, mean: str) -> Figure:
    """Draw the values of all methods, a line of dots per class; arguments as in :func:`class_values`."""
    values = class_values(panel, mean)
    figure = new_figure(8.0, 0.9 + 0.27 * values.shape[1])
    axes = figure.subplots()
    for place, name in enumerate(values.columns):
        others = values[name].drop(OURS)
        axes.axhline(place, color=FAINT, lw=0.6, zorder=0)
        axes.plot(others, [place] * len(others), "o", color=MUTED, ms=5, alpha=0.6)
        axes.plot(values.loc[OURS, name], place, "D", color=RED, ms=5)
    axes.set_yticks(range(values.shape[1]), values.columns)
    axes.invert_yaxis()
    axes.set(xlabel="as printed, 1 is best", xlim=(None, 1.01))
    axes.legend(axes.lines[1:3], ["other methods", OURS], loc="lower left")
    return figure


def downstream_verdict(panel: str, mean: str) -> str:
    """Say in two sentences how far the printed lead goes; arguments as in :func:`class_values`."""
    leads = class_leads(panel, mean)
    classes = leads.drop(mean)
    whole = leads.loc[mean]
    alone = ", ".join(classes.index[classes["lead"] > 0]) or "none"
    behind = classes["place"].idxmax()
    return (
        f"{mean}: {whole[OURS]:g}, {abs(whole['lead']):.4f} {'ahead of' if whole['lead'] > 0 else 'behind'} "
        f"{whole['by']} ({whole['best other']:g}). Of {len(classes)} classes {OURS} leads alone in {alone}; its worst "
        f"place is {classes.loc[behind, 'place']} of {len(class_values(panel, mean))}, in {behind}."
    )


def scene_verdict(panel: str, mean: str, name: str) -> str:
    """Say in one sentence what the record says of the class that a picture shows.

    Args:
        panel: As in :func:`class_values`.
        mean: Likewise.
        name: The class.
    """
    row = class_leads(panel, mean).loc[name]
    return (
        f"{name}, over the whole test set: {OURS} {row[OURS]:g}, place {row['place']}; best other {row['by']} "
        f"{row['best other']:g}; all methods lie within {row['spread']:.4f}."
    )
