"""Elementary functions for vectors inside numba kernels, as polynomials, so that they are nothing but vector code."""

import math
from collections.abc import Callable

from numba import njit, types
from numba.extending import overload

from fusionkit.ops.lanes import Lanes, power_of_two, where_above

# In e^r = 1 + r + r^2 q(r) for |r| <= ln 2 / 2: q, highest power first, minimax in the relative error (3e-9, 4e-18).
_SERIES = {
    types.float32: (
        0.0013814527541395508,
        0.008368746296800518,
        0.041668391047286237,
        0.16666520386258751,
        0.4999999343081853,
    ),
    types.float64: (
        2.5000042911182159e-8,
        2.7630309198672038e-7,
        2.7557586744251277e-6,
        2.4801492940811022e-5,
        1.9841269505814895e-4,
        1.3888888943769093e-3,
        8.3333333334949757e-3,
        4.1666666666529691e-2,
        0.16666666666666411,
        0.50000000000000107,
    ),
}
# The exponent's bias; added, the second number rounds to an integer whose low bits are then ready for the exponent.
_BIAS = {types.float32: (127, 1.5 * 2**23 + 127), types.float64: (1023, 1.5 * 2**52 + 1023)}
# ln 2 in two parts, the first so short that its products with exponents are exact.
_LN2 = {types.float32: (0.693359375, -2.12194440e-4), types.float64: (0.693145751953125, 1.42860682030941723212e-6)}


@njit
def _polynomial(coefficients: tuple, x: Lanes) -> Lanes:
    """Evaluate the polynomial with these coefficients, highest power first."""
    y = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        y = y * x + coefficient
    return y


def exp2(x: Lanes) -> Lanes:
    """Return 2^x, less than one unit in the last place off.

    Results below the smallest normal number may become 0, those above a quarter of the largest one infinity.
    """


@overload(exp2)
def _exp2(x: Lanes) -> Callable:
    (bias, magic), ln2 = _BIAS[x.dtype], math.log(2)
    powers = range(len(_SERIES[x.dtype]) + 1, 1, -1)
    coefficients = (*(c * ln2**power for c, power in zip(_SERIES[x.dtype], powers, strict=True)), ln2, 1.0)
    low, high = -float(bias), float(bias + 1)

    def compute(x: Lanes) -> Lanes:
        x = where_above(low, x, low, x)
        x = where_above(x, high, high, x)
        biased = x + magic
        return _polynomial(coefficients, x - (biased - magic)) * power_of_two(biased)

    return compute


def exp(x: Lanes) -> Lanes:
    """Return e^x, less than one unit in the last place off, with the range of ``exp2``."""


@overload(exp)
def _exp(x: Lanes) -> Callable:
    (bias, magic), (ln2, ln2_rest) = _BIAS[x.dtype], _LN2[x.dtype]
    coefficients = (*_SERIES[x.dtype], 1.0, 1.0)
    low, high = -bias * math.log(2), (bias + 1) * math.log(2)

    def compute(x: Lanes) -> Lanes:
        x = where_above(low, x, low, x)
        x = where_above(x, high, high, x)
        biased = x * (1 / math.log(2)) + magic
        k = biased - magic
        return _polynomial(coefficients, (x - k * ln2) - k * ln2_rest) * power_of_two(biased)

    return compute


def softplus(x: Lanes) -> Lanes:
    """Return log(1 + e^x), and x itself above 20 as torch does."""


@overload(softplus)
def _softplus(x: Lanes) -> Callable:
    # log(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3, by its series until terms no longer count
    terms = 8 if x.dtype == types.float32 else 17
    coefficients = tuple(2 / (2 * j + 1) for j in reversed(range(terms)))

    def compute(x: Lanes) -> Lanes:
        e = exp(where_above(x, 0.0, 0.0 - x, x))
        s = e / (e + 2.0)
        return where_above(x, 20.0, x, where_above(x, 0.0, x, 0.0) + s * _polynomial(coefficients, s * s))

    return compute


@njit
def sigmoid(x: Lanes) -> Lanes:
    """Return 1 / (1 + e^-x)."""
    return 1.0 / (exp(0.0 - x) + 1.0)
