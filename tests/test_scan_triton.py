"""The Triton kernels: under Triton's interpreter on the CPU, on a GPU where there is one, and compiled for one."""

import importlib
import importlib.util
import json
import multiprocessing
import re
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

import fusionkit.ops
from fusionkit.ops import scan_reference
from fusionkit.ops.arguments import Arguments

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed; it comes for Linux only", allow_module_level=True)

KERNELS = ("segment_ends", "join_segments", "outputs", "gradients")
NAMES = Arguments._fields[:-1]  # of the tensors
# States, length, channels, groups of B and of C (None: constant over time), options (skip, gate, bias, softplus).
SHAPES = [
    (1, 1, 1, 1, 1, "skip"),
    (1, 37, 3, 1, 1, "gate softplus"),
    (3, 17, 6, 2, 1, "skip gate bias softplus"),
    (3, 50, 6, 2, 3, "bias"),
    (5, 20, 40, 1, 2, "bias softplus"),
    (4, 40, 5, None, 1, "skip softplus"),
    (4, 40, 6, 3, None, "gate"),
    (2, 33, 4, None, None, "skip gate bias softplus"),
    (16, 64, 8, 4, 4, "skip bias softplus"),
    (64, 19, 3, 1, 1, "skip gate"),
]


@pytest.fixture(scope="module", params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def scan(request):
    name = "fusionkit.ops.scan_triton"
    module = importlib.import_module(name)
    if request.param == "cuda":
        yield Backend(module, "cuda")
        return
    # Triton settles when it is first imported whether kernels are interpreted, so it is imported anew for these tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for old in list(sys.modules):
            if re.match(rf"triton(?!\._C)(\.|$)|{name}", old):
                patch.delitem(sys.modules, old)
        patch.delattr(fusionkit.ops, "scan_triton")
        patch.delattr(fusionkit.ops, "scan_triton_kernels")
        yield Backend(importlib.import_module(name), "cpu")


class Backend:
    """The two functions for tensors on the CPU, wherever they compute."""

    def __init__(self, module, device):
        self.module, self.device = module, device

    def move(self, values, device):
        return tuple(v.to(device) if isinstance(v, torch.Tensor) else v for v in values)

    def forward(self, arguments):
        return self.move(self.module.forward(Arguments(*self.move(arguments, self.device))), "cpu")

    def backward(self, upstream, arguments):
        arguments = Arguments(*self.move(arguments, self.device))
        return self.move(self.module.backward(upstream.to(self.device), arguments), "cpu")


def random_arguments(states, length, channels, groups_b, groups_c, options, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)

    def weights(groups):
        return normal(channels, states) if groups is None else normal(2, groups, states, length)

    softplus = "softplus" in options
    delta = normal(2, channels, length)
    return Arguments(
        normal(2, channels, length),
        delta if softplus else delta.abs(),
        -normal(channels, states).abs(),
        weights(groups_b),
        weights(groups_c),
        normal(channels) if "skip" in options else None,
        normal(2, channels, length) if "gate" in options else None,
        normal(channels) / 5 if "bias" in options else None,
        softplus,
    )


def deviation(value, reference):
    """Return max |value - reference| / max |reference|; where the reference is all zero, max |value|."""
    assert value.shape == reference.shape
    scale = reference.abs().max().item()
    return (value.double() - reference.double()).abs().max().item() / (scale or 1.0)


def cases(folder):
    return json.loads((folder / "scan" / "cases.json").read_text())


def first_group(values):
    """Return a case's values for the channels of the first group, which the other groups have no part in."""
    groups = values["in_B"].shape[1]
    channels = len(values["in_A"]) // groups

    def cut(key, value):
        if key.endswith(("_B", "_C")):
            return value[:, :1]
        return value[:channels] if key.endswith(("_A", "_D", "_bias")) else value[:, :channels]

    return {key: cut(key, value) for key, value in values.items()}


@pytest.mark.parametrize("number", range(11))
def test_agrees_with_the_official_reference(scan, golden, number):
    case = cases(golden)[number]
    values = {k: v for k, v in np.load(golden / "scan" / case["file"]).items() if v.dtype.kind == "f"}
    if case["file"].startswith(("c06", "c07")):  # the two largest; the interpreter is slow
        values = first_group(values)
    values = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in values.items()}
    for key in values:
        if key.endswith(("_B", "_C")) and values[key].ndim == 3:
            values[key] = values[key][:, None].contiguous()
    arguments = Arguments(*(values.get(f"in_{name}") for name in NAMES), case["delta_softplus"])
    truth, tolerance = ("_f64", 2e-6) if case["dtype"] == "float32" else ("", 1e-12)
    if scan.device == "cuda" and truth:
        tolerance = 2e-5  # its fast exponential

    out, last = scan.forward(arguments)
    assert deviation(out, values["out" + truth]) <= tolerance
    if case["return_last_state"]:
        assert deviation(last, values["last_state" + truth]) <= tolerance
    for name, gradient in zip(NAMES, scan.backward(values["gout"], arguments), strict=True):
        if f"in_{name}" in values:
            assert deviation(gradient, values[f"grad{truth}_{name}"]) <= tolerance, name
        else:
            assert gradient is None


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)).replace(" ", "+"))
def test_agrees_with_the_loop(scan, shape):
    arguments = random_arguments(*shape)
    expected_out, expected_last = scan_reference.forward(arguments)
    out, last = scan.forward(arguments)
    assert deviation(out, expected_out) <= 1e-12
    assert deviation(last, expected_last) <= 1e-12
    upstream = torch.randn(out.shape[::-1], dtype=torch.float64).permute(2, 1, 0)  # not contiguous
    expected = scan_reference.backward(upstream, arguments)
    for name, value, reference in zip(NAMES, scan.backward(upstream, arguments), expected, strict=True):
        assert (value is None) == (reference is None)
        assert value is None or deviation(value, reference) <= 1e-12, name


def test_segments_do_not_change_the_result(scan, monkeypatch):
    arguments = random_arguments(4, 80, 3, 1, 1, "skip gate bias softplus")
    upstream = torch.ones_like(arguments.u)
    many = *scan.forward(arguments), *scan.backward(upstream, arguments)
    monkeypatch.setattr(scan.module, "MAX_SEGMENTS", 1)
    one = *scan.forward(arguments), *scan.backward(upstream, arguments)
    assert not torch.equal(many[0], one[0])
    assert all(deviation(a, b) <= 1e-12 for a, b in zip(many, one, strict=True))


def test_equal_inputs_give_equal_bits(scan):
    arguments = random_arguments(3, 40, 20, 1, None, "skip gate bias softplus", torch.float32)
    first, second = ((*scan.forward(arguments), *scan.backward(arguments.u, arguments)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32_and_rounds_the_result(scan, dtype):
    arguments = random_arguments(4, 40, 4, 1, 2, "skip gate bias softplus", dtype)
    wide = Arguments(*(a.float() if isinstance(a, torch.Tensor) else a for a in arguments))
    narrow = *scan.forward(arguments), *scan.backward(arguments.u, arguments)
    expected = *scan.forward(wide), *scan.backward(wide.u, wide)
    for value, reference in zip(narrow, expected, strict=True):
        assert value.dtype == dtype
        # The interpreter cuts bfloat16 off where a GPU rounds it.
        torch.testing.assert_close(value.float(), reference, rtol=torch.finfo(dtype).eps, atol=2**-24)


def test_softplus_far_from_zero(scan):
    delta = torch.linspace(-300, 60, 80, dtype=torch.float64).view(2, 1, 40)
    arguments = random_arguments(1, 40, 1, 1, 1, "softplus")._replace(delta=delta)
    upstream = torch.ones_like(arguments.u)
    for run in (scan.forward(arguments), scan.backward(upstream, arguments)):
        assert all(value.isfinite().all() for value in run if value is not None)
    small = slice(0, 8)  # here the step is exp(delta), far below the rounding of 1
    d_u = scan.backward(upstream, arguments)[0][0, 0, small]
    expected = scan_reference.backward(upstream, arguments)[0][0, 0, small]
    torch.testing.assert_close(d_u, expected, rtol=1e-10, atol=0)


class Idle:
    """Stands in for a kernel and does nothing."""

    def __getitem__(self, grid):
        return lambda *arguments, **options: None


class Elements(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the elements of all tensors that are made."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if "empty" in function.__name__:
            self.total += result.numel()
        return result


def test_memory_is_linear_and_far_below_all_states(scan, monkeypatch):
    for name in KERNELS:
        monkeypatch.setattr(scan.module.kernels, name, Idle())
    totals = []
    for length in (4096, 8192):
        arguments = random_arguments(16, length, 64, 1, 1, "skip gate bias softplus", torch.float32)
        with Elements() as made:
            scan.module.forward(arguments)
            scan.module.backward(arguments.u, arguments)
        totals.append(made.total / arguments.u.numel())
    assert totals[1] <= totals[0] * 1.01
    results = 4  # out and the gradients of u, delta and z
    assert totals[1] - results < 16 / 2  # half of one tensor of all states


class Compiler:
    """Stands in for a kernel and compiles it, for a GPU that need not be here, as it is launched."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, num_warps=4, enable_fp_fusion=True, **named):
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
        from triton.runtime.jit import mangle_type

        values = dict(zip(self.kernel.arg_names, arguments, strict=False)) | named
        fixed = {p.name for p in self.kernel.params if p.is_constexpr or values[p.name] is None}
        signature = {n: "constexpr" if n in fixed else mangle_type(values[n]) for n in self.kernel.arg_names}
        constants = {(self.kernel.arg_names.index(n),): values[n] for n in fixed}
        options = {"num_warps": num_warps, "enable_fp_fusion": enable_fp_fusion}
        source = ASTSource(self.kernel, signature, constants)
        binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert binary.asm["cubin"]


def compile_all():
    from fusionkit.ops import scan_triton

    for name in KERNELS:
        setattr(scan_triton.kernels, name, Compiler(getattr(scan_triton.kernels, name)))
    for groups_b, dtype in ((2, torch.bfloat16), (None, torch.float32)):
        arguments = random_arguments(16, 64, 8, groups_b, 1, "skip gate bias softplus", dtype)
        scan_triton.forward(arguments)
        scan_triton.backward(arguments.u, arguments)


def test_kernels_compile_for_a_gpu(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # where nothing is interpreted
        pool.submit(compile_all).result()
