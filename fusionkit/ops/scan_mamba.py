"""The selective scan of the package ``mamba_ssm``, on a GPU, where its CUDA extension was built and works."""

import torch
from mamba_ssm.ops.selective_scan_interface import SelectiveScanFn
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.ops.arguments import Arguments


class _Context:
    """Stands in for autograd's context, which remembers what backward needs."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self.saved_tensors = tensors


def forward(scan: Arguments) -> tuple[Tensor, Tensor]:
    """Return the output and the last state.

    Raises:
        FusionkitError: ``u`` is float64, which the extension does not know.
    """
    return _run(_Context(), scan)


def backward(grad_out: Tensor, scan: Arguments) -> tuple[Tensor | None, ...]:
    """Return the gradients; runs forward again for what it keeps, and raises what that does."""
    context = _Context()
    _run(context, scan)
    return tuple(SelectiveScanFn.backward(context, grad_out)[:8])


def _run(context: _Context, scan: Arguments) -> tuple[Tensor, Tensor]:
    u, delta, A, B, C, D, z, delta_bias, delta_softplus = scan
    if u.dtype == torch.float64:
        raise FusionkitError("backend: 'mamba_ssm' takes float32, float16 or bfloat16, got torch.float64")
    # the extension wants whatever does not vary over time in float32
    A, D, delta_bias = (x if x is None else x.float() for x in (A, D, delta_bias))
    B, C = (x.float() if x.ndim == 2 else x for x in (B, C))
    return SelectiveScanFn.forward(context, u, delta, A, B, C, D, z, delta_bias, delta_softplus, True)
