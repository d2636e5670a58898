"""Which convention printed this table? Printed numbers beside every convention's values of the same fused images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fusionkit.audits.columns import printed_column
from fusionkit.calibration import PUBLISHED, published_table
from fusionkit.metrics import METRICS
from fusionkit.papers import Panel
from fusionkit.survey import load_survey
from fusionkit.tables.cells import MATCH, judge, printed_decimals, printed_number

# What papers print under one name: sums and means over the two sources, and metrics with confusable names.
FACTORS = (1.0, 0.5, 2.0)
RELATED = {
    "scd": ("scd", "cc"),
    "ms_ssim": ("ms_ssim", "ssim"),
    "ssim": ("ssim", "ms_ssim"),
    "vif": ("vif", "viff"),
    "fmi_edge": ("fmi_edge", "fmi_none", "fmi_gradient", "fmi_dct", "fmi_w"),
    "mse": ("mse", "rmse"),
    "qabf": ("qabf", "q_g"),
}
# A printed value within this ratio of what own methods give counts as within reach.
REACH = 1.1


def candidates(printed: Mapping[str, str], values: pd.DataFrame) -> pd.DataFrame:
    """Compare printed means with every way in which the same images could have been measured.

    Args:
        printed: Printed text by metric name, for example ``{"vif": "0.6350"}``.
        values: Per-image values, columns ``<metric>@<convention>``, as surveys hold them.

    Returns:
        One row per candidate: ``metric`` (printed), ``printed``, ``candidate`` (metric that was measured),
        ``convention``, ``factor``, ``measured`` (mean over images times factor), ``deviation`` (relative) and
        ``digits`` (the printed digits come out, rounded or cut off); best candidate first per metric.
    """
    means = values.mean()
    rows = []
    for metric, text in printed.items():
        number, decimals = printed_number(text), printed_decimals(text)
        for key, mean in means.items():
            name, _, convention = str(key).partition("@")
            if name not in RELATED.get(metric, (metric,)) or not np.isfinite(mean):
                continue
            for factor in FACTORS if METRICS[name].needs != "fused" else (1.0,):
                measured = factor * mean
                digits = any(judge(number, decimals, measured, cut) == MATCH for cut in (False, True))
                deviation = abs(measured / number - 1)
                rows.append((metric, text, name, convention, factor, measured, deviation, digits))
    columns = ["metric", "printed", "candidate", "convention", "factor", "measured", "deviation", "digits"]
    table = pd.DataFrame(rows, columns=columns)
    place = table["metric"].map({metric: position for position, metric in enumerate(printed)})
    return table.assign(place=place).sort_values(["place", "deviation"], ignore_index=True).drop(columns="place")


def rank_conventions(found: pd.DataFrame) -> pd.DataFrame:
    """Rank conventions by how well they explain printed numbers as they are, without factors or other metrics.

    Args:
        found: Result of :func:`candidates`.

    Returns:
        Per convention: ``columns`` that it has of those printed, ``to the digit``, ``within 1 %``, and ``typical
        ratio``, the geometric mean of the ratios between measured and printed (1 is perfect); best first.
    """
    plain = found[(found["factor"] == 1) & (found["candidate"] == found["metric"])]
    groups = plain.groupby("convention")
    distance = np.log((plain["measured"] / plain["printed"].astype(float)).abs()).abs()
    table = pd.DataFrame(
        {
            "columns": groups.size(),
            "to the digit": groups["digits"].sum(),
            "within 1 %": groups["deviation"].agg(lambda d: int((d <= 0.01).sum())),
            "typical ratio": np.exp(distance.groupby(plain["convention"]).mean()),
        }
    )
    return table.sort_values(["to the digit", "within 1 %", "typical ratio"], ascending=[False, False, True])


def printed_row(panel: Panel, row: str) -> dict[str, str]:
    """Return a printed row's quality columns as text by metric name."""
    return {
        str(column.metric): str(panel.published.loc[row, label])
        for label, column in panel.columns.items()
        if column.metric and str(panel.published.loc[row, label])
    }


def convention_verdict(found: pd.DataFrame, what: str) -> str:
    """Say in words which convention explains a printed row."""
    ranks = rank_conventions(found)
    best = ranks.iloc[0]
    others = ranks.iloc[1:].query("columns >= 2")["to the digit"].max()
    misses = found[(found["convention"] == ranks.index[0]) & (found["factor"] == 1) & ~found["digits"]]
    misses = misses[misses["candidate"] == misses["metric"]]
    missed = ", ".join(f"{m.metric} {m.printed} against {m.measured:.6f}" for m in misses.itertuples())
    return (
        f"{what}: {ranks.index[0]} gives {best['to the digit']:.0f} of {best['columns']:.0f} printed values to the "
        "digit"
        + (f" (not: {missed})" if missed else "")
        + f"; the next best convention with two columns or more gives {others:.0f}."
    )


def list_verdict(dataset: str, method: str) -> str:
    """Say which convention explains the mean of values that were published image by image.

    Args:
        dataset: ``tno`` or ``vifb``.
        method: A method with published images and values.
    """
    surveyed = load_survey(f"published:{method}", dataset, "test")
    table = published_table(dataset)
    if surveyed is None or table.empty:
        return f"{dataset}, {method}: the published values are not here (`fusionkit data list` says how to get them)."
    rows = table.xs(method, level="method").loc[surveyed.values.index].astype(float)
    printed = {metric: f"{rows[column].mean():.5g}" for column, metric in PUBLISHED[dataset].columns.items()}
    found = candidates({m: text for m, text in printed.items() if "e" not in text}, surveyed.values)
    return convention_verdict(found, f"{dataset}, {method}, mean of {len(rows)} published values each")


def reach(panel: Panel, surveys: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Say which conventions can give numbers as large as a panel's printed ones, whatever the fusion method.

    Args:
        panel: A panel whose methods' images were not released.
        surveys: Surveys of own methods on its test pairs.

    Returns:
        Per printed quality column and candidate: ``column candidate convention factor``, the printed ``low`` and
        ``high`` over rows, the lowest and highest mean measured over methods, and ``within reach``, the share of
        printed values inside that range widened by 10 %; best first per column.
    """
    rows = []
    means = pd.DataFrame({method: values.mean() for method, values in surveys.items()})
    for label, column in panel.columns.items():
        if not column.metric:
            continue
        read_as = {column.metric, *(reading.metric for reading in column.also)}
        names = {name for metric in read_as for name in RELATED.get(metric, (metric,))}
        numbers = printed_column(panel, label).dropna()
        for key, measured in means.iterrows():
            name, _, convention = str(key).partition("@")
            if name not in names:
                continue
            for factor in FACTORS if METRICS[name].needs != "fused" else (1.0,):
                low, high = sorted((factor * measured.min(), factor * measured.max()))
                inside = numbers.between(low / REACH, high * REACH).mean()
                rows.append((label, name, convention, factor, numbers.min(), numbers.max(), low, high, inside))
    columns = [
        "column",
        "candidate",
        "convention",
        "factor",
        "printed low",
        "printed high",
        "low",
        "high",
        "within reach",
    ]
    return pd.DataFrame(rows, columns=columns).sort_values(["column", "within reach"], ascending=[True, False])


def reach_verdict(table: pd.DataFrame, what: str) -> str:
    """Say in words which conventions come near the printed columns.

    Args:
        table: Result of :func:`reach`.
        what: Name of the printed panel.
    """
    lines = [f"{what}: share of printed values near what our images give"]
    for column, rows in table.groupby("column", sort=False):
        best = rows.drop_duplicates(["candidate", "low", "high"]).head(3).to_dict("records")
        lines.append(f"- {column}: " + "; ".join(f"{way(row)} {row['within reach']:.0%}" for row in best))
    return "\n".join(lines)


def way(row: Mapping[str, Any]) -> str:
    """Return how a candidate was measured, for example ``2 x cc@cddfuse``."""
    factor = "" if row["factor"] == 1 else f"{row['factor']:g} x "
    return f"{factor}{row['candidate']}@{row['convention']}"
