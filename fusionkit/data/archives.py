"""Taking images out of a zip or tar archive that a user was given, trusting nothing it says about paths."""

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

from fusionkit.errors import FusionkitError
from fusionkit.files import atomic_path

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, RuntimeError)

Opener = Callable[[], IO[bytes] | None]


def extract(archive: Path, folders: Mapping[str, Path], patterns: Mapping[str, str]) -> int:
    """Copy the images of a split out of an archive; nothing is written if any member is unsafe.

    A file's name is made of the groups of its pattern, joined by ``_``, never of its path. Files that
    are already there stay untouched.

    Args:
        archive: A ``.zip`` or ``.tar`` file, the latter also compressed.
        folders: Where each modality belongs.
        patterns: Per modality, a regular expression that is searched in the members' paths.

    Returns:
        Number of files written.

    Raises:
        FusionkitError: The archive is damaged or has a member that points outside, a link or a device.
    """
    written = 0
    try:
        with _members(archive) as members:
            for path, opener in members:
                target = _target(path, folders, patterns)
                if target is not None and not target.exists():
                    _copy(opener, target)
                    written += 1
    except (*_BROKEN, OSError) as error:
        raise FusionkitError(
            f"{archive} cannot be unpacked: {error}; check the free space or download it again"
        ) from error
    return written


def _target(path: str, folders: Mapping[str, Path], patterns: Mapping[str, str]) -> Path | None:
    for modality, pattern in patterns.items():
        match = re.search(pattern, path)
        if match:
            return folders[modality] / "_".join(match.groups())
    return None


def _copy(opener: Opener, target: Path) -> None:
    with atomic_path(target) as temporary, opener() as source, temporary.open("wb") as stream:
        copyfileobj(source, stream)


@contextmanager
def _members(archive: Path) -> Iterator[list[tuple[str, Opener]]]:
    """Yield path and opener of every regular file of an archive whose members are all safe."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as stream:
            entries = stream.infolist()
            for entry in entries:
                _refuse(archive, entry.filename, _is_odd_zip(entry))
            yield [(e.filename, lambda e=e: stream.open(e)) for e in entries if not e.is_dir()]
    else:
        with tarfile.open(archive) as stream:
            entries = stream.getmembers()
            for entry in entries:
                _refuse(archive, entry.name, not (entry.isreg() or entry.isdir()))
            yield [(e.name, lambda e=e: stream.extractfile(e)) for e in entries if e.isreg()]


def _is_odd_zip(entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return kind not in (0, stat.S_IFREG, stat.S_IFDIR)


def _refuse(archive: Path, name: str, odd: bool) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if odd:
        reason = "is a link or a device"
    elif path.is_absolute() or re.match(r"[A-Za-z]:", name):
        reason = "has an absolute path"
    elif ".." in path.parts:
        reason = "points outside of the archive"
    else:
        return
    raise FusionkitError(f"{archive} is refused: member {name!r} {reason}; get the archive from its owners again")
