"""The selective scan of the package ``mamba_ssm``, on a GPU, where its CUDA extension was built and works."""

from typing import Any

import torch
from mamba_ssm.ops.selective_scan_interface import SelectiveScanFn
from torch import Tensor

from fusionkit.errors import FusionkitError


class _Context:
    """Stands in for autograd's context, which remembers what backward needs."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self.saved_tensors = tensors


def forward(u: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Return the output (B, D, L) and the last state (B, D, N).

    Args:
        u: (B, D, L).
        *arguments: delta, A, B, C, D, z, delta_bias, delta_softplus, as the other backends take them.

    Raises:
        FusionkitError: ``u`` is float64, which the extension does not know.
    """
    return _run(_Context(), u, *arguments)


def backward(grad_out: Tensor, u: Tensor, *arguments: Any) -> tuple[Tensor | None, ...]:
    """Return the gradients of all tensor arguments of ``forward``; runs forward again for what it keeps.

    Args:
        grad_out: Gradient of the output, (B, D, L).
        u: (B, D, L).
        *arguments: As given to ``forward``.
    """
    context = _Context()
    _run(context, u, *arguments)
    return tuple(SelectiveScanFn.backward(context, grad_out)[:8])


def _run(
    context: _Context,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    if u.dtype == torch.float64:
        raise FusionkitError("backend: 'mamba_ssm' takes float32, float16 or bfloat16, got torch.float64")
    # the extension wants whatever does not vary over time in float32
    A, D, delta_bias = (x if x is None else x.float() for x in (A, D, delta_bias))
    B, C = (x.float() if x.ndim == 2 else x for x in (B, C))
    return SelectiveScanFn.forward(context, u, delta, A, B, C, D, z, delta_bias, delta_softplus, True)
