"""How closely the metrics reproduce values that others computed: the reference file and published per-image values."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fusionkit import paths
from fusionkit.data.images import read_image
from fusionkit.errors import FusionkitError
from fusionkit.metrics import METRICS, evaluate_conventions
from fusionkit.survey import load_survey

# Keys of the reference file that are not the metric's name in capitals.
GOLDEN_NAMES = {
    "FMI_pixel": "fmi_edge",
    "Q0_piella": "q_s",
    "Qw_piella": "q_w",
    "Qe_piella": "q_e",
    "QC_cvejic": "q_c",
    "QY": "q_y",
    "QG": "q_g",
    "QP": "q_p",
    "QSF": "q_sf",
    "QM": "q_m",
}
GOLDEN_CONVENTIONS = {"cddfuse_f64": "cddfuse", "cddfuse_uint8": "cddfuse-uint8"}
# Values that the reference file holds per source: metric, convention, the sum of the parts times this factor.
GOLDEN_PARTS = {
    ("MI_bits_exact",): ("mi", "reference", 1.0),
    ("MI_nat_exact",): ("mi", "cddfuse", 1.0),
    ("CC_A", "CC_B"): ("cc", "reference", 0.5),
    ("SSIM255_A", "SSIM255_B"): ("ssim", "reference", 0.5),
    ("MSSSIM5_A", "MSSSIM5_B"): ("ms_ssim", "reference", 0.5),
    ("VIF_A", "VIF_B"): ("vif", "reference", 1.0),
    ("Qabf_tie1",): ("qabf", "reference", 1.0),
}
SPREADSHEET = {name.upper(): name for name in ("sd", "psnr", "mse", "mi", "vif", "ag", "cc", "scd", "en", "sf")}
SPREADSHEET["Qabf"] = "qabf"
VIFB = {
    "Cross_entropy": "ce",
    "Entropy": "en",
    "Mutinf": "mi",
    "Psnr": "psnr",
    "Avg_gradient": "ag",
    "Edge_intensity": "ei",
    "Qabf": "qabf",
    "Variance": "sd",
    "Spatial_frequency": "sf",
    "Rmse": "rmse",
    "Ssim": "ssim",
    "Qcb": "qcb",
    "Qcv": "qcv",
}


@dataclass(frozen=True)
class Published:
    """Values that were published image by image.

    Attributes:
        convention: Whose definitions they follow.
        columns: Metric by column.
        about: Where they stand.
        digits: Significant digits printed; None where all digits of a double are.
        other_images: Methods whose released images cannot be those that were measured: not even entropy and standard
            deviation agree, which no toolbox computes differently. They are listed apart.
    """

    convention: str
    columns: Mapping[str, str]
    about: str
    digits: int | None
    other_images: tuple[str, ...] = ()


PUBLISHED = {
    "tno": Published("tang2022", SPREADSHEET, "spreadsheet of L. Tang's repository", None),
    "vifb": Published("vifb", VIFB, "per-image files of VIFB, five digits", 5, ("SwinFusion", "YDTR")),
}
# Relative deviation that counts as equal where all digits of a double are printed.
EXACT = 1e-7
COLUMNS = ("source", "metric", "convention", "image", "expected", "measured", "allowed", "degenerate")


def golden_values(folder: Path | str) -> pd.DataFrame:
    """Measure the triples of the reference file and set the values beside its own.

    Args:
        folder: The folder with ``golden.json`` and ``images/``.

    Returns:
        One row per value: ``source`` (toolbox), ``metric``, ``convention``, ``image`` (triple), ``expected``,
        ``measured`` (NaN where the images are too small), ``allowed`` (absolute deviation that the file's tolerance
        allows) and ``degenerate`` (the file marks the value as noise). A reference code that stopped or answered a
        complex number counts as expecting NaN.

    Raises:
        FusionkitError: The folder does not hold the file.
    """
    file = Path(folder) / "golden.json"
    if not file.is_file():
        raise FusionkitError(f"{file}: no reference values here")
    golden = json.loads(file.read_text(encoding="utf-8"))
    rows = [row for name, triple in golden["triples"].items() for row in _triple(Path(folder), name, triple, golden)]
    return pd.DataFrame(rows, columns=COLUMNS)


def published_table(dataset: str) -> pd.DataFrame:
    """Return the values published for a dataset as printed, by method and image; empty where the file is not here.

    Args:
        dataset: A key of ``PUBLISHED``.
    """
    file = paths.data_dir() / "published_fusions" / dataset / "metrics_per_image.csv"
    if not file.is_file():
        return pd.DataFrame()
    return pd.read_csv(file, dtype=str).rename(columns={"file": "image"}).set_index(["method", "image"])


def published_values(dataset: str) -> pd.DataFrame:
    """Set surveyed values beside those that were published per image.

    Args:
        dataset: A key of ``PUBLISHED``.

    Returns:
        The columns of :func:`golden_values`, no row where the file is not here; ``allowed`` is half a unit of the
        last printed digit, or 1e-7 of the value where all digits are printed, and ``image`` is ``method/name``.
    """
    source, table = PUBLISHED[dataset], published_table(dataset)
    methods = table.index.unique("method") if len(table) else []
    surveys = {method: load_survey(f"published:{method}", dataset, "test") for method in methods}
    rows = []
    for method, surveyed in surveys.items():
        about = source.about + (f": {method}" if method in source.other_images else "")
        for image, values in surveyed.values.iterrows() if surveyed else ():
            for column, metric in source.columns.items():
                text = table.loc[(method, image), column]
                allowed = _half_unit(text, source.digits) if source.digits else EXACT * abs(float(text))
                measured = values[f"{metric}@{source.convention}"]
                name = f"{method}/{image}"
                rows.append((about, metric, source.convention, name, float(text), measured, allowed, False))
    return pd.DataFrame(rows, columns=COLUMNS)


def calibration_table(values: pd.DataFrame) -> pd.DataFrame:
    """Summarise compared values per source, metric and convention.

    Args:
        values: Rows as :func:`golden_values` and :func:`published_values` return them.

    Returns:
        ``source metric convention values`` (numbers compared), ``equal`` (share within what is allowed),
        ``largest deviation`` (relative; absolute where the value is below 1e-6) and ``where``; ``undefined`` counts
        values that are NaN or infinite in both, ``noise`` those marked as degenerate, which are not compared.
    """
    rows = []
    for key, group in values.groupby(["source", "metric", "convention"], sort=True):
        sound = group[~group["degenerate"].astype(bool)]
        finite = sound[np.isfinite(sound["expected"]) & np.isfinite(sound["measured"])]
        same = sound.drop(finite.index)
        undefined = sum(_same(e, m) for e, m in zip(same["expected"], same["measured"], strict=True))
        distance = (finite["measured"] - finite["expected"]).abs()
        relative = distance / finite["expected"].abs().where(finite["expected"].abs() > 1e-6, 1.0)
        worst = relative.idxmax() if len(relative) else None
        within = (distance <= finite["allowed"]).sum() + undefined
        rows.append(
            {
                **dict(zip(("source", "metric", "convention"), key, strict=True)),
                "values": len(sound),
                "equal": within / len(sound) if len(sound) else math.nan,
                "largest deviation": relative.max() if len(relative) else 0.0,
                "where": finite.loc[worst, "image"] if worst is not None else "",
                "undefined": undefined,
                "noise": int(group["degenerate"].sum()),
            }
        )
    return pd.DataFrame(rows)


def _triple(folder: Path, name: str, triple: dict, golden: dict) -> Iterator[tuple]:
    images = [(read_image(folder / triple["files"][k]) * 255).round().to(torch.uint8)[None] for k in "FAB"]
    wanted = [(c, m.name) for c in _golden_conventions(golden) for m in METRICS.values() if c in m.variants]
    found = evaluate_conventions(*images, wanted)
    for toolbox, values in triple["values"].items():
        for keys, metric, convention, factor in _wanted(toolbox, values):
            if metric not in METRICS or convention not in METRICS[metric].variants:
                continue
            expected = factor * sum(_number(values[key]) for key in keys)
            relative, absolute = golden["tolerance"][toolbox][keys[0]]
            degenerate = any(f"{toolbox}.{key}" in triple["degenerate"] for key in keys)
            measured = found[convention, metric].item() if (convention, metric) in found else math.nan
            allowed = max(relative * abs(expected), absolute) if math.isfinite(expected) else 0.0
            yield f"reference file: {toolbox}", metric, convention, name, expected, measured, allowed, degenerate


def _golden_conventions(golden: dict) -> set[str]:
    return {GOLDEN_CONVENTIONS.get(toolbox, toolbox) for toolbox in golden["tolerance"]} - {"standard"} | {"reference"}


def _wanted(toolbox: str, values: dict) -> Iterator[tuple[tuple[str, ...], str, str, float]]:
    """Yield keys, metric, convention and factor of everything a toolbox's values can be compared with."""
    if toolbox == "standard":
        for keys, (metric, convention, factor) in GOLDEN_PARTS.items():
            if all(key in values for key in keys):
                yield keys, metric, convention, factor
        return
    convention = GOLDEN_CONVENTIONS.get(toolbox, toolbox)
    for key in values:
        if key == "MEFSSIM":
            yield (key,), "ssim", "tang2022", 1.0
        elif key not in ("VIF_A", "VIF_B"):
            yield (key,), GOLDEN_NAMES.get(key, key.lower()), convention, 1.0


def _number(value: float | str) -> float:
    if isinstance(value, str):
        return float(value) if value.lower() in ("nan", "inf", "-inf") else math.nan
    return value


def _same(expected: float, measured: float) -> bool:
    return expected == measured or (math.isnan(expected) and math.isnan(measured))


def _half_unit(text: str, digits: int) -> float:
    """Return half a unit of the last of so many significant digits."""
    number = float(text)
    return 0.5 * 10.0 ** (math.floor(math.log10(abs(number))) - digits + 1) if number else 0.5 * 10.0**-digits
