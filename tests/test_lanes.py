import numba
import numpy as np
import pytest

from fusionkit.ops import lanes
from fusionkit.ops.lane_functions import exp, exp2, sigmoid, softplus


@numba.njit(error_model="numpy")
def evaluate_all(x, results):
    for k in range(x.size // lanes.width(x)):
        lanes.store(results[0], k, exp2(lanes.load(x, k)))
        lanes.store(results[1], k, exp(lanes.load(x, k)))
        lanes.store(results[2], k, softplus(lanes.load(x, k)))
        lanes.store(results[3], k, sigmoid(lanes.load(x, k)))


def evaluate(x):
    results = np.empty((4, x.size), x.dtype)
    evaluate_all(x, results)
    return dict(zip(("exp2", "exp", "softplus", "sigmoid"), results, strict=True))


def ulps(found, truth):
    return float(np.max(np.abs(found - truth) / np.spacing(truth.astype(found.dtype))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementary_functions(dtype):
    """Against long doubles, in units in the last place, over the range of normal results."""
    largest = np.finfo(dtype).maxexp - 2
    for limit, count in ((largest, 2**18), (1, 2**18)):
        x = np.linspace(-limit, limit, count).astype(dtype)
        assert ulps(evaluate(x)["exp2"], np.exp2(x.astype(np.longdouble))) < 1
        x = (x * np.log(2)).astype(dtype)
        assert ulps(evaluate(x)["exp"], np.exp(x.astype(np.longdouble))) < 1
    x = np.linspace(-80, 40, 2**18).astype(dtype)
    wide = x.astype(np.longdouble)
    assert ulps(evaluate(x)["softplus"], np.where(x > 20, wide, np.log1p(np.exp(np.minimum(wide, 20))))) < 4
    assert ulps(evaluate(x)["sigmoid"], 1 / (1 + np.exp(-wide))) < 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementary_functions_beyond_their_range(dtype):
    bits = np.finfo(dtype).maxexp - 1
    x = np.resize(np.array([-np.inf, -1e30, -bits - 1, 0.0, -0.0, bits + 1, 1e30, np.inf, np.nan], dtype), 64)
    found = evaluate(x)
    assert found["exp2"][:5].tolist() == [0, 0, 0, 1, 1]
    assert found["exp"][[0, 1, 3, 4]].tolist() == [0, 0, 1, 1]
    assert np.isinf(found["exp2"][5:8]).all()
    assert np.isinf(found["exp"][6:8]).all()
    assert all(np.isnan(values[8]) for values in found.values())
    # what numpy has below the smallest normal number is here that or zero
    small = np.resize(np.linspace(-bits - 30, -bits + 2, 64).astype(dtype), 64)
    assert np.abs(evaluate(small)["exp2"] - np.exp2(small)).max() <= np.finfo(dtype).smallest_normal


def test_kernels_compile_where_nothing_can_be_written(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/dev/null/nowhere")

    def double(x):
        for i in numba.prange(x.size):
            x[i] *= 2

    x = np.ones(3)
    lanes.cached(double)(x)
    assert x.tolist() == [2, 2, 2]
