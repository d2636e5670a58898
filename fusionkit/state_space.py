"""From an ODE to a scan: one linear system, its exact output, and three ways to compute it step by step.

Letters: A rate, B what enters the state h, C what leaves it, x input, y output, delta step of time, L steps, N states.
Everything here returns numbers, ``fusionkit.state_space_selection`` adds what changes when a scan selects,
``fusionkit.state_space_figures`` draws both, ``fusionkit.state_space_panel`` has the sliders.

Source: FusionMamba, section 2.2, eqs. 1-4; S4Fusion, section 3.1; DIFF-MF, eqs. 1-3.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusionkit.errors import FusionkitError, unknown

SECONDS = 12.0
DELTAS, RATES, SWINGS = (0.02, 4.0), (0.1, 4.0), (0.0, 6.0)
RULES = {"zoh": "zero-order hold", "mamba": "Mamba's rule"}
# Products of delta and -A in the table of rules; a new Mamba has up to 0.1 * 16.
PRODUCTS = (0.01, 0.1, 0.5, 1.0, 1.6, 3.0)


@dataclass(frozen=True)
class Tone:
    """A part of an input: ``amplitude * exp(1j * frequency * t)`` from time 0 on until ``end``."""

    amplitude: complex
    frequency: float = 0.0
    end: float = np.inf


def _wave(amplitude: complex, frequency: float) -> tuple[Tone, Tone]:
    """Return the two tones whose sum is the real part of ``amplitude * exp(1j * frequency * t)``."""
    return Tone(amplitude / 2, frequency), Tone(np.conj(amplitude) / 2, -frequency)


def _noise(waves: int = 16) -> tuple[Tone, ...]:
    random = np.random.default_rng(4)
    amplitudes = random.normal(size=(waves, 2)) @ (1, 1j) / np.sqrt(waves)
    pairs = zip(amplitudes, random.uniform(0.3, 7, waves), strict=True)
    return tuple(tone for amplitude, frequency in pairs for tone in _wave(amplitude, frequency))


SIGNALS = {"step": (Tone(1),), "pulse": (Tone(1, end=3),), "sine": _wave(-1j, 1.5), "noise": _noise()}


@dataclass(frozen=True)
class Setting:
    """A system with one state, h' = A h + B x and y = Re(h), its input, and a step of time.

    A is ``-rate + swing * 1j`` and B is -A, so that a constant input comes out unchanged in the end. A complex state
    stands for two real ones that push each other.

    Attributes:
        delta: Seconds between two samples, 0.02 to 4.
        rate: How fast the state fades, 0.1 to 4 per second.
        swing: How fast it swings, 0 to 6 radians per second.
        signal: A key of ``SIGNALS``.

    Raises:
        FusionkitError: A value is out of range or the signal unknown.
    """

    delta: float = 0.25
    rate: float = 1.0
    swing: float = 0.0
    signal: str = "step"

    def __post_init__(self) -> None:
        for name, (low, high) in {"delta": DELTAS, "rate": RATES, "swing": SWINGS}.items():
            if not low <= getattr(self, name) <= high:
                raise FusionkitError(f"{name} {getattr(self, name):g} is out of range; choose {low:g} to {high:g}")
        if self.signal not in SIGNALS:
            raise unknown("signal", self.signal, SIGNALS)

    @property
    def A(self) -> complex:  # noqa: N802
        """The rate of the state; its real part is negative."""
        return complex(-self.rate, self.swing)

    @property
    def starts(self) -> np.ndarray:
        """When each step begins: every ``delta`` seconds, until about 12."""
        return np.round(self.delta * np.arange(round(SECONDS / self.delta)), 12)

    @property
    def samples(self) -> np.ndarray:
        """The input where steps begin."""
        return signal_at(self.signal, self.starts)

    def scan(self) -> "Scan":
        """The system as a scan in which nothing depends on the input."""
        length = len(self.starts)
        columns = (np.full((length, 1), value, complex) for value in (-self.A, 1))
        return Scan(np.full(length, self.delta), np.array([self.A]), *columns)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a scan over L steps runs with; selective if ``delta``, ``B`` or ``C`` change over time.

    Attributes:
        delta: (L,), positive.
        A: (N,), its real part negative.
        B: (L, N).
        C: (L, N).
    """

    delta: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray


# The continuous system


def signal_at(name: str, times: np.ndarray) -> np.ndarray:
    """Return an input at times in seconds; it is 0 before time 0.

    Raises:
        FusionkitError: The signal is unknown.
    """
    if name not in SIGNALS:
        raise unknown("signal", name, SIGNALS)
    parts = [
        np.where((times >= 0) & (times < tone.end), tone.amplitude * np.exp(1j * tone.frequency * times), 0)
        for tone in SIGNALS[name]
    ]
    return np.sum(parts, 0).real


def exact(setting: Setting, times: np.ndarray) -> np.ndarray:
    """Return the output at times in seconds: the integral of exp(A (t - s)) B x(s) over s, in closed form."""
    A, times = setting.A, np.maximum(times, 0)
    h = np.zeros(len(times), complex)
    for tone in SIGNALS[setting.signal]:
        heard, turn = np.minimum(times, tone.end), 1j * tone.frequency
        h += tone.amplitude / (turn - A) * (np.exp(A * (times - heard) + turn * heard) - np.exp(A * times))
    return (-A * h).real


# Discrete steps


def discretise(scan: Scan, rule: str = "zoh") -> tuple[np.ndarray, np.ndarray]:
    """Return A-bar and B-bar of every step, (L, N) each.

    Args:
        scan: Its continuous parameters.
        rule: ``"zoh"``, exact for an input that is held during a step (FusionMamba and DIFF-MF, eq. 2), or
            ``"mamba"``: the same A-bar with B-bar = delta B, which Mamba's code computes, and all that is built on it.

    Raises:
        FusionkitError: The rule is unknown.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    exponent = scan.delta[:, None] * scan.A
    B_bar = scan.B * (scan.delta[:, None] if rule == "mamba" else np.expm1(exponent) / scan.A)
    return np.exp(exponent), B_bar


def recurrence(scan: Scan, x: np.ndarray, rule: str = "zoh") -> np.ndarray:
    """Return the output (L,) of a loop over steps, from h = 0 on.

    h_k = A-bar_k h_(k-1) + B-bar_k x_k is the state when step k ends, y_k = Re(C_k h_k).
    """
    h, y = np.zeros_like(scan.A), []
    for A_bar, B_bar, C, value in zip(*discretise(scan, rule), scan.C, x, strict=True):
        h = A_bar * h + B_bar * value
        y.append((C * h).sum().real)
    return np.array(y)


def kernel(setting: Setting, rule: str = "zoh") -> np.ndarray:
    """Return the convolution kernel C A-bar^j B-bar of a system that does not change, (L,); FusionMamba, eq. 4."""
    scan = setting.scan()
    A_bar, B_bar = discretise(scan, rule)
    return (scan.C * A_bar ** np.arange(len(A_bar))[:, None] * B_bar).sum(1).real


def convolution(setting: Setting, rule: str = "zoh") -> np.ndarray:
    """Return the output (L,) for the setting's input as one causal convolution, without any loop over time."""
    x = setting.samples
    return np.convolve(x, kernel(setting, rule))[: len(x)]


def kernel_matrix(scan: Scan, rule: str = "zoh") -> np.ndarray:
    """Return what input s adds to output t, (L, L): C_t A-bar_t ... A-bar_(s+1) B-bar_s, and 0 for s > t."""
    length = len(scan.delta)
    rows, influence = np.zeros((length, length)), np.zeros((length, len(scan.A)), scan.B.dtype)
    for t, (A_bar, B_bar) in enumerate(zip(*discretise(scan, rule), strict=True)):
        influence = influence * A_bar
        influence[t] = B_bar
        rows[t] = (influence @ scan.C[t]).real
    return rows


def convolution_distance(matrix: np.ndarray) -> float:
    """Return how far a kernel matrix is from any convolution: 0 if it is one, 1 if no convolution has anything of it.

    The nearest convolution has the mean of each diagonal; the number is the rest, relative to the matrix, in the
    Frobenius norm.
    """
    lags = np.subtract.outer(*[np.arange(len(matrix))] * 2)
    nearest = np.zeros_like(matrix)
    for lag in range(len(matrix)):
        nearest[lags == lag] = matrix[lags == lag].mean()
    return float(np.linalg.norm(matrix - nearest) / np.linalg.norm(matrix))


def rule_table() -> pd.DataFrame:
    """Return what both rules make of A and B, for B = -A so that a constant 1 should settle at 1, by ``delta * -A``."""
    product = np.array(PRODUCTS)
    A_bar, B_bar = discretise(Scan(product, -np.ones(1), np.ones((len(product), 1)), np.ones((len(product), 1))))
    columns = {"A-bar": A_bar[:, 0], "B-bar, zero-order hold": B_bar[:, 0], "B-bar, Mamba": product}
    too_large = [f"{100 * value:.1f} %" for value in product / B_bar[:, 0] - 1]
    return pd.DataFrame(columns, index=pd.Index(product, name="delta * -A")).assign(**{"too large by": too_large})


def rule_errors(setting: Setting, deltas: np.ndarray) -> pd.DataFrame:
    """Return the largest error of both rules against the exact output, by step size; other values as in the setting."""
    rows = {}
    for delta in deltas:
        now = Setting(float(delta), setting.rate, setting.swing, setting.signal)
        truth = exact(now, now.starts + now.delta)
        rows[delta] = {rule: np.abs(recurrence(now.scan(), now.samples, rule) - truth).max() for rule in RULES}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("delta")


def setting_words(setting: Setting) -> str:
    """Say in one line what one step does and how far both rules are from the exact output."""
    A_bar, zoh = (values[0, 0] for values in discretise(setting.scan()))
    errors = rule_errors(setting, np.array([setting.delta])).iloc[0]
    off = ", ".join(f"{title} {_size(errors[rule])}" for rule, title in RULES.items())
    factor = abs(setting.delta * setting.A / zoh)
    return f"one step keeps {100 * abs(A_bar):.1f} % of the state; |delta B| / |B-bar| = {factor:.2f}; error: {off}"


def _size(error: float) -> str:
    return "none but rounding" if error < 1e-12 else f"{error:.2g}"


def agreement(first: np.ndarray, second: np.ndarray, tolerance: float = 1e-12) -> str:
    """Say whether two outputs agree, coarsely enough to be the same on every machine.

    Args:
        first: Any numbers.
        second: As many.
        tolerance: Largest difference relative to the largest of the first that counts as rounding.
    """
    apart = np.abs(first - second).max() / np.abs(first).max()
    return f"agree to {tolerance:.0e}" if apart <= tolerance else f"differ by {100 * apart:.2g} %"
