"""Strict loading of a state dict that has other names for the same tensors."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from fusionkit.errors import FusionkitError


def load_renamed(
    model: nn.Module, state: Mapping[str, Tensor], theirs: Callable[[str], str], source: str, what: str
) -> None:
    """Load a state dict whose names differ, but nothing else.

    Args:
        model: Network to fill.
        state: Tensors under the other names.
        theirs: The other name of one of the model's own.
        source: Where the state comes from, for messages.
        what: What it should be, for messages.

    Raises:
        FusionkitError: Keys are missing, unexpected or of another shape; all are listed.
    """
    wanted = {theirs(name): (name, tensor.shape) for name, tensor in model.state_dict().items()}
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [
        f"{key} {tuple(state[key].shape)} for {tuple(wanted[key][1])}"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key][1]
    ]
    if missing or unexpected or wrong:
        raise FusionkitError(
            f"{source}: not the state of {what}\n  missing: {missing}\n  unexpected: {unexpected}\n"
            f"  other shape: {wrong}"
        )
    model.load_state_dict({wanted[key][0]: tensor for key, tensor in state.items()})
