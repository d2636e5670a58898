"""The page ``results/calibration.md``."""

from pathlib import Path

import pandas as pd

from fusionkit import paths
from fusionkit.calibration import PUBLISHED, calibration_table, golden_values, published_values
from fusionkit.files import write_text
from fusionkit.metrics import METRICS
from fusionkit.provenance import code_version, environment
from fusionkit.tables.markup import Block, Grid, Heading, Text, render_blocks

INTRODUCTION = (
    "How closely the metrics reproduce values that others computed, measured by `fusionkit calibrate`. *Within*: "
    "the share of values inside the tolerance of the reference file, equal at the printed digits, or, for the "
    "spreadsheet with all digits of a double, within 1e-7 of the value. Deviations are relative (absolute for "
    "values below 1e-6). Surveys keep twelve digits, so deviations of published values below 5e-12 say nothing. "
    "*Undefined*: NaN or infinite on both sides. *Noise*: the reference file marks the value as 0/0 or rounding "
    "noise; it is computed but not compared. Methods of VIFB listed apart: their released images cannot be those "
    "that were measured, as not even entropy and standard deviation agree, while all values of the other methods "
    "do."
)
UNCHECKED = (
    "Metrics under conventions for which no outside value is at hand; the project's own tests check them by values "
    "worked out by hand, other libraries and properties:"
)
HEADER = ("metric", "convention", "values", "within", "largest deviation", "where", "undefined", "noise")


def write_calibration(golden: Path | str) -> Path:
    """Write ``results/calibration.md``: how closely every metric reproduces values that others computed.

    Args:
        golden: The folder with ``golden.json``.

    Returns:
        The file.

    Raises:
        FusionkitError: The folder does not hold the file.
    """
    path = paths.results_dir() / "calibration.md"
    values = pd.concat([golden_values(golden), *(published_values(dataset) for dataset in PUBLISHED)])
    write_text(path, calibration_markdown(values))
    return path


def calibration_markdown(values: pd.DataFrame) -> str:
    """Return the calibration page.

    Args:
        values: Rows of :func:`golden_values` and :func:`published_values`.
    """
    table = calibration_table(values)
    blocks: list[Block] = [Heading("Calibration", 1), Text(INTRODUCTION)]
    for source, rows in table.groupby("source", sort=False):
        compared, within = int(rows["values"].sum()), int((rows["equal"] * rows["values"]).sum().round())
        cells = [
            [
                row["metric"],
                row["convention"],
                str(row["values"]),
                f"{row['equal']:.1%}" if row["values"] else "",
                f"{row['largest deviation']:.1e}",
                str(row["where"]),
                str(row["undefined"] or ""),
                str(row["noise"] or ""),
            ]
            for row in rows.to_dict("records")
        ]
        text = f"{within} of {compared} values within what is allowed."
        blocks += [Heading(str(source), 2), Text(text), Grid(HEADER, cells)]
    missing = ", ".join(_unchecked(table)) or "nothing"
    blocks += [Heading("Without outside values", 2), Text(f"{UNCHECKED} {missing}.")]
    record = environment()
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    blocks += [Heading("Provenance", 2), Text(f"Code {code_version()}; {record['device']}; {versions}.")]
    return render_blocks(blocks, "md")


def _unchecked(table: pd.DataFrame) -> list[str]:
    """Return what exists in the catalogue and was compared with nothing."""
    checked = set(zip(table["metric"], table["convention"], strict=True))
    return [f"{m.name}@{c}" for m in METRICS.values() for c in m.variants if (m.name, c) not in checked]
