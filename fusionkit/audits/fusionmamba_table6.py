"""FusionMamba's Table 6 beside itself: its network counted by the rule of another row, and timed on this machine."""

from functools import cache

import pandas as pd

from fusionkit.audits.bench import measured
from fusionkit.audits.costs import U2FUSION, stack_cost
from fusionkit.audits.fusionmamba_cost import RELEASES
from fusionkit.audits.fusionmamba_parts import SIZE, shapes_only
from fusionkit.cost import gmacs
from fusionkit.papers import get_panel

PANEL, COLUMN = "fusionmamba/table6", "Flops (G)"
# U2Fusion's row: images of this size, two operations per multiply-add, and three per value that a layer gives (one for
# the bias, two for a leaky ReLU).
LARGE = (512, 512)
PER_VALUE = 3
NETWORKS = {
    "default network": RELEASES["the present code"],
    "network that 16.50 fits": RELEASES["the first public code"] | {"size": "table6"},
}
SUITES = {"models": "full network, the paper's equations", "scaling": "tiny network of this project"}
TIMES = ["network", "device", "threads", "seconds", "peak MB", "code"]


@cache
def one_rule() -> pd.DataFrame:
    """Count FusionMamba's networks as U2Fusion's row of Table 6 was counted.

    Returns:
        10^9 operations of U2Fusion (first) and ``NETWORKS``: ``printed``, ``counted`` by that rule, and either as a
        ``printed share`` and a ``counted share`` of U2Fusion's.
    """
    layers, column = stack_cost(U2FUSION), get_panel(PANEL).published[COLUMN]
    theirs, ours = (column[column.index.str.startswith(name)].item() for name in ("U2F", "FusionMamba"))
    per_pixel = 2 * layers["weights"] + PER_VALUE * layers["biases"]
    rows = {"U2Fusion": (theirs, per_pixel * LARGE[0] * LARGE[1] / 1e9)}
    rows |= {words: (ours, gmacs(shapes_only(**options), LARGE, "flops")) for words, options in NETWORKS.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["printed", "counted"])
    numbers = table.astype(float)
    return table.join((numbers / numbers.iloc[0]).add_suffix(" share"))


def rule_verdict() -> str:
    """Say what becomes of the lead in operations when two rows are counted alike."""
    theirs, *ours = one_rule().reset_index(names="network").to_dict("records")
    counts = " and ".join(f"{row['counted share']:.2f} for the {row['network']}" for row in ours)
    return (
        f"U2Fusion's {theirs['printed']} G are two operations per multiply-add at {LARGE[0]}x{LARGE[1]}, biases and "
        f"activations included ({theirs['counted']:.2f} G); FusionMamba's operations are printed as "
        f"{ours[0]['printed share']:.2f} of them and by the same rule are {counts}."
    )


def times_here() -> pd.DataFrame:
    """Return what ``results/bench`` holds on FusionMamba at 256x256: no rows where it has not been measured."""
    rows = []
    for suite, about, results in measured():
        for threads, seconds, memory in _of_network(suite, results, about["threads"]):
            rows.append((SUITES[suite], about["device"], threads, seconds, memory, about["code"]))
    return pd.DataFrame(rows, columns=TIMES)


def _of_network(suite: str, results: dict[str, list[dict]], threads: int) -> list[tuple[int, float, float]]:
    """Return threads, seconds and megabytes of each measurement of a suite on FusionMamba at 256x256."""
    if suite == "models":
        rows = [row for row in results["models"] if row["model"] == "fusionmamba"]
        return [(threads, row["median_ms"] / 1e3, row["peak_memory_mb"]) for row in rows]
    if suite == "scaling":
        rows = [row for row in results["inference"] if row["network"] == "scan" and row["side"] == SIZE[0]]
        return [(row["threads"], row["time"]["median_ms"] / 1e3, row["peak_mb"]) for row in rows]
    return []
