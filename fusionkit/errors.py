"""The one exception that users see: a single line that says what is wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class FusionkitError(Exception):
    """A problem that the user can mend; its text is one complete line for the terminal."""


def unknown(kind: str, name: str, known: Iterable[str]) -> FusionkitError:
    """Build the error for a name that is not registered, with near names first.

    Args:
        kind: What was looked up, for example ``"model"``.
        name: The name that was asked for.
        known: All names that exist.
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
    return FusionkitError(f"unknown {kind} {name!r}; {hint}")
