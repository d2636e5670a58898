"""What changes when a scan selects: a task that needs it, three scans to compare, the operator, and its cost.

Letters and rules as in ``fusionkit.state_space``; numbers only.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), sections 3.1, 3.2 and
3.5 (selection, copying of marked values, the step as a gate).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.errors import FusionkitError
from fusionkit.ops import selective_scan
from fusionkit.state_space import (
    RULES,
    Scan,
    agreement,
    convolution_distance,
    discretise,
    kernel_matrix,
    recurrence,
)

STEPS, MARKS = 64, (5, 14, 19, 33, 41, 54)
STEP_SIZES = (0.001, 10.0)
# Step sizes at marked and at other values.
CHOICES = {
    "small everywhere": (0.03, 0.03),
    "large everywhere": (6.0, 6.0),
    "large at marks, small elsewhere": (6.0, 0.002),
}
LENGTHS = (256, 1024, 4096, 16384, 65536)
CHANNELS, STATES = 192, 16


@dataclass(frozen=True, eq=False)
class Marked:
    """A sequence in which a few values count.

    Attributes:
        values: (L,), between -1 and 1.
        marks: (L,), 1 at values that count, else 0.
        goal: (L,), the last value that counted; 0 before the first.
    """

    values: np.ndarray
    marks: np.ndarray
    goal: np.ndarray


def marked_values() -> Marked:
    """Return the sequence of the walkthrough, always the same."""
    values = np.random.default_rng(2).uniform(-1, 1, STEPS)
    marks = np.isin(np.arange(STEPS), MARKS).astype(float)
    last = np.maximum.accumulate(np.where(marks > 0, np.arange(STEPS), -1))
    return Marked(values, marks, np.where(last >= 0, values[last], 0))


def layer(at_marks: float, elsewhere: float) -> tuple[float, float]:
    """Return weight and bias of the linear layer whose softplus makes these step sizes from a mark of 1 or 0.

    Raises:
        FusionkitError: A step size is out of range.
    """
    for size in (at_marks, elsewhere):
        if not STEP_SIZES[0] <= size <= STEP_SIZES[1]:
            raise FusionkitError(f"step size {size:g} is out of range; choose {STEP_SIZES[0]:g} to {STEP_SIZES[1]:g}")
    top, bias = (size + np.log(-np.expm1(-size)) for size in (at_marks, elsewhere))
    return float(top - bias), float(bias)


def gate_scan(marks: np.ndarray, at_marks: float, elsewhere: float) -> Scan:
    """Return a scan with one state, A = -1 and B = C = 1, whose step size is computed from the marks.

    By zero-order hold it is a gate, h_k = (1 - g_k) h_(k-1) + g_k x_k with g = 1 - exp(-delta) = sigmoid(layer):
    theorem 1 of the Mamba paper.

    Args:
        marks: (L,), 0 or 1.
        at_marks: Step size at marks.
        elsewhere: Step size at other values.
    """
    weight, bias = layer(at_marks, elsewhere)
    ones = np.ones((len(marks), 1))
    return Scan(np.logaddexp(0, weight * marks + bias), -np.ones(1), ones, ones)


def selection_error(at_marks: float, elsewhere: float) -> float:
    """Return the root mean square difference of the gate's output from the goal, relative to the goal's own."""
    toy = marked_values()
    output = recurrence(gate_scan(toy.marks, at_marks, elsewhere), toy.values)
    return float(np.linalg.norm(output - toy.goal) / np.linalg.norm(toy.goal))


def selection_table() -> pd.DataFrame:
    """Return for each of ``CHOICES`` its step sizes, what a step keeps, and the error."""
    rows = {}
    for name, sizes in CHOICES.items():
        kept = dict(
            zip(("kept at a mark", "kept elsewhere"), (f"{100 * np.exp(-x):.1f} %" for x in sizes), strict=True)
        )
        rows[name] = {"at marks": sizes[0], "elsewhere": sizes[1], **kept, "error": f"{selection_error(*sizes):.2f}"}
    return pd.DataFrame.from_dict(rows, orient="index")


def best_constant() -> float:
    """Return the smallest error that any of 200 step sizes reaches if it is the same at marks and elsewhere."""
    return min(selection_error(size, size) for size in np.geomspace(*STEP_SIZES, 200).clip(*STEP_SIZES))


def three_scans() -> dict[str, tuple[Scan, np.ndarray]]:
    """Return three scans of L steps with real parameters, and the input of each, by what depends on the input."""
    toy = marked_values()
    return {
        "nothing": (gate_scan(toy.marks, 0.15, 0.15), toy.values),
        "delta": (gate_scan(toy.marks, *CHOICES["large at marks, small elsewhere"]), toy.values),
        "delta, B and C": _random_scan(),
    }


def _random_scan(states: int = 4) -> tuple[Scan, np.ndarray]:
    """Return a scan as in Mamba, with random layers that make delta, B and C from a smooth random input."""
    random = np.random.default_rng(12)
    x = np.convolve(random.normal(size=STEPS + 4), np.ones(5) / 2, mode="valid")
    B, C = (np.outer(x, random.normal(size=states)) + random.normal(size=states) for _ in range(2))
    return Scan(np.logaddexp(0, 1.5 * x - 2), -np.arange(1.0, states + 1), B, C), x


def matrix_table() -> pd.DataFrame:
    """Return for each of the three scans whether its kernel matrix gives the loop's output, and is a convolution."""
    rows = {}
    for name, (scan, x) in three_scans().items():
        matrix = kernel_matrix(scan)
        distance = convolution_distance(matrix)
        rows[name] = {
            "matrix and loop": agreement(matrix @ x, recurrence(scan, x)),
            "share that no convolution has": "0" if distance < 1e-12 else f"{100 * distance:.0f} %",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("depends on the input")


def operator_table() -> pd.DataFrame:
    """Return for each of the three scans whether the loop and ``selective_scan`` agree, by rule."""
    rows = {
        name: {
            title: agreement(recurrence(scan, x, rule), operator_output(scan, x, rule)) for rule, title in RULES.items()
        }
        for name, (scan, x) in three_scans().items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("depends on the input")


def operator_output(scan: Scan, x: np.ndarray, rule: str = "mamba") -> np.ndarray:
    """Return the output (L,) of ``fusionkit.ops.selective_scan`` in float64.

    The operator follows Mamba's rule; it computes zero-order hold as well if B is multiplied by (exp(delta A) - 1) /
    (delta A) before.

    Args:
        scan: With real A, B and C.
        x: Input, (L,).
        rule: A key of ``RULES``.

    Raises:
        FusionkitError: A is complex, or the rule unknown.
    """
    if np.iscomplexobj(scan.A):
        raise FusionkitError("A: selective_scan takes real numbers; a state that swings needs a complex one")
    _, B_bar = discretise(scan, rule)
    u, delta, B, C = (torch.from_numpy(a.T.copy())[None] for a in (x, scan.delta, B_bar / scan.delta[:, None], scan.C))
    return selective_scan(u[None], delta[None], torch.from_numpy(scan.A)[None], B, C)[0, 0].numpy()


def cost_table(lengths: tuple[int, ...] = LENGTHS) -> pd.DataFrame:
    """Return what torch's counter says a scan and softmax attention cost, by length, in 10^9 operations, forward.

    The scan has 192 channels of 16 states, attention 192 channels in one head; layers before and after are not counted.
    Nothing is computed.
    """
    rows = {}
    for length in lengths:
        u, A, B = (
            torch.empty(s, device="meta") for s in ((1, CHANNELS, length), (CHANNELS, STATES), (1, STATES, length))
        )
        query = torch.empty(1, 1, length, CHANNELS, device="meta")
        with FlopCounterMode(display=False) as scan:
            selective_scan(u, u, A, B, B)
        with FlopCounterMode(display=False) as attention:
            scaled_dot_product_attention(query, query, query)
        rows[length] = {"scan": scan.get_total_flops() / 1e9, "attention": attention.get_total_flops() / 1e9}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("L")
