"""The selective scan on a CPU: brings arguments and results to and from the numba kernels."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numba
import numpy as np
import torch
from torch import Tensor

from fusionkit.ops import scan_numba_kernels as kernels
from fusionkit.ops.arguments import Arguments
from fusionkit.ops.lanes import BYTES

_ONE_AT_A_TIME = Lock()  # numba's plainest thread pool ends the process when two threads use it at once


def forward(scan: Arguments) -> tuple[Tensor, Tensor]:
    """Return the output and the last state, in float32 or float64 as the arguments."""
    u, A, B = scan.u, scan.A, scan.B
    data, strips = _inputs(scan), _strips(A, B, scan.C)
    out, last = torch.empty_like(u), u.new_empty(*u.shape[:2], A.shape[1])
    with _threads():
        kernels.forward(data, strips, out.numpy(), last.numpy())
    return out, last * B if B.ndim == 2 else last


def backward(grad_out: Tensor, scan: Arguments) -> tuple[Tensor | None, ...]:
    """Return the gradients.

    States are computed again, not kept from forward to backward: that would save an eighth of the time of both and
    take N / 64 times the memory of ``u``, in each layer that waits for its backward.
    """
    B, C = scan.B, scan.C
    data, strips = _inputs(scan), _strips(scan.A, B, C)
    grads = _gradients(data, len(strips))
    with _threads():
        kernels.backward(data, grad_out.numpy(), strips, grads)
    d_weight, d_skip, d_bias = (torch.from_numpy(x.sum(0)) for x in (grads.weight, grads.D, grads.bias))
    return (
        torch.from_numpy(grads.u),
        torch.from_numpy(grads.delta),
        torch.from_numpy(grads.A.sum(0)),
        _sum_strips(grads.B, B) if B.ndim == 4 else d_weight * (C if C.ndim == 2 else 1),
        _sum_strips(grads.C, C) if C.ndim == 4 else d_weight * (B if B.ndim == 2 else 1),
        None if scan.D is None else d_skip,
        None if scan.z is None else torch.from_numpy(grads.z),
        None if scan.delta_bias is None else d_bias,
    )


@contextmanager
def _threads() -> Iterator[None]:
    """Let numba use as many threads as torch inside the block."""
    count = torch.get_num_threads()
    with _ONE_AT_A_TIME:
        before = numba.get_num_threads()
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
        torch.set_num_threads(count)  # when its threads start, numba sets the number in OpenMP that torch reads
        try:
            yield
        finally:
            numba.set_num_threads(before)


def _strips(A: Tensor, B: Tensor, C: Tensor) -> np.ndarray:
    """Return, for each strip, its first channel, one past its last, and its groups of B and of C.

    A strip has as many lanes as states, or one vector if that is more, so that the parts of the gradients of B and
    C, one per strip, take at most 2 B D L numbers, or twice as many as the larger of B and C has. It never crosses
    the border of a group, so that groups of few channels leave lanes idle.
    """
    channels, states = A.shape
    groups_b, groups_c = (matrix.shape[1] if matrix.ndim == 4 else 1 for matrix in (B, C))
    run, lanes = math.gcd(channels // groups_b, channels // groups_c), BYTES // A.itemsize
    size = lanes * math.ceil(states / lanes)
    starts = np.concatenate([np.arange(start, start + run, size) for start in range(0, channels, run)])
    stops = np.minimum(starts + size, (starts // run + 1) * run)
    return np.stack([starts, stops, starts * groups_b // channels, starts * groups_c // channels], 1)


def _inputs(scan: Arguments) -> kernels.Inputs:
    u, delta, A, B, C, D, z, bias, softplus = scan
    zeros, nothing, weight = A.new_zeros(len(A)), A.new_empty(0, 0, 0), torch.ones_like(A)
    for constant in (matrix for matrix in (B, C) if matrix.ndim == 2):
        weight = weight * constant
    z = nothing if z is None else z
    B, C = (nothing[None] if matrix.ndim == 2 else matrix for matrix in (B, C))
    D, bias = (zeros if x is None else x for x in (D, bias))
    return kernels.Inputs(*(x.numpy() for x in (u, delta, z, A, B, C, weight, D, bias)), softplus)


def _gradients(data: kernels.Inputs, strips: int) -> kernels.Gradients:
    (batch, channels, length), states = data.u.shape, data.A.shape[1]

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros((batch, *shape), data.u.dtype)

    return kernels.Gradients(
        u=np.empty_like(data.u),
        delta=np.empty_like(data.u),
        z=np.empty_like(data.z),
        A=zeros(channels, states),
        B=zeros(strips, states, length),
        C=zeros(strips, states, length),
        weight=zeros(channels, states),
        D=zeros(channels),
        bias=zeros(channels),
    )


def _sum_strips(parts: np.ndarray, like: Tensor) -> Tensor:
    """Add the parts of each group's gradient, (batch, strips, N, L), to (batch, G, N, L)."""
    batch, groups, states, length = like.shape
    return torch.from_numpy(parts.reshape(batch, groups, -1, states, length).sum(2))
