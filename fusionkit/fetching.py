"""Getting the weights that authors of baselines released: from their repositories, or out of files that a user has.

What comes is read without executing anything, compared with the digest on record, and kept as safetensors under the
authors' names of tensors. Addresses stand in ``released.toml``.
"""

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from safetensors.torch import save_file
from torch import Tensor

from fusionkit.data.download import RAW, download
from fusionkit.errors import FusionkitError
from fusionkit.files import atomic_path
from fusionkit.models import build_model, model_entry
from fusionkit.paths import PACKAGE
from fusionkit.released import fitted, get_release, is_absent, released_folder
from fusionkit.tensors import ARRAYS, SAFE, read_pickled, read_tensors, unwrapped
from fusionkit.tf_checkpoint import read_checkpoint

RECORD = PACKAGE / "released.toml"
CHECKPOINT = ".index"


def describe_release(model: str, weights: str, base: str = RAW) -> str:
    """Say what would be fetched, from where, under which licence, and how it is checked.

    Args:
        model: A baseline.
        weights: Name of a release.
        base: Start of the addresses, up to the name of the repository.

    Raises:
        FusionkitError: There is no such release, its weights are here, or they have no verified address.
    """
    release, published = get_release(model, weights), model_entry(model).published
    addresses = _addresses(model, weights, base)
    lines = [f"{model}:{weights}, {published.form}", *(f"    from: {address}" for address in addresses)]
    lines += [f"    licence: {published.licence}", f"    SHA-256 of the tensors: {release.digest}"]
    return "\n".join([*lines, f"    to: {_target(model, weights)}"])


def fetch_released(model: str, weights: str, base: str = RAW) -> Path:
    """Download the files of a release, convert and check them, and return the file written.

    An interrupted download is continued by the next call; nothing is written that is not what the authors released.

    Args:
        model: A baseline.
        weights: Name of a release.
        base: Start of the addresses, up to the name of the repository.

    Raises:
        FusionkitError: The weights are here, have no verified address, cannot be fetched or are not the right ones.
    """
    addresses = _addresses(model, weights, base)
    folder = released_folder() / ".downloads" / get_release(model, weights).file
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / PurePosixPath(address).name for address in addresses]
    for address, file in zip(addresses, files, strict=True):
        download(address, file)
    try:
        return convert(model, weights, [file for file in files if file.suffix == CHECKPOINT] or files)
    finally:  # what is complete and wrong must not be continued
        shutil.rmtree(folder)


def convert(model: str, weights: str, files: Sequence[Path]) -> Path:
    """Convert authors' files to safetensors in the folder of released weights, and return the file written.

    Args:
        model: A baseline.
        weights: Name of a release.
        files: The ``.index`` of a checkpoint of TensorFlow, else what torch or numpy saved. Where the authors have
            several files, they come in the order in which ``released.toml`` names them.

    Raises:
        FusionkitError: A file is missing, damaged, more than tensors, or not what the authors released.
    """
    release = get_release(model, weights)
    prefixes = _record()["prefixes"].get(release.file, [""])
    if len(prefixes) != len(files):
        raise FusionkitError(f"{model}:{weights}: {len(files)} files given; {_by_hand(model, weights)}")
    tensors: dict[str, Tensor] = {}
    for prefix, file in zip(prefixes, files, strict=True):
        tensors |= {f"{prefix}{name}": tensor for name, tensor in _read(file).items()}
    network = build_model(model, **release.options)
    wanted = {network.theirs(name) for name in network.state_dict()}  # a checkpoint holds its optimiser's, too
    kept = {name: tensor.contiguous() for name, tensor in tensors.items() if name in wanted}
    fitted(model, weights, kept, " and ".join(map(str, files)))
    with atomic_path(_target(model, weights)) as temporary:
        save_file(kept, temporary)
    return _target(model, weights)


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise FusionkitError(f"file not found: {file}")
    if file.suffix == CHECKPOINT:
        return read_checkpoint(file)
    return unwrapped(read_tensors(file)[1] if file.suffix in (SAFE, ARRAYS) else read_pickled(file))


def _target(model: str, weights: str) -> Path:
    return released_folder() / f"{get_release(model, weights).file}{SAFE}"


def _addresses(model: str, weights: str, base: str) -> list[str]:
    file, repository = get_release(model, weights).file, model_entry(model).published.repository
    if not is_absent(model, weights):
        raise FusionkitError(f"{model}:{weights} is here already, in {released_folder()}; remove it to fetch it again")
    if file not in _record()["files"]:
        raise FusionkitError(f"no verified address of {model}:{weights}; {_by_hand(model, weights)}")
    return [f"{base}/{repository}/{quote(place)}" for place in _record()["files"][file]]


def _by_hand(model: str, weights: str) -> str:
    name, published = get_release(model, weights).file, model_entry(model).published
    listed = _record()
    wanted = listed["by_hand"].get(name) or [place.partition("/")[2] for place in listed["files"][name]]
    options = " ".join("--file PATH" for _ in listed["prefixes"].get(name, [""]))
    return (
        f"take {' and '.join(wanted)} of {published.url} (licence: {published.licence}) by hand, then "
        f"`fusionkit models {model}:{weights} {options}`"
    )


@cache
def _record() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(RECORD.read_text(encoding="utf-8"))
