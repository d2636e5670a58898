"""The quality columns of a printed panel as functions of measured values."""

from collections.abc import Iterable

import pandas as pd

from fusionkit.measure import load_measurement
from fusionkit.papers import Panel
from fusionkit.provenance import code_version
from fusionkit.tables.cells import printed_decimals, printed_number
from fusionkit.weights import list_weights

NETWORK = "lightfusionnet"
TOTAL = f"loss:{NETWORK}:total"
RUNS = {
    "harvard_pet_mri": ("PET-MRI", "pet_mri", "lightfusionnet/table1a"),
    "harvard_spect_mri": ("SPECT-MRI", "spect_mri", "lightfusionnet/table1b"),
    "harvard_ct_mri": ("CT-MRI", "ct_mri", "lightfusionnet/table1c"),
}
OURS = "Ours(LightFusionNet)"


def quality_columns(panel: Panel) -> dict[str, tuple[str, float]]:
    """Return measured quantity and factor of each printed quality column, by label.

    A column that is read in a second way too appears again, with that convention in brackets.
    """
    found = {}
    for column in panel.columns.values():
        if column.metric:
            found[column.name] = (f"{column.metric}@{column.convention}", column.scale)
            for reading in column.also:
                what = "correct" if reading.metric == column.metric else f"true {reading.metric}"
                found[f"{column.name} [{what}]"] = (f"{reading.metric}@{reading.convention}", reading.scale)
    return found


def measured_columns(panel: Panel, values: pd.DataFrame) -> pd.DataFrame:
    """Return per-image values of a panel's quality columns, and of the paper's loss as ``loss``.

    Args:
        panel: A panel of LightFusionNet.
        values: Per-image values as measurements hold them.
    """
    columns = {label: values[key] * scale for label, (key, scale) in quality_columns(panel).items() if key in values}
    if TOTAL in values:
        columns["loss"] = values[TOTAL]
    return pd.DataFrame(columns, index=values.index)


def network_values(run: str, dataset: str) -> pd.DataFrame | None:
    """Return the measurement on record of a trained LightFusionNet on a dataset's test split, or None."""
    found = load_measurement(f"{NETWORK}:{run}", dataset, "test")
    return None if found is None else found.values


def seeds_of(run: str) -> list[str]:
    """Return the weights of further seeds of a run that exist."""
    return [name for name in list_weights(NETWORK) if name.startswith(f"{run}-seed")]


def printed_column(panel: Panel, label: str) -> pd.Series:
    """Return a column's printed numbers by row, NaN where none is printed."""
    numbers = [printed_number(str(text)) for text in panel.published[label]]
    return pd.Series(numbers, index=panel.published.index, dtype=float)


def rounding(panel: Panel, label: str) -> float:
    """Return half a unit of the last decimal that a column is printed with."""
    return 0.5 * 10.0 ** -max(printed_decimals(str(text)) for text in panel.published[label])


def provenance_line(jobs: Iterable[tuple[str, str]]) -> str:
    """Return the code version, and key and images of each measurement on record.

    Args:
        jobs: Method id and dataset; those without a measurement on the test split are left out.
    """
    lines = [f"fusionkit {code_version()}"]
    for method, dataset in jobs:
        found = load_measurement(method, dataset, "test")
        if found:
            lines.append(
                f"{method} on {dataset}/test: key {found.provenance['key']}, data {found.provenance['data'][:12]}"
            )
    return "\n".join(lines)
