"""The selective scan as a plain loop over time, in any floating type on any device: the oracle for all others.

Letters as in ``selective_scan``. Slow on purpose: every line is one of the equations, and backward keeps all states.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fusionkit.ops.arguments import Arguments


def forward(scan: Arguments) -> tuple[Tensor, Tensor]:
    """Return the output and the last state."""
    u, delta, A, B, C, D, z, delta_bias, delta_softplus = scan
    step = _step(delta, delta_bias, delta_softplus)
    outputs = []
    for t, h in enumerate(_states(u, step, A, B)):
        outputs.append((h * _at(C, t, u)).sum(-1))
    y = torch.stack(outputs, -1)
    if D is not None:
        y = y + D[:, None] * u
    return y if z is None else y * F.silu(z), h


def backward(grad_out: Tensor, scan: Arguments) -> tuple[Tensor | None, ...]:
    """Return the gradients; keeps all states."""
    u, delta, A, B, C, D, z, delta_bias, delta_softplus = scan
    step = _step(delta, delta_bias, delta_softplus)
    dy, dz = grad_out, None
    if z is not None:
        gate = torch.sigmoid(z)
        ungated, _ = forward(scan._replace(z=None))
        dy, dz = grad_out * z * gate, grad_out * ungated * gate * (1 + z * (1 - gate))
    du, dstep, dA, dB, dC = _go_back(dy, u, step, A, B, C)
    if D is not None:
        du = du + D[:, None] * dy
    ddelta = dstep
    if delta_softplus:
        raw = delta if delta_bias is None else delta + delta_bias[:, None]
        ddelta = torch.where(raw > 20, dstep, dstep * torch.sigmoid(raw))
    dD = None if D is None else (dy * u).sum((0, 2))
    dbias = None if delta_bias is None else ddelta.sum((0, 2))
    return du, ddelta, dA, dB, dC, dD, dz, dbias


def _step(delta: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    raw = delta if bias is None else delta + bias[:, None]
    return F.softplus(raw) if softplus else raw


def _at(matrix: Tensor, t: int, u: Tensor) -> Tensor:
    """Return B or C at one time for each channel: (B, D, N), or (D, N) where it is constant."""
    if matrix.ndim == 2:
        return matrix
    return matrix[..., t].repeat_interleave(u.shape[1] // matrix.shape[1], 1)


def _states(u: Tensor, step: Tensor, A: Tensor, B: Tensor) -> Iterator[Tensor]:
    h = u.new_zeros(*u.shape[:2], A.shape[1])
    for t in range(u.shape[2]):
        dt = step[..., t, None]
        h = torch.exp(dt * A) * h + dt * u[..., t, None] * _at(B, t, u)
        yield h


def _go_back(dy: Tensor, u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of u, step, A, B and C from that of the output without skip and gate."""
    states = list(_states(u, step, A, B))
    du, dstep, dA, dB, dC = (torch.zeros_like(x) for x in (u, step, A, B, C))
    carried = torch.zeros_like(states[0])
    for t in reversed(range(u.shape[2])):
        dt, x, g = step[..., t, None], u[..., t, None], dy[..., t, None]
        before = states[t - 1] if t else torch.zeros_like(states[0])
        dh = carried + g * _at(C, t, u)
        _add(dC, t, g * states[t])
        _add(dB, t, dh * dt * x)
        dx = (dh * _at(B, t, u)).sum(-1)
        carried = dh * torch.exp(dt * A)
        dexponent = carried * before
        dA += (dexponent * dt).sum(0)
        dstep[..., t] = (dexponent * A).sum(-1) + dx * u[..., t]
        du[..., t] = dx * step[..., t]
    return du, dstep, dA, dB, dC


def _add(gradient: Tensor, t: int, part: Tensor) -> None:
    """Add what one step gives, (B, D, N), to the gradient of B or C, summed over what they share."""
    if gradient.ndim == 2:
        gradient += part.sum(0)
    else:
        gradient[..., t] = part.unflatten(1, (gradient.shape[1], -1)).sum(2)
