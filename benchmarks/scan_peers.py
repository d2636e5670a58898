"""What our selective scan is timed against: a parallel scan in plain torch, and the exponentials alone.

Letters as in ``fusionkit.ops.selective_scan``. The parallel scan is the fastest of those tried, forward and backward
at L = 1024, D = 192, N = 16 on one core: 14 ms. In its place took

- the work-efficient tree of Blelloch over the whole sequence (mambapy 1.2.0): 177 ms;
- ``associative_scan``, torch's prototype, not compiled: 203 ms;
- cumulative sums of logarithms in chunks of 8, the most that cannot overflow: 79 ms;
- one product and sum per step, in chunks: 19 ms.

The first three read and write arrays of B D L N numbers many times, where this one stays in the cache.
"""

import math
from itertools import pairwise

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F  # noqa: N812

from fusionkit.ops.lane_functions import exp2
from fusionkit.ops.lanes import cached, load, spread, total, width

CHUNK = 256  # steps whose states are computed at once: their arrays stay in the cache
RUN = 16  # steps of the runs into which a chunk is cut, side by side


def parallel_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Run a selective scan with softplus, in chunks of time; nothing of size (B, D, L, N) is kept for backward.

    Args:
        u, delta: (B, D, L).
        A: (D, N), negative.
        B, C: (B, N, L).
        D, delta_bias: (D,).

    Returns:
        The output, (B, D, L).
    """
    outputs = []
    for sample in zip(u, delta, B, C, strict=True):
        x, step, b, c = (each.t().contiguous() for each in sample)
        y = _ChunkedScan.apply(x, F.softplus(step + delta_bias), A.t().contiguous(), b, c)
        outputs.append((y + D * x).t().contiguous())
    return torch.stack(outputs)


class _ChunkedScan(torch.autograd.Function):
    """The recurrence for one sample, time first: u and step (L, D), A (N, D), B and C (L, N)."""

    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        y, chunks = torch.empty_like(u), _chunks(len(u))
        before = u.new_zeros(len(chunks) + 1, *A.shape)
        buffers = u.new_empty(3, CHUNK, *A.shape)
        for i, part in enumerate(chunks):
            decay, h, spare = buffers[:, : part.stop - part.start]
            _states(u[part], step[part], A, B[part], before[i], decay, h, spare)
            before[i + 1] = h[-1]
            _contract(h, C[part].unsqueeze(2), 1, spare, y[part])
        ctx.save_for_backward(u, step, A, B, C, before)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor, ...]:
        u, step, A, B, C, before = ctx.saved_tensors
        dy = dy.contiguous()
        du, dstep, dA, dB, dC = (torch.zeros_like(x) for x in (u, step, A, B, C))
        buffers, decays = u.new_empty(3, CHUNK, *A.shape), u.new_ones(CHUNK + 1, *A.shape)
        carried = torch.zeros_like(A)
        for i, part in reversed([*enumerate(_chunks(len(u)))]):
            steps = part.stop - part.start
            decay, (h, g, spare) = decays[:steps], buffers[:, :steps]
            x, dt, dout = u[part], step[part], dy[part].unsqueeze(1)
            _states(x, dt, A, B[part], before[i], decay, h, spare)
            _contract(h, dout, 2, spare, dC[part])
            torch.mul(C[part].unsqueeze(2), dout, out=g)
            # decays has one more row, of ones: what is carried from the next chunk has had its decay
            _sweep(g, decays[1 : steps + 1], spare, carried, reverse=True)
            torch.mul(decay[0], g[0], out=carried)
            _contract(g, (dt * x).unsqueeze(1), 2, spare, dB[part])
            dx = _contract(g, B[part].unsqueeze(2), 1, spare)
            torch.mul(dx, dt, out=du[part])
            g.mul_(decay)  # from here on the gradient of the exponent
            g[0].mul_(before[i])
            g[1:].mul_(h[:-1])
            torch.addcmul(_contract(g, A, 1, spare), dx, x, out=dstep[part])
            dA += _contract(g, dt.unsqueeze(1), 0, spare)
        return du, dstep, dA, dB, dC


def _chunks(length: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


def _contract(x: Tensor, weight: Tensor, axis: int, spare: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the sum of ``x * weight`` over an axis, with ``spare`` for products; faster than matmul here."""
    return torch.sum(torch.mul(x, weight, out=spare), axis, out=out)


def _states(
    u: Tensor, step: Tensor, A: Tensor, B: Tensor, before: Tensor, decay: Tensor, h: Tensor, spare: Tensor
) -> None:
    """Fill ``decay`` and ``h`` with the decays and states of one chunk, (steps, N, D)."""
    torch.mul(step.unsqueeze(1), A, out=decay).exp_()
    torch.mul((step * u).unsqueeze(1), B.unsqueeze(2), out=h)
    _sweep(h, decay, spare, before)


def _sweep(x: Tensor, decay: Tensor, product: Tensor, before: Tensor, reverse: bool = False) -> None:
    """Turn ``x`` into the scan ``x_t + decay_t * (the scan at t - 1)``, which is ``before`` at the start.

    First all runs of a chunk side by side, each as if nothing came before it; then from run to run; then what came
    before a run, times the product of decays up to each step, is added there.
    """
    runs = len(x) // RUN if len(x) % RUN == 0 else 1
    x, decay, product = (each.unflatten(0, (runs, -1)) for each in (x, decay, product))
    xs, decays, products = (each.unbind(1) for each in (x, decay, product))
    order = range(len(xs))[:: -1 if reverse else 1]
    products[order[0]].copy_(decays[order[0]])
    for last, now in pairwise(order):
        torch.mul(decays[now], products[last], out=products[now])
        xs[now].addcmul_(decays[now], xs[last])
    ends, factors, entering = xs[order[-1]], products[order[-1]], torch.empty_like(xs[0])
    for run in range(runs)[:: -1 if reverse else 1]:
        entering[run] = before
        before = ends[run].addcmul_(factors[run], before)
    rest = slice(1, None) if reverse else slice(0, -1)
    x[:, rest].addcmul_(product[:, rest], entering.unsqueeze(1))


def exponential_limit(delta: Tensor, A: Tensor) -> Tensor:
    """Evaluate the B D L N exponentials of a scan on all threads and nothing else: the least that a scan can take.

    It is the exponential of the numba kernels, prepared in the same way.

    Args:
        delta: Step, (B, D, L), contiguous, float32; L a multiple of 32.
        A: (D, N).

    Returns:
        The sum of ``exp(delta A)`` over steps and states, (B, D).
    """
    sums, count = delta.new_empty(delta.shape[:2]), torch.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    _exponentials(delta.numpy(), (A / math.log(2)).numpy(), sums.numpy())
    torch.set_num_threads(count)  # when numba's threads start, they change it
    return sums


@cached
def _exponentials(step: np.ndarray, a: np.ndarray, sums: np.ndarray) -> None:
    batch, channels, length = step.shape
    for task in prange(batch * channels):
        i, d = task // channels, task % channels
        y = spread(step, 0.0)
        for k in range(length // width(step)):
            x = load(step[i, d], k)
            for n in range(a.shape[1]):
                y = y + exp2(x * a[d, n])
        sums[i, d] = total(y)
