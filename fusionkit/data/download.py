"""Fetching what has a public address, with identities checked, and saying what to do for the rest.

Single images come from public repositories at pinned commits. They are collected in ``.downloads`` below
the data folder as ``.part`` files, which a later run continues, and move to their place only when their
identity is right. Datasets that must be requested are taken from archives which the user puts into
``archives`` below the data folder.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pooch
from PIL import Image

from fusionkit import paths
from fusionkit.data import archives
from fusionkit.data.identity import decode, identity
from fusionkit.data.registry import Dataset, Source, Split, get_dataset, list_datasets, split_table
from fusionkit.data.status import count_present
from fusionkit.errors import FusionkitError
from fusionkit.files import atomic_path
from fusionkit.progress import bar

RAW = "https://raw.githubusercontent.com"
TRIES = 3
WORKERS = 4
CHUNK = 4096  # bytes; what arrives of an unfinished chunk is lost


@dataclass(frozen=True)
class RemoteFile:
    """An image with a public address.

    Attributes:
        url: Where it comes from.
        target: Where it belongs.
        identity: What it must hold.
    """

    url: str
    target: Path
    identity: str


@dataclass(frozen=True)
class Fetched:
    """What ``fetch`` did for one split.

    Attributes:
        written: Files that are new.
        kept: Listed files that were there and intact.
        advice: What the user has to do for the rest; empty if nothing.
    """

    dataset: str
    split: str
    written: int
    kept: int
    advice: str


def fetch(datasets: Iterable[str] | None = None, folder: Path | None = None, base: str = RAW) -> list[Fetched]:
    """Download all splits of some datasets as far as they have a public address.

    Files that are there and intact are kept, others are replaced. The first error stops the run; finished
    files stay, so that a second run continues.

    Args:
        datasets: Names of datasets; all by default.
        folder: Folder of all datasets; the default is ``paths.data_dir()``.
        base: Start of the addresses, up to the name of the repository.

    Raises:
        FusionkitError: A dataset is not known, a server does not answer, or a file has the wrong content.
    """
    folder = folder or paths.data_dir()
    chosen = [get_dataset(name) for name in (list_datasets() if datasets is None else datasets)]
    return [
        _fetch_split(data, split, folder, base)
        for data in chosen
        if not data.procedural
        for split in data.splits.values()
        if split.of is None
    ]


def remote_files(dataset: str, split: str, folder: Path, base: str = RAW) -> list[RemoteFile]:
    """Return every file of a stored split that has a public address.

    Args:
        dataset: Name of a dataset.
        split: Name of one of its stored splits.
        folder: Folder of all datasets.
        base: Start of the addresses, up to the name of the repository.
    """
    data = get_dataset(dataset)
    part = data.split(split)
    table = split_table(dataset, split, folder)
    return [
        RemoteFile(
            url=_url(source, modality, row["name"], base),
            target=data.folder(split, modality, folder) / row["name"],
            identity=row[modality],
        )
        for row in table.to_dict("records")
        for modality in data.modalities
        if row[modality] and (source := _source(part, row["name"]))
    ]


def fetch_files(files: list[RemoteFile], parts: Path, label: str = "fetching") -> None:
    """Download files in parallel; the first error stops all.

    Args:
        files: What to download; targets that exist are replaced.
        parts: Folder for unfinished downloads, on the same file system as the targets.
        label: Text beside the progress bar.

    Raises:
        FusionkitError: A server does not answer, or a file has the wrong content.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(_fetch_file, file, parts) for file in files]
        try:
            for job in bar(as_completed(jobs), label, total=len(jobs)):
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    with suppress(OSError):
        parts.rmdir()


def instructions(dataset: str, split: str, folder: Path | None = None) -> str:
    """Return one line that says how to complete a split that has no public address for all of its pairs."""
    folder = folder or paths.data_dir()
    data = get_dataset(dataset)
    part = data.split(split)
    count = str(count_present(dataset, split, folder)) + (f" of {part.official}" if part.official else "")
    layout = " and ".join(str(data.folder(split, m, folder) / "<name>") for m in data.modalities)
    ways = [f"lay the files out as {layout}"]
    if part.members:
        archive = folder / "archives" / f"{dataset}.zip"
        names = f"{archive} (or .tar, .tar.gz; {dataset}-2.zip for more)"
        ways.insert(0, f"put the archive there as {names} and fetch again")
    return (
        f"{dataset}/{split}: {count} pairs are here; {data.request} "
        f"({', '.join(data.homepage)}; terms: {data.terms}), then {', or '.join(ways)}"
    )


def _fetch_split(data: Dataset, split: Split, folder: Path, base: str) -> Fetched:
    files = remote_files(data.name, split.name, folder, base)
    wanted = [file for file in files if not _intact(file)]
    if wanted:
        fetch_files(wanted, folder / ".downloads", f"{data.name}/{split.name}")
    unpacked = _unpack(data, split, folder) if split.members else 0
    short = split.open and count_present(data.name, split.name, folder) < (split.official or 1)
    advice = instructions(data.name, split.name, folder) if short else ""
    return Fetched(data.name, split.name, len(wanted) + unpacked, len(files) - len(wanted), advice)


def _unpack(data: Dataset, split: Split, folder: Path) -> int:
    targets = {modality: data.folder(split.name, modality, folder) for modality in data.modalities}
    found = sorted((folder / "archives").glob(f"{data.name}*"))
    brought = [path for path in found if path.name.lower().endswith(archives.SUFFIXES)]
    return sum(archives.extract(path, targets, split.members) for path in brought)


def _source(split: Split, name: str) -> Source | None:
    named = [source for source in split.sources if name in source.names]
    return next(iter(named or [source for source in split.sources if not source.names]), None)


def _url(source: Source, modality: str, name: str, base: str) -> str:
    path = source.paths[modality].format(name=name, stem=Path(name).stem)
    return f"{base}/{source.repo}/{source.commit}/{quote(path)}"


def _intact(file: RemoteFile) -> bool:
    if not file.target.is_file():
        return False
    try:
        return identity(file.target) == file.identity
    except FusionkitError:
        return False


def _fetch_file(file: RemoteFile, parts: Path) -> None:
    parts.mkdir(parents=True, exist_ok=True)
    part = parts / ("_".join(file.target.parts[-4:]) + ".part")  # dataset_split_modality_name
    continued = True
    while continued:
        continued = download(file.url, part)
        got = _identity_or_reason(part)
        if got == file.identity:
            _move(part, file)
            return
        part.unlink()  # a continued file is wrong where the server ignores ranges: once more from the start
    raise FusionkitError(
        f"{file.target} was not written: {file.url} has the wrong content, "
        f"expected {file.identity}, got {got}; fetch again, and report it if it stays so"
    )


def _identity_or_reason(part: Path) -> str:
    try:
        return identity(part)
    except FusionkitError:
        return "no readable image"


def download(url: str, part: Path) -> bool:
    """Append what is missing of ``url`` to ``part``, in several tries; tell whether a file was continued.

    Raises:
        FusionkitError: The server does not answer, or refuses.
    """
    continued = False
    for pause in range(TRIES):
        have = part.stat().st_size if part.exists() else 0
        continued |= have > 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with part.open("ab") as stream:
                pooch.HTTPDownloader(headers=headers, chunk_size=CHUNK, timeout=30)(url, stream, None)
            return continued
        except OSError as error:  # every exception of requests is one
            problem = error
            if _status(error) == 416:  # nothing is missing, or the file is shorter than the part
                return continued
            if _status(error) in (401, 403, 404, 410):
                break
        time.sleep(0.3 * 2**pause)
    if not part.stat().st_size:
        part.unlink()
    raise FusionkitError(f"cannot fetch {url}: {problem}; check the network and fetch again, finished files are kept")


def _status(error: OSError) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _move(part: Path, file: RemoteFile) -> None:
    """Put a verified download in its place, as PNG where the source is another lossless format."""
    file.target.parent.mkdir(parents=True, exist_ok=True)
    if PurePosixPath(file.url).suffix.lower() == file.target.suffix.lower():
        part.replace(file.target)
        return
    with atomic_path(file.target) as temporary:
        pixels = decode(part)
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(temporary)
    part.unlink()
