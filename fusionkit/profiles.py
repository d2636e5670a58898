"""How much work a notebook does: the one parameter that all of them share."""

from collections.abc import Iterable
from enum import StrEnum

from fusionkit.data import Pair, get_dataset, list_datasets, load_pair, present
from fusionkit.data.registry import split_names
from fusionkit.errors import unknown


class Profile(StrEnum):
    """Three sizes of the same work.

    ``smoke`` runs on tiny phantoms (tests), ``standard`` on the real data that is present with the committed
    weights, ``paper`` on the papers' own data with weights trained by their protocols.
    """

    SMOKE = "smoke"
    STANDARD = "standard"
    PAPER = "paper"


def as_profile(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        FusionkitError: No profile has this name.
    """
    if name not in list(Profile):
        raise unknown("profile", name, list(Profile))
    return Profile(name)


def example_pairs(dataset: str, split: str, count: int, profile: Profile | str) -> tuple[list[Pair], str]:
    """Return pairs to look at, spread evenly over a split, and a line that says what they are.

    Phantoms of the same task stand in under the profile smoke and where the split is not (completely) here.

    Args:
        dataset: A dataset with files.
        split: One of its splits.
        count: Number of pairs, at least 1; a smaller split gives fewer.
        profile: Name of a profile.

    Raises:
        FusionkitError: Unknown profile, dataset or split.
    """
    dataset, split, why = stand_in(dataset, split, profile)
    names = split_names(dataset, split)
    count = min(count, len(names))
    chosen = [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]
    note = f"{count} {kind_of(dataset)} of {dataset}/{split} ({stems(chosen)}){why}."
    return [load_pair(dataset, split, name) for name in chosen], note


def stand_in(dataset: str, split: str, profile: Profile | str) -> tuple[str, str, str]:
    """Return the split to look at, and why it is another than the wanted one, or nothing where it is not.

    Args:
        dataset: A dataset with files.
        split: One of its splits.
        profile: Name of a profile.

    Raises:
        FusionkitError: Unknown profile, dataset or split.
    """
    wanted = f"{dataset}/{split}"
    if as_profile(profile) is Profile.SMOKE:
        return phantom_of(dataset), "test", f", in place of {wanted}: the profile smoke looks at no real image"
    if not present(dataset, split):
        why = f", in place of {wanted}, which is not here: `fusionkit data list` says how to get it"
        return phantom_of(dataset), "test", why
    return dataset, split, ""


def kind_of(dataset: str) -> str:
    """Return what the pairs of a dataset are, in words."""
    return "drawn phantoms" if get_dataset(dataset).procedural else "real pairs"


def stems(names: Iterable[str]) -> str:
    """Return file names without their endings, for a line of text."""
    return ", ".join(name.rsplit(".", 1)[0] for name in names)


def phantom_of(dataset: str) -> str:
    """Return the procedural dataset of the same task as a dataset."""
    task = get_dataset(dataset).task
    return next(name for name in list_datasets() if get_dataset(name).procedural and get_dataset(name).task == task)
