"""FLOPs that no layout can give: what the rebuilt variants cost, and which printed costs cannot be."""

import json
from collections.abc import Sequence
from functools import cache

import pandas as pd

from fusionkit.audits.columns import printed_column, rounding
from fusionkit.cost import CONVENTIONS, gmacs, parameters
from fusionkit.figures.costs import PIXELS, SIZE, cost_study
from fusionkit.models import build_model
from fusionkit.papers import get_panel
from fusionkit.recipes import load_recipe
from fusionkit.tables.cells import judge, printed_decimals

PANELS = ("lightfusionnet/table3", "lightfusionnet/table4a", "lightfusionnet/table4b")
COUNTS = ("macs", "thop", "flops")
# U2Fusion (Xu et al. 2020): (input channels, output channels) of its 3x3 convolutions, each with a bias: six layers
# of 44 that see all maps before them, from the two images on, then four that bring 264 maps down to one image.
U2FUSION = ((2, 44), (44, 44), (88, 44), (132, 44), (176, 44), (220, 44), (264, 128), (128, 64), (64, 32), (32, 1))


def variant_costs() -> pd.DataFrame:
    """Count every variant of Tables 3 and 4 and set the counts beside the printed ones.

    Returns:
        One row per printed variant (repeated ones once): ``variant``, ``parameters``, one column per convention of
        ``COUNTS`` (10^9 at 256x256), ``printed M``, ``printed G``, and the verdicts ``parameters fit`` and
        ``thop fits``.
    """
    rows = []
    for name in PANELS:
        panel = get_panel(name)
        params, counts = printed_column(panel, "Param"), printed_column(panel, "FLOPS")
        for label, row in panel.rows.items():
            run = f"lightfusionnet/{str(row.method).partition(':')[2]}"
            options = json.dumps(dict(load_recipe(run).options), sort_keys=True)
            if options not in {entry["options"] for entry in rows}:
                counted = _count(options)
                verdicts = {
                    "parameters fit": judge(params[label], 3, counted["parameters"] / 1e6),
                    "thop fits": judge(counts[label], 2, counted["thop"]),
                }
                words = label if options != "{}" else "Ours (C = 16, R = 4)"
                printed = {"printed M": params[label], "printed G": counts[label]}
                rows.append({"variant": words, "options": options, **counted, **printed, **verdicts})
    return pd.DataFrame(rows).drop(columns="options").set_index("variant")


def convention_fit(costs: pd.DataFrame) -> pd.DataFrame:
    """Return how many printed operation counts each way of counting matches, and the median ratio to them.

    Args:
        costs: Result of :func:`variant_costs`.
    """
    rows = {}
    for name in COUNTS:
        verdicts = [
            judge(printed, 2, counted) for printed, counted in zip(costs["printed G"], costs[name], strict=True)
        ]
        ratio = float((costs[name] / costs["printed G"]).median())
        rows[name] = (verdicts.count("match"), len(verdicts), ratio, CONVENTIONS[name].statement)
    names = ["cells matched", "of", "median ratio to printed", "what is counted"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def stack_cost(layers: Sequence[tuple[int, int]], kernel: int = 3) -> dict[str, int]:
    """Count weights and biases of a stack of square convolutions.

    Args:
        layers: Input and output channels of each.
        kernel: Side of the kernels.
    """
    weights = sum(inputs * outputs for inputs, outputs in layers) * kernel**2
    return {"weights": weights, "biases": sum(outputs for _, outputs in layers)}


def u2fusion_evidence() -> pd.DataFrame:
    """Compare ways of counting U2Fusion at 256x256, at full resolution throughout, with its printed row.

    Returns:
        Per way ``counted`` (10^9), ``printed`` and whether it ``matches`` to the printed decimals.
    """
    counted = stack_cost(U2FUSION)
    panel = get_panel("lightfusionnet/table1a")
    row = next(label for label in panel.rows if label.startswith("U2Fusion"))
    printed_g, printed_m = (str(panel.published.loc[row, name]) for name in ("FLOPS", "Param"))
    operations = {
        "multiply-adds, no biases": counted["weights"],
        "multiply-adds and biases": counted["weights"] + counted["biases"],
        "two operations per multiply-add": 2 * counted["weights"],
    }
    rows = {f"{words} (G)": (count * PIXELS / 1e9, printed_g) for words, count in operations.items()}
    rows["parameters (M)"] = ((counted["weights"] + counted["biases"]) / 1e6, printed_m)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["counted", "printed"])
    fits = [
        judge(float(p), printed_decimals(p), c) == "match"
        for c, p in zip(table["counted"], table["printed"], strict=True)
    ]
    return table.assign(matches=fits)


def steps() -> pd.DataFrame:
    """Return the impossible steps in numbers, at the rounding that is kindest to the paper.

    Returns:
        Per statement: what is ``needed``, what is ``printed`` at best, whether it is ``possible``.
    """
    wide, bottleneck = (get_panel(f"lightfusionnet/table4{x}") for x in "ab")
    half_g, half_m = rounding(wide, "FLOPS"), rounding(wide, "Param")
    c8, c16, c32 = printed_column(wide, "FLOPS")
    r2, r4, r8 = printed_column(bottleneck, "FLOPS")
    parameters_c32 = printed_column(wide, "Param").iloc[2]
    rows = [
        ("C 16 to 32: at least twice the operations (G)", 2 * (c16 - half_g), c32 + half_g, True),
        ("C 16 to 8: at most half the operations (G)", (c16 + half_g) / 2, c8 - half_g, False),
        ("C = 32: operations per pixel, at least the parameters", (parameters_c32 - half_m) * 1e6,
         (c32 + half_g) * 1e9 / PIXELS, True),
        ("R 4 to 8: at most half of the step 2 to 4 (G)", (r2 - r4 + 2 * half_g) / 2, r4 - r8 - 2 * half_g, False),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["statement", "bound", "printed, at best", "at least"])
    good = [
        (p >= b) == least
        for b, p, least in zip(table["bound"], table["printed, at best"], table["at least"], strict=True)
    ]
    return table.drop(columns="at least").assign(possible=good).set_index("statement")


def cost_verdict() -> str:
    """Say in words which printed costs the layout gives and which none can."""
    costs = variant_costs()
    fits = convention_fit(costs)
    matched = int((costs["parameters fit"] == "match").sum())
    bad = [name for panel in PANELS[1:] for name in _impossible(cost_study(get_panel(panel)))]
    u2 = u2fusion_evidence()
    words = ", ".join(u2.index[u2["matches"]])
    broken = int((~steps()["possible"]).sum())
    hits = fits["cells matched"]
    return (
        f"The layout gives {matched} of {len(costs)} printed parameter counts and {hits['thop']} of {len(costs)} "
        f"operation counts as thop counts ({hits['macs']} as plain multiply-adds, {hits['flops']} as two per "
        f"multiply-add). U2Fusion's printed row fits: {words}. No layout can give the printed operations of "
        f"{', '.join(bad)}: {broken} of {len(steps())} bounds are broken."
    )


def _impossible(study: pd.DataFrame) -> list[str]:
    return [f"{row.study} = {row.setting:g}" for row in study[~study["possible"]].itertuples()]


@cache
def _count(options: str) -> dict[str, float]:
    model = build_model("lightfusionnet", **json.loads(options))
    return {"parameters": parameters(model), **{name: gmacs(model, SIZE, name) for name in COUNTS}}
