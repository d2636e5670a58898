"""Progress bars: one switch for all of them."""

import os
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def bar(items: Iterable[T] | None = None, desc: str = "", total: int | None = None, unit: str = "it") -> tqdm:
    """Return a progress bar on stderr; ``FUSIONKIT_NO_PROGRESS`` in the environment switches bars off."""
    off = bool(os.environ.get("FUSIONKIT_NO_PROGRESS"))
    return tqdm(items, desc=desc, total=total, unit=unit, disable=off, dynamic_ncols=True)
