"""The selective scan of Mamba: one function, several backends behind it, registered as an operator of torch.

Letters: B batch, D channels, L steps of time, N states of a channel, G groups of neighbouring channels. For each
channel, from the state h = 0 on, with step = delta + delta_bias or the softplus of it,

    h_t = exp(step_t A) h_(t-1) + step_t B_t u_t
    y_t = (sum over states of C_t h_t + D u_t) SiLU(z_t).

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), section 3 and
algorithm 2. Arguments and results are those of ``selective_scan_fn`` in the authors' package ``mamba_ssm``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from fusionkit.errors import FusionkitError
from fusionkit.ops.arguments import Arguments
from fusionkit.ops.backends import known, resolve

HALVES = (torch.float16, torch.bfloat16)
DTYPES = (*HALVES, torch.float32, torch.float64)
Shape = tuple[int, ...]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run a selective scan along the last axis.

    Args:
        u: Input, (B, D, L); float32, float64, float16 or bfloat16.
        delta: Step before bias and softplus, (B, D, L).
        A: Rate, (D, N), real, negative in all published models. The exponential overflows where step times A
            exceeds 88 (float64: 709), as it would anywhere.
        B: What enters the state: (D, N) constant over time, (B, N, L) shared by all channels, or (B, G, N, L)
            where channel d belongs to group ``d // (D / G)``.
        C: What leaves the state, shaped as B may be, not necessarily alike.
        D: Skip connection, (D,).
        z: Gate, (B, D, L).
        delta_bias: Bias of the step, (D,).
        delta_softplus: Whether to take the softplus of the biased step; linear above 20, as in torch.
        return_last_state: Whether to return the state after the last step too.
        backend: ``"reference"``, ``"numba"``, ``"triton"``, ``"mamba_ssm"``, or ``"auto"``: numba on a CPU, Triton
            on a GPU. See ``scan_backend`` and ``available_backends``.

    Returns:
        The output, (B, D, L), in the type of ``u``; with ``return_last_state`` also the last state, (B, D, N), before
        C, D and z, in float32 if ``u`` has 16 bits. All tensors have the type of ``u``; with a 16-bit ``u``, what has
        no time (A, D, bias, constant B and C) may be float32, and is computed with in float32.

    Raises:
        FusionkitError: An argument does not fit, or the backend is unknown or cannot run here; names the argument,
            what was expected and what came.

    Note:
        Gradients flow through the output only: the last state is detached, as the CUDA original ignores its gradient.
        Second derivatives are not implemented; asking for them is an error. ``torch.utils.flop_counter`` counts
        9 B L D N operations, the convention of the Mamba authors and of VMamba's counter (a literal count of the
        recurrence is 7: one exponential, four products, two sums), nothing for bias, softplus, skip and gate, and
        twice as much for backward. float16 and bfloat16 are computed in float32 on a CPU.
    """
    _check(u, delta, A, B, C, D, z, delta_bias)
    known(backend)
    B, C = (matrix[:, None] if matrix.ndim == 3 else matrix for matrix in (B, C))
    out, last = torch.ops.fusionkit.selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, backend)
    return (out, last.detach()) if return_last_state else out


def _operator(name: str) -> Callable[[Callable], Callable]:
    """Register a function as an operator of torch, for all devices.

    ``torch.library.custom_op`` does so too, but the first call of what it makes loads torch's compiler for a second.
    """

    def register(function: Callable) -> Callable:
        torch.library.define(f"fusionkit::{name}", torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(f"fusionkit::{name}", "CompositeExplicitAutograd", function)
        return function

    return register


@_operator("selective_scan")
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    module, half = resolve(backend, u.device.type)
    tensors = _normalise((u, delta, A, B, C, D, z, delta_bias), half)
    out, last = module.forward(Arguments(*tensors, delta_softplus))
    return out.to(u.dtype), last.to(_state_dtype(u))


@_operator("selective_scan_backward")
def _scan_backward(
    grad_out: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    backend: str,
) -> list[Tensor]:
    """Return the gradients of those tensors that are there."""
    module, half = resolve(backend, u.device.type)
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    grad_out, *inputs = _normalise((grad_out, *tensors), half)
    gradients = module.backward(grad_out, Arguments(*inputs, delta_softplus))
    return [gradient.to(x.dtype) for gradient, x in zip(gradients, tensors, strict=True) if x is not None]


@torch.library.register_fake("fusionkit::selective_scan")
def _(u: Tensor, delta: Tensor, A: Tensor, *_others: Any) -> tuple[Tensor, Tensor]:
    return u.new_empty(u.shape), u.new_empty(*u.shape[:2], A.shape[1], dtype=_state_dtype(u))


@torch.library.register_fake("fusionkit::selective_scan_backward")
def _(grad_out: Tensor, *arguments: Any) -> list[Tensor]:
    return [x.new_empty(x.shape) for x in arguments if isinstance(x, Tensor)]


def _remember(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.delta_softplus, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad_out: Tensor, _grad_last: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    found = torch.ops.fusionkit.selective_scan_backward(grad_out, *tensors, ctx.delta_softplus, ctx.backend)
    gradients = iter(found)
    return *(None if x is None else next(gradients) for x in tensors), None, None


def _refuse(ctx: Any, *_gradients: Any) -> None:
    raise FusionkitError("selective_scan has first derivatives only; call backward without create_graph")


torch.library.register_autograd("fusionkit::selective_scan", _differentiate, setup_context=_remember)
torch.library.register_autograd("fusionkit::selective_scan_backward", _refuse)


@register_flop_formula(torch.ops.fusionkit.selective_scan)
def _flops(u: Shape, delta: Shape, A: Shape, *_others: Any, **_options: Any) -> int:
    batch, channels, length = u
    return 9 * batch * length * channels * A[1]


@register_flop_formula(torch.ops.fusionkit.selective_scan_backward)
def _backward_flops(grad_out: Shape, *arguments: Any, **_options: Any) -> int:
    return 2 * _flops(*arguments)


def _state_dtype(u: Tensor) -> torch.dtype:
    return torch.float32 if u.dtype in HALVES else u.dtype


def _normalise(tensors: tuple[Tensor | None, ...], half: bool) -> tuple[Tensor | None, ...]:
    """Make tensors contiguous, and 16-bit ones float32 where the backend cannot take them."""
    return tuple(
        x if x is None else x.to(torch.float32 if x.dtype in HALVES and not half else x.dtype).contiguous()
        for x in tensors
    )


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    tensors = {name: x for name, x in given.items() if x is not None or name not in ("D", "z", "delta_bias")}
    for name, x in tensors.items():
        _check_type(name, x, u)
    if u.ndim != 3 or 0 in u.shape:
        raise _unfit("u", "shape (B, D, L), none of them 0", tuple(u.shape))
    if A.ndim != 2 or A.shape[0] != u.shape[1] or A.shape[1] == 0:
        raise _unfit("A", f"shape (D, N) with D = {u.shape[1]} as in u and N not 0", tuple(A.shape))
    shapes = {"delta": u.shape, "z": u.shape, "D": A.shape[:1], "delta_bias": A.shape[:1]}
    for name, x in tensors.items():
        if name in shapes and x.shape != shapes[name]:
            raise _unfit(name, f"shape {tuple(shapes[name])} to go with u and A", tuple(x.shape))
    for name, matrix in (("B", B), ("C", C)):
        _check_matrix(name, matrix, u, A)


def _check_type(name: str, x: Tensor, u: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise _unfit(name, "a tensor", type(x).__name__)
    if x.dtype not in DTYPES:
        raise _unfit(name, "real numbers in float32, float64, float16 or bfloat16", x.dtype)
    timeless = name in ("A", "D", "delta_bias") or (name in ("B", "C") and x.ndim == 2)
    if x.dtype != u.dtype and not (timeless and u.dtype in HALVES and x.dtype == torch.float32):
        raise _unfit(name, f"{u.dtype} as in u", x.dtype)
    if x.device != u.device:
        raise _unfit(name, f"a tensor on {u.device}, where u is", f"one on {x.device}")


def _check_matrix(name: str, matrix: Tensor, u: Tensor, A: Tensor) -> None:
    (batch, channels, length), states = u.shape, A.shape[1]
    fits = {
        2: matrix.shape == A.shape,
        3: matrix.shape == (batch, states, length),
        4: matrix.ndim == 4
        and matrix.shape[0] == batch
        and matrix.shape[2:] == (states, length)
        and matrix.shape[1] > 0
        and channels % matrix.shape[1] == 0,
    }
    if not fits.get(matrix.ndim, False):
        expected = f"({channels}, {states}), {(batch, states, length)} or ({batch}, G, {states}, {length})"
        raise _unfit(name, f"shape {expected} with G dividing {channels}", tuple(matrix.shape))


def _unfit(name: str, expected: str, got: object) -> FusionkitError:
    return FusionkitError(f"{name}: expected {expected}; got {got}")
