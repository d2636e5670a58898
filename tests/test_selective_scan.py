import json
import logging
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.errors import FusionkitError
from fusionkit.ops import (
    available_backends,
    backends,
    scan_backend,
    scan_reference,
    selective_scan,
)
from fusionkit.ops.arguments import Arguments
from fusionkit.provenance import environment

OPTIONAL = ("D", "z", "delta_bias")
CASES = [
    "c01_const_bc",
    "c02_len1_all_options",
    "c03_const_b_bias_nosoft",
    "c04_const_c_gate",
    "c05_grouped_all_options",
    "c06_four_directions_f32",
    "c07_four_directions_f64",
    "c08_variable_long_f32",
    "c09_single_channel",
    "c10_extreme_steps_f32",
    "c11_mixed_kinds",
]


def arguments(
    batch=2, channels=6, length=9, states=3, b="grouped", c="shared", without=(), dtype=torch.float64, seed=0
):
    """Random arguments with steps and rates as in a trained model."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

    shapes = {
        "constant": (channels, states),
        "shared": (batch, states, length),
        "grouped": (batch, 2 if channels % 2 == 0 else 1, states, length),
        "own": (batch, channels, states, length),
    }
    made = {
        "u": normal(batch, channels, length),
        "delta": normal(batch, channels, length) - 1,
        "A": -normal(channels, states).exp(),
        "B": normal(*shapes[b]),
        "C": normal(*shapes[c]),
        "D": normal(channels),
        "z": normal(batch, channels, length),
        "delta_bias": normal(channels),
    }
    return {name: x for name, x in made.items() if name not in without}


def gradients(given, backend, seed=1, **options):
    """The output, the last state and the gradient of every argument."""
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    out, last = selective_scan(**leaves, **options, return_last_state=True, backend=backend)
    out.backward(
        torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(out.dtype)
    )
    return {"out": out.detach(), "last": last} | {name: x.grad for name, x in leaves.items()}


def deviation(found, expected):
    """The largest difference, relative to the largest number that is expected."""
    scale = expected.abs().max().item()
    return (found - expected).abs().max().item() / (scale or 1.0)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("case", CASES)
def test_golden_values(golden, case, backend):
    about = {entry["file"]: entry for entry in json.loads((golden / "scan" / "cases.json").read_text())}[f"{case}.npz"]
    with np.load(golden / "scan" / f"{case}.npz") as file:
        stored = {key: torch.from_numpy(file[key]) for key in file.files}
    given = {key[3:]: x.requires_grad_() for key, x in stored.items() if key.startswith("in_")}
    rectify = about["delta_softplus"]
    out, last = selective_scan(**given, delta_softplus=rectify, return_last_state=True, backend=backend)
    out.backward(stored["gout"])
    found = {"out": out, "last_state": last} | {f"grad_{name}": x.grad for name, x in given.items()}
    single = about["dtype"] == "float32"
    for name, x in found.items():
        truth = (name.replace("grad_", "grad_f64_") if name.startswith("grad_") else f"{name}_f64") if single else name
        if truth in stored:
            assert deviation(x.detach(), stored[truth]) <= (2e-6 if single else 1e-12), name


def test_golden_cases_are_all_listed(golden):
    assert sorted(CASES) == sorted(path.stem for path in (golden / "scan").glob("*.npz"))


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 6, 16, 18, 33, 40]),
    length=st.sampled_from([1, 2, 16, 17, 48, 63, 64, 65, 130]),
    states=st.sampled_from([1, 2, 5, 16, 17, 64]),
    b=st.sampled_from(["constant", "shared", "grouped", "own"]),
    c=st.sampled_from(["constant", "shared", "grouped", "own"]),
    without=st.sets(st.sampled_from(OPTIONAL)),
    rectify=st.booleans(),
)
def test_numba_equals_the_reference(batch, channels, length, states, b, c, without, rectify):
    given = arguments(batch, channels, length, states, b, c, without)
    if not rectify:
        given["delta"] = given["delta"].exp() / 10
        given.pop("delta_bias", None)
    expected = gradients(given, "reference", delta_softplus=rectify)
    for name, x in gradients(given, "numba", delta_softplus=rectify).items():
        assert deviation(x, expected[name]) < 1e-12, name


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize(("b", "c", "without"), [("grouped", "shared", ()), ("constant", "constant", OPTIONAL)])
def test_gradcheck(backend, b, c, without):
    given = arguments(1, 4, 5, 2, b, c, without)
    leaves = [x.requires_grad_() for x in given.values()]

    def scan(*values):
        return selective_scan(**dict(zip(given, values, strict=True)), delta_softplus=True, backend=backend)

    assert torch.autograd.gradcheck(scan, leaves)


def test_repeats_bit_for_bit_with_any_number_of_threads():
    given = arguments(2, 72, 200, 40, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            results.append(gradients(given, "numba", delta_softplus=True))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for name, x in results[0].items():
            assert torch.equal(x, other[name]), name


def test_layout_of_memory_does_not_matter():
    given = arguments(b="shared")
    turned = {name: x.mT.contiguous().mT if x.ndim > 1 else x for name, x in given.items()}
    turned["u"] = given["u"][:1].expand(2, -1, -1)
    given["u"] = turned["u"].clone()
    assert not turned["z"].is_contiguous()
    for name, x in gradients(given, "numba").items():
        assert torch.equal(x, gradients(turned, "numba")[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    given = arguments(dtype=torch.float32)
    for name in ("u", "delta", "B", "C", "z"):
        given[name] = given[name].to(dtype)
    found = gradients(given, "auto", delta_softplus=True)
    expected = gradients({name: x.float() for name, x in given.items()}, "numba", delta_softplus=True)
    assert found["last"].dtype == torch.float32
    assert torch.equal(found["out"], expected["out"].to(dtype))
    for name, x in given.items():
        assert found[name].dtype == x.dtype
        assert deviation(found[name].float(), expected[name]) < 2 * torch.finfo(dtype).eps, name


def test_last_state_passes_no_gradient():
    given = {name: x.requires_grad_() for name, x in arguments().items()}
    out, last = selective_scan(**given, return_last_state=True)
    assert out.requires_grad
    assert not last.requires_grad


def test_second_derivatives_are_refused():
    given = {name: x.requires_grad_() for name, x in arguments().items()}
    (grad,) = torch.autograd.grad(selective_scan(**given).sum(), given["u"], create_graph=True)
    with pytest.raises(FusionkitError, match="first derivatives only"):
        grad.sum().backward()


def test_infinite_and_missing_numbers_show():
    given = arguments(1, 2, 4, 1, without=OPTIONAL)
    given["u"][0, 0, 1] = torch.nan
    given["delta"] = torch.ones_like(given["delta"])
    given["A"][1] = 500
    expected, found = (selective_scan(**given, backend=backend) for backend in ("reference", "numba"))
    assert torch.isnan(expected[0, 0]).tolist() == [False, True, True, True]
    assert torch.isinf(expected[0, 1]).tolist() == [False, False, True, True]
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("without", [(), OPTIONAL])
def test_is_a_well_made_operator(without):
    given = {name: x.requires_grad_() for name, x in arguments(b="grouped", c="constant", without=without).items()}
    names = ("u", "delta", "A", "B", "C", *OPTIONAL)
    torch.library.opcheck(
        torch.ops.fusionkit.selective_scan.default, (*(given.get(name) for name in names), True, "numba")
    )
    values = [x if x is None else x.detach() for x in map(given.get, names)]
    torch.library.opcheck(
        torch.ops.fusionkit.selective_scan_backward.default,
        (values[0], *values, True, "numba"),
        test_utils="test_schema",
    )


def test_compiles_into_one_graph():
    given = arguments()
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    compiled(**leaves, delta_softplus=True).square().sum().backward()
    plain = {name: x.detach().requires_grad_() for name, x in given.items()}
    selective_scan(**plain, delta_softplus=True).square().sum().backward()
    for name, x in leaves.items():
        assert torch.equal(x.grad, plain[name].grad), name


def test_knows_shapes_without_values():
    given = {name: x.to("meta") for name, x in arguments().items()}
    out, last = selective_scan(**given, return_last_state=True)
    assert (out.shape, last.shape) == ((2, 6, 9), (2, 6, 3))
    assert out.is_meta


def test_counts_flops():
    given = {name: x.requires_grad_() for name, x in arguments(1, 4, 32, 8).items()}
    with FlopCounterMode(display=False) as counter:
        out = selective_scan(**given, delta_softplus=True)
    assert counter.get_total_flops() == 9 * 4 * 32 * 8
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * 9 * 4 * 32 * 8


def wrong(**changes):
    return arguments() | changes


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (wrong(u=np.zeros((2, 6, 9))), "u: expected a tensor; got ndarray"),
        (wrong(u=torch.zeros(2, 6, 9, dtype=torch.int64)), "u: expected real numbers"),
        (wrong(u=torch.zeros(6, 9, dtype=torch.float64)), "u: expected shape (B, D, L)"),
        (arguments(length=0), "u: expected shape (B, D, L), none of them 0; got (2, 6, 0)"),
        (wrong(delta=torch.zeros(2, 6, 8, dtype=torch.float64)), "delta: expected shape (2, 6, 9)"),
        (wrong(delta=torch.zeros(2, 6, 9)), "delta: expected torch.float64 as in u; got torch.float32"),
        (wrong(delta=torch.zeros(2, 6, 9, dtype=torch.float64, device="meta")), "delta: expected a tensor on cpu"),
        (wrong(delta=None), "delta: expected a tensor; got NoneType"),
        (wrong(A=torch.zeros(6, 3, dtype=torch.complex128)), "A: expected real numbers"),
        (wrong(A=torch.zeros(5, 3, dtype=torch.float64)), "A: expected shape (D, N) with D = 6"),
        (wrong(A=torch.zeros(6, 0, dtype=torch.float64)), "A: expected shape (D, N)"),
        (wrong(A=torch.zeros(6, 4, dtype=torch.float64)), "B: expected shape (6, 4), (2, 4, 9) or (2, G, 4, 9)"),
        (wrong(B=torch.zeros(2, 4, 3, 9, dtype=torch.float64)), "with G dividing 6; got (2, 4, 3, 9)"),
        (wrong(B=torch.zeros(3, dtype=torch.float64)), "B: expected shape"),
        (wrong(C=torch.zeros(2, 4, 9, dtype=torch.float64)), "C: expected shape"),
        (wrong(D=torch.zeros(6, 1, dtype=torch.float64)), "D: expected shape (6,)"),
        (wrong(z=torch.zeros(2, 9, 6, dtype=torch.float64)), "z: expected shape (2, 6, 9)"),
        (wrong(delta_bias=torch.zeros(3, dtype=torch.float64)), "delta_bias: expected shape (6,)"),
        (wrong(backend="nunba"), "did you mean numba"),
        (wrong(backend="triton"), "backend: 'triton' takes tensors on cuda, got tensors on cpu"),
        (wrong(backend="mamba_ssm"), "backend: 'mamba_ssm' takes tensors on cuda, got tensors on cpu"),
    ],
)
def test_refuses_what_does_not_fit(given, words):
    with pytest.raises(FusionkitError) as caught:
        selective_scan(**given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_choice_is_logged_once(caplog, monkeypatch):
    for function in (backends.resolve, backends._choose, backends._announce):
        function.cache_clear()
    with caplog.at_level(logging.INFO, logger="fusionkit.ops"):
        for choice in ("auto", "auto", "numba"):
            selective_scan(**arguments(), backend=choice)
    assert caplog.messages == ["selective scan on cpu: backend numba"]


def test_says_what_is_available():
    found = available_backends()
    assert set(found) == {"reference", "numba", "triton", "mamba_ssm"}
    assert found["reference"] == found["numba"] == "ok"
    assert all("\n" not in state for state in found.values())
    assert scan_backend() == "numba"
    with pytest.raises(FusionkitError, match="tensors on mps"):
        scan_backend("mps")


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_is_light_to_import_and_loud_without_numba():
    out, err = in_a_new_process(
        "import sys, torch\n"
        "from fusionkit.ops import available_backends, selective_scan\n"
        "assert not {'numba', 'mamba_ssm', 'fusionkit.ops.scan_triton'} & set(sys.modules)\n"
        "sys.modules['numba'] = None\n"
        "x = torch.ones(1, 1, 2)\n"
        "print(selective_scan(x, x, -torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1)).shape)\n"
        "print(available_backends()['numba'])\n"
    )
    assert out.startswith("torch.Size([1, 1, 2])\nModuleNotFoundError")
    assert "selective_scan takes the slow reference: numba does not work" in err


def test_kernels_are_compiled_once_and_for_all():
    selective_scan(**arguments(dtype=torch.float32), backend="numba")
    out, _ = in_a_new_process(
        "import torch\n"
        "from fusionkit.ops import scan_numba, selective_scan\n"
        "x = torch.ones(1, 1, 2)\n"
        "selective_scan(x, x, -torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1))\n"
        "stats = scan_numba.kernels.forward.stats\n"
        "print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))\n"
    )
    assert out == "1 0"


def test_mamba_ssm_is_called_as_its_authors_do(monkeypatch):
    """A stand-in with the original's interface: its CUDA extension cannot be built everywhere."""

    class SelectiveScanFn:
        @staticmethod
        def forward(ctx, u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state):
            assert A.dtype == torch.float32
            ctx.softplus = delta_softplus
            ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias)
            out, last = scan_reference.forward(Arguments(*ctx.saved_tensors, delta_softplus))
            return (out, last) if return_last_state else out

        @staticmethod
        def backward(ctx, dout, *_):
            return *scan_reference.backward(dout, Arguments(*ctx.saved_tensors, ctx.softplus)), None, None

    stand_in = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    stand_in.SelectiveScanFn = SelectiveScanFn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setitem(backends.BACKENDS, "mamba_ssm", backends.Backend("scan_mamba", "cpu", half=True))
    caches = (backends.resolve, backends._problem)
    try:
        for function in caches:
            function.cache_clear()
        given = arguments(b="constant", dtype=torch.float32)
        expected = gradients(given, "reference", delta_softplus=True)
        for name, x in gradients(given, "mamba_ssm", delta_softplus=True).items():
            assert torch.equal(x, expected[name]), name
        with pytest.raises(FusionkitError, match="float64"):
            selective_scan(**arguments(), backend="mamba_ssm")
    finally:
        for function in caches:
            function.cache_clear()
        sys.modules.pop("fusionkit.ops.scan_mamba", None)


def test_what_ran_stands_in_the_provenance():
    u = torch.rand(1, 2, 3)
    selective_scan(u, u, -torch.rand(2, 4), torch.rand(1, 4, 3), torch.rand(1, 4, 3))
    assert "numba" in environment()["scan"]["cpu"]
