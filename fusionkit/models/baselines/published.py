"""What authors released of a method: where it lies, under which licence, and how to tell their weights from others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Tensors of a state dict that decide nothing: counters and index tables, absent in some of the authors' files.
IDLE = ("num_batches_tracked", "relative_position_index", "attn_mask")


@dataclass(frozen=True)
class Release:
    """One set of weights that authors released, with the settings that belong to it.

    Attributes:
        file: Name of the file below ``weights/`` of the data folder, without suffix.
        digest: What :func:`digest` gives for its tensors.
        options: Of the model.
    """

    file: str
    digest: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What is known of a method's public code.

    Attributes:
        task: What it was trained for.
        repository: ``owner/name`` on GitHub.
        commit: The commit whose code the model computes.
        licence: As the repository states it.
        form: What the authors' files of weights are, for who wants to convert them.
        releases: By name; the first is what the model's bare name means.
    """

    task: str
    repository: str
    commit: str
    licence: str
    form: str
    releases: Mapping[str, Release]

    @property
    def url(self) -> str:
        """Return the address of the repository at the commit."""
        return f"https://github.com/{self.repository}/tree/{self.commit}"


def deciding(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a state dict that decide the output."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(IDLE)}


def digest(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, shapes and values of the deciding tensors, whatever kind of file they come from."""
    found = hashlib.sha256()
    for name, tensor in sorted(deciding(state).items()):
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.float().contiguous().numpy().tobytes())
    return found.hexdigest()
