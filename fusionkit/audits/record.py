"""Contradictions in the record: what fails on the paper's own printed numbers, and how uint8 arithmetic misleads."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from fusionkit.audits.columns import OURS, printed_column, rounding
from fusionkit.data import Pair, load_pair, present
from fusionkit.data.registry import split_names
from fusionkit.figures.panels import show
from fusionkit.figures.style import BLUE, GREEN, INK, RED, new_figure, styled
from fusionkit.metrics import evaluate
from fusionkit.papers import Panel, get_panel, load_paper
from fusionkit.profiles import Profile, as_profile
from fusionkit.tables import build, describe

PAPER = "lightfusionnet"
COMPARISONS = ("table1a", "table1b", "table1c", "table2a", "table2b")
ABLATIONS = ("table3", "table4a", "table4b", "table5")
SAME = {
    "table1a": OURS,
    "table3": "Ours",
    "table4a": "C = 16",
    "table4b": "R = 4",
    "table5": "SSIM 20, Gradient 50, Intensity 100",
}
SIGMAS = tuple(np.round(np.arange(0, 4.01, 0.25), 2))
SHOWN = (0.0, 0.5, 1.0, 2.0, 4.0)
CONVENTIONS = {"right": "cddfuse", "wrapped": "cddfuse-uint8"}


def failing_claims() -> tuple[pd.DataFrame, int]:
    """Check every claim of the paper on its own printed numbers.

    Returns:
        The claims that fail (``table``, ``claim``, ``what it says``, ``printed``, ``best printed``), and the number
        of all claims on record.
    """
    rows, total = [], 0
    for panel in load_paper(PAPER).panels:
        for outcome in build(panel, {}).outcomes:
            total += 1
            if outcome.published.verdict == "fails":
                claim = outcome.claim
                numbers = printed_column(panel, claim.column)
                best = numbers.max() if panel.columns[claim.column].better == "higher" else numbers.min()
                against = numbers[claim.than] if claim.than else best
                rows.append((panel.id, describe(claim), claim.text, numbers[claim.row], against))
    names = ["table", "claim", "the paper's words, in short", "printed", "against"]
    return pd.DataFrame(rows, columns=names), total


def one_configuration() -> pd.DataFrame:
    """Return every row that the paper prints for one network on PET-MRI, with the number of different values below."""
    rows = {name: get_panel(f"{PAPER}/{name}").published.loc[label] for name, label in SAME.items()}
    columns = get_panel(f"{PAPER}/table1a").published.columns
    table = pd.DataFrame(rows).T.reindex(columns=columns)
    distinct = table.apply(lambda column: str(column.dropna().nunique()))
    return pd.concat([table.fillna(""), distinct.to_frame("different values").T])


def scd_ratio() -> pd.DataFrame:
    """Return, for every printed row with both, SCD over twice CC and whether the two agree within rounding.

    Returns:
        ``table``, ``row``, ``SCD``, ``CC``, ``ratio`` and ``agree``: |SCD - 2 CC| is at most the rounding of both.
    """
    rows = []
    for panel in _panels(COMPARISONS + ABLATIONS):
        scd, cc = printed_column(panel, "SCD"), printed_column(panel, "CC")
        allowed = rounding(panel, "SCD") + 2 * rounding(panel, "CC") + 1e-9
        for label in panel.published.index:
            agree = abs(scd[label] - 2 * cc[label]) <= allowed
            rows.append((panel.id, label, scd[label], cc[label], scd[label] / (2 * cc[label]), bool(agree)))
    return pd.DataFrame(rows, columns=["table", "row", "SCD", "CC", "ratio", "agree"])


def time_spread() -> pd.DataFrame:
    """Return, per method and test set, the two printed times of the same work and their difference in percent."""
    rows = []
    for first, second, title in (("table1a", "table2a", "PET-MRI"), ("table1b", "table2b", "SPECT-MRI")):
        one, other = (printed_column(get_panel(f"{PAPER}/{name}"), "Time") for name in (first, second))
        short = {label.partition("(")[0].strip().replace("ATFuse", "ATF"): label for label in other.index}
        for label, seconds in one.items():
            name = str(label).partition("(")[0].strip()
            if name.replace("ATFuse", "ATF") in short:
                again = other[short[name.replace("ATFuse", "ATF")]]
                rows.append((title, name, seconds, again, 100 * (again - seconds) / seconds))
    return pd.DataFrame(rows, columns=["test set", "method", "Table 1", "Table 2", "percent"])


def repeated_values(column: str = "SD") -> pd.DataFrame:
    """Return the printed values of a column that two different methods or test sets share in Tables 1 and 2."""
    rows = [
        (panel.id, label, value)
        for panel in _panels(COMPARISONS)
        for label, value in printed_column(panel, column).items()
    ]
    table = pd.DataFrame(rows, columns=["table", "row", column])
    return table[table[column].duplicated(keep=False)].sort_values([column, "table"], ignore_index=True)


def record_verdict() -> str:
    """Say in words what contradicts what in the printed numbers."""
    failing, total = failing_claims()
    rows = one_configuration().loc["different values"].astype(int)
    several = ", ".join(rows.index[rows > 1])
    scd = scd_ratio()
    main = scd[scd["table"].isin(COMPARISONS)]
    ablations = scd[scd["table"].isin(ABLATIONS)]
    times = time_spread()
    ours = times[times["method"] == "Ours"]["percent"].abs()
    return (
        f"{len(failing)} of {total} claims fail on the paper's own numbers. One configuration is printed with "
        f"several values of {several}. SCD is twice CC in {main['agree'].sum()} of {len(main)} rows of Tables 1 and 2, "
        f"but only in {ablations['agree'].sum()} of {len(ablations)} rows of Tables 3 to 5 (ratio to 2 CC from "
        f"{ablations['ratio'].min():.2f} to {ablations['ratio'].max():.2f}). The same work is timed up to "
        f"{times['percent'].abs().max():.0f} % apart (the proposed network: {ours.min():.0f} to {ours.max():.0f} %)."
    )


def sharpness_pair(profile: str) -> tuple[Pair, str]:
    """Return the pair of the blur experiment and what it is: a real CT-MRI pair, or a phantom."""
    if as_profile(profile) is not Profile.SMOKE and present("harvard_ct_mri", "test"):
        return load_pair("harvard_ct_mri", "test", split_names("harvard_ct_mri", "test")[10]), "a real CT-MRI test pair"
    name = split_names("phantom_ct_mri", "test")[0]
    return load_pair("phantom_ct_mri", "test", name), "a CT-MRI phantom"


def blurred(pair: Pair, sigma: float) -> np.ndarray:
    """Return the pixelwise maximum of a pair after a Gaussian blur, uint8 (H, W)."""
    fused = torch.maximum(pair.a, pair.b)[0].double().numpy()
    return np.round(gaussian_filter(fused, sigma) * 255 if sigma else fused * 255).astype(np.uint8)


def blur_curve(pair: Pair, sigmas: Sequence[float] = SIGMAS) -> pd.DataFrame:
    """Measure SF and AG, right and wrapped, of ever blurrier versions of one fused image.

    Args:
        pair: Source images; the fused image is their pixelwise maximum.
        sigmas: Standard deviations of the blur in pixels.

    Returns:
        Indexed by ``sigma``: ``SF right``, ``SF wrapped``, ``AG right``, ``AG wrapped``.
    """
    images = torch.from_numpy(np.stack([blurred(pair, sigma) for sigma in sigmas]))[:, None]
    found = {}
    for words, convention in CONVENTIONS.items():
        values = evaluate(images, images, images, ["sf", "ag"], convention)
        found |= {f"{name.upper()} {words}": values[name].numpy() for name in ("sf", "ag")}
    table = pd.DataFrame(found, index=pd.Index(sigmas, name="sigma"))
    return table[["SF right", "SF wrapped", "AG right", "AG wrapped"]]


def monotone(curve: pd.DataFrame) -> pd.DataFrame:
    """Say for each measure whether it falls with every step of blur, where it peaks and how far it rises.

    Args:
        curve: Result of :func:`blur_curve`.
    """
    rows = {
        name: (bool((values.diff().dropna() <= 0).all()), values.idxmax(), 100 * (values.max() / values.iloc[0] - 1))
        for name, values in curve.items()
    }
    names = ["falls with every step", "peak at sigma", "peak above the sharp image, %"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def wrap_verdict(curve: pd.DataFrame, what: str) -> str:
    """Say in words whether the wrapped measures follow sharpness on one image."""
    table = monotone(curve)
    good, bad = (list(table.index[table["falls with every step"] == k]) for k in (True, False))
    at = float(min(curve.index, key=lambda sigma: abs(sigma - 2)))
    sharp, blurry = curve.iloc[0], curve.loc[at]
    change = {name: 100 * (blurry[name] / sharp[name] - 1) for name in curve}
    lines = [
        f"On {what}, {', '.join(good) or 'no measure'} fall with every step of blur"
        + (f"; {', '.join(bad)} do not." if len(bad) else "."),
        f"From the sharp image to a blur of {at:g} pixels the right SF changes by {change['SF right']:+.0f} %, the "
        f"wrapped one by {change['SF wrapped']:+.0f} %, the right AG by {change['AG right']:+.0f} %, the wrapped one "
        f"by {change['AG wrapped']:+.0f} %.",
    ]
    higher = [name for name in bad if table.at[name, "peak at sigma"] > 0]
    lines += [f"A blurred image has the highest {name}, not the sharp one." for name in higher]
    return " ".join(lines)


@styled
def blur_figure(pair: Pair, curve: pd.DataFrame, title: str = "") -> Figure:
    """Draw SF and AG against blur, right and wrapped, above some of the images that were measured.

    Args:
        pair: The pair of the curve.
        curve: Result of :func:`blur_curve`.
        title: Line above the chart.
    """
    figure = new_figure(10.0, 5.6)
    figure.suptitle(title)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    for axes, name in zip(upper.subplots(1, 2), ("SF", "AG"), strict=True):
        right, wrapped = curve[f"{name} right"], curve[f"{name} wrapped"]
        axes.plot(curve.index, 100 * right / right.iloc[0], color=BLUE, marker="o", ms=3, label="right")
        axes.plot(curve.index, 100 * wrapped / wrapped.iloc[0], color=RED, marker="s", ms=3, label="wrapped, uint8")
        axes.axhline(100, color=INK, lw=0.6, ls=":")
        axes.set(title=name, xlabel="blur, sigma in pixels", ylabel="% of the sharp image")
        axes.set_ylim(bottom=0)
        axes.legend()
    for axes, sigma in zip(lower.subplots(1, len(SHOWN)), SHOWN, strict=True):
        show(axes, blurred(pair, sigma) / 255)
        mine = blur_curve(pair, [sigma]).iloc[0]
        colour = GREEN if sigma == 0 else INK
        axes.set_title(f"sigma {sigma:g}: SF {mine['SF right']:.1f}\nwrapped {mine['SF wrapped']:.2f}", color=colour)
    return figure


def _panels(names: Sequence[str]) -> list[Panel]:
    return [get_panel(f"{PAPER}/{name}") for name in names]
