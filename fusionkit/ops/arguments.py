"""What ``selective_scan`` hands to a backend.

Every backend is a module with two functions:

    forward(scan) -> the output (B, D, L) and the last state (B, D, N)
    backward(grad_out, scan) -> the gradients of the tensors of ``scan``, in their order and with their shapes

``grad_out`` is the gradient of the output, (B, D, L), contiguous; the last state passes none on. The gradient of a
tensor that is None is None. Arguments are checked by ``selective_scan``, not by backends.
"""

from typing import NamedTuple

from torch import Tensor


class Arguments(NamedTuple):
    """The arguments of a scan, letters and meaning as in ``selective_scan``; all tensors contiguous, on one device.

    All are float32 or all float64. Backends that take 16-bit types may also get those, together with float32 in what
    has no time: A, D, bias, constant B and C.

    Attributes:
        u: Input, (B, D, L).
        delta: Step before bias and softplus, (B, D, L).
        A: Rate, (D, N).
        B: What enters the state: (B, G, N, L), where channel d belongs to group ``d // (D / G)``, or constant over
            time, (D, N).
        C: What leaves the state, shaped as B may be, with a G of its own.
        D: Skip connection, (D,), or None.
        z: Gate before SiLU, (B, D, L), or None.
        delta_bias: Bias of the step, (D,), or None.
        delta_softplus: Whether softplus makes the step from ``delta + delta_bias``.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
