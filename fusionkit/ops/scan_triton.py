"""The selective scan as Triton kernels, compiled on first use without a compiler on the user's machine.

The recurrence is linear, so what a segment of the sequence does to a state that passes it is a decay and an
added end state. The forward pass finds both for all segments at once, joins the segments, then runs each of them
from its true start; where batch and channels alone fill a GPU there is one segment. The backward pass does the same
in both directions, keeps one state in eight, and computes the others again in registers.

Memory beside the results is linear in length. Per element of ``u`` the backward pass takes N / 8 elements for
states, N / 8 for the parts that gradients of B and C are summed from (more where fewer than 16 channels share
them, up to the size of B or C), and 4 N over the length of a segment. There are no atomic additions: equal inputs
give equal bits. Everything is computed in float32, or in float64 where ``u`` is float64.

With ``TRITON_INTERPRET=1`` in the environment before Triton is first imported, the kernels run on the CPU, slowly.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fusionkit.ops import scan_triton_kernels as kernels
from fusionkit.ops.arguments import Arguments

MAX_SEGMENTS = 128
# Enough programs of one warp to keep a large GPU busy; a constant, so that results do not depend on the GPU.
PROGRAMS = 2048
# Segments are no shorter, and a multiple of the second number, which keeps loads aligned.
MIN_STEPS, STEP_MULTIPLE = 32, 16


def _groups(weights: Tensor) -> int | None:
    """Return the number of groups of B or C, None where it is constant over time."""
    return weights.shape[1] if weights.ndim == 4 else None


def _launch(u: Tensor, A: Tensor, B: Tensor, C: Tensor, softplus: bool) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Return the grid (segments, blocks of channels, batch) and what all kernels are told alike."""
    batch, channels, length = u.shape
    states = A.shape[1]
    groups_b, groups_c = _groups(B), _groups(C)
    run = math.gcd(channels // (groups_b or 1), channels // (groups_c or 1))
    padded = triton.next_power_of_2(states)
    block = min(triton.next_power_of_2(run), max(16, 32 // padded))
    blocks = channels // run * triton.cdiv(run, block)
    wanted = min(MAX_SEGMENTS, triton.cdiv(PROGRAMS, batch * blocks), triton.cdiv(length, MIN_STEPS))
    steps = triton.cdiv(triton.cdiv(length, wanted), STEP_MULTIPLE) * STEP_MULTIPLE
    sizes = {
        "channels": channels, "states": states, "length": length, "steps": steps, "run": run,
        "groups_b": groups_b or 1, "groups_c": groups_c or 1,
    }  # fmt: skip
    constants = {
        "SOFTPLUS": softplus, "B_VARIES": groups_b is not None, "C_VARIES": groups_c is not None,
        "REAL": tl.float64 if u.dtype == torch.float64 else tl.float32, "N": padded, "BLOCK": block,
        "num_warps": max(1, padded * block // 256), "enable_fp_fusion": True,
    }  # fmt: skip
    return (triton.cdiv(length, steps), blocks, batch), sizes | constants


def _join(decays: Tensor, ends: Tensor, returns: Tensor | None) -> None:
    """Turn what (batch, segments, D, N) segments end with from a zero start into what they truly end with."""
    batch, segments, channels, states = ends.shape
    width, columns = channels * states, 32
    grid = (triton.cdiv(width, columns), batch)
    padded = triton.next_power_of_2(segments)
    kernels.join_segments[grid](decays, ends, returns, width, segments, SEGMENTS=padded, COLUMNS=columns)


def forward(scan: Arguments) -> tuple[Tensor, Tensor]:
    """Return the output and the last state, both in the type of ``u``."""
    u, delta, A, B, C, D, z, delta_bias, delta_softplus = scan
    grid, options = _launch(u, A, B, C, delta_softplus)
    segments, _, batch = grid
    real = torch.float64 if u.dtype == torch.float64 else torch.float32
    out = torch.empty_like(u)
    last = u.new_empty(batch, *A.shape)
    ends = None
    if segments > 1:
        decays, ends = u.new_empty(2, batch, segments, *A.shape, dtype=real)
        kernels.segment_ends[grid](
            u, delta, A, B, C, z, delta_bias, None, decays, ends, None, None, None, **options
        )  # fmt: skip
        _join(decays, ends, None)
    kernels.outputs[grid](u, delta, A, B, C, D, z, delta_bias, ends, out, last, **options)
    return out, last


def _sum_parts(parts: Tensor, like: Tensor) -> Tensor:
    """Add the parts of a gradient in a fixed order, in the shape and type of ``like``.

    Parts of B or C that vary are (batch, blocks, N, L), each group made of neighbouring blocks; all others are
    (batch, segments, ...).
    """
    if like.ndim == 4:
        return parts.unflatten(1, (like.shape[1], -1)).sum(2).to(like.dtype)
    return parts.sum((0, 1)).to(like.dtype)


def backward(grad_out: Tensor, scan: Arguments) -> tuple[Tensor | None, ...]:
    """Return the gradients, each in the type of its tensor; ``grad_out`` need not be contiguous."""
    u, delta, A, B, C, D, z, delta_bias, delta_softplus = scan
    grid, options = _launch(u, A, B, C, delta_softplus)
    segments, blocks, batch = grid
    channels, states = A.shape
    chunks = segments * options["steps"] // kernels.K.value

    def empty(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=torch.float64 if u.dtype == torch.float64 else torch.float32)

    def parts(weights: Tensor) -> Tensor:
        return empty(batch, blocks, states, u.shape[2]) if weights.ndim == 4 else empty(batch, segments, *A.shape)

    decays, ends, returns, d_a = empty(4, batch, segments, channels, states)
    checkpoints, elapsed = empty(batch, chunks, channels, states), empty(batch, chunks, channels)
    grad_out = grad_out.contiguous()
    kernels.segment_ends[grid](
        u, delta, A, B, C, z, delta_bias, grad_out, decays, ends, returns, checkpoints, elapsed, **options
    )  # fmt: skip
    _join(decays, ends, returns)
    d_u, d_delta = torch.empty_like(u), torch.empty_like(delta)
    d_z = None if z is None else torch.empty_like(z)
    d_b, d_c = parts(B), parts(C)
    d_skip = None if D is None else empty(batch, segments, channels)
    d_bias = None if delta_bias is None else empty(batch, segments, channels)
    kernels.gradients[grid](
        u, delta, A, B, C, D, z, delta_bias, grad_out, ends, returns, checkpoints, elapsed,
        d_u, d_delta, d_a, d_b, d_c, d_skip, d_z, d_bias, **options
    )  # fmt: skip
    d_skip, d_bias = (None if like is None else _sum_parts(p, like) for p, like in ((d_skip, D), (d_bias, delta_bias)))
    return d_u, d_delta, _sum_parts(d_a, A), _sum_parts(d_b, B), _sum_parts(d_c, C), d_skip, d_z, d_bias
