"""Downloading from a server on this machine that misbehaves in every way, and unpacking hostile archives."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusionkit.data import archives, download, get_dataset, list_datasets, registry
from fusionkit.data.identity import identity, pixel_hash
from fusionkit.errors import FusionkitError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def encoded(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``files``; can ignore ranges, break off after some bytes, or fail a number of times."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.ranges, self.cut, self.failures = True, None, 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        content = self.server.files.get(unquote(self.path))
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
        elif content is None:
            self.send_error(404)
        else:
            self._send(content, wanted)

    def _send(self, content, wanted):
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("FUSIONKIT_NO_PROGRESS", "1")
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server: Server, folder: Path, name: str = "a.png", content: bytes | None = None, suffix: str = ".png"):
    """Put an image on the server and return what should be fetched."""
    server.files[f"/x/{name}{suffix}"] = encoded("PNG") if content is None else content
    target = folder / "toy" / "all" / "ir" / name
    return download.RemoteFile(f"{server.base}/x/{name}{suffix}", target, pixel_hash(PIXELS))


def all_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_arrive_and_nothing_else_stays(server, tmp_path):
    files = [remote(server, tmp_path, f"{i}.png") for i in range(6)]
    download.fetch_files(files, tmp_path / ".downloads")
    assert all_files(tmp_path) == {f"toy/all/ir/{i}.png" for i in range(6)}
    assert not (tmp_path / ".downloads").exists()
    assert files[0].target.read_bytes() == server.files["/x/0.png.png"]


def test_bmp_becomes_png_with_the_same_pixels(server, tmp_path):
    file = remote(server, tmp_path, content=encoded("BMP"), suffix=".bmp")
    download.fetch_files([file], tmp_path / ".downloads")
    assert file.target.read_bytes().startswith(b"\x89PNG") and identity(file.target) == file.identity
    assert all_files(tmp_path) == {"toy/all/ir/a.png"}


def test_interrupted_download_leaves_only_a_part_and_is_continued(server, tmp_path):
    file = remote(server, tmp_path)
    server.cut = 5000
    with pytest.raises(FusionkitError, match="check the network and fetch again"):
        download.fetch_files([file], tmp_path / ".downloads")
    part = tmp_path / ".downloads" / "toy_all_ir_a.png.part"
    assert all_files(tmp_path) == {".downloads/toy_all_ir_a.png.part"}
    assert part.read_bytes() == server.files["/x/a.png.png"][: download.CHUNK]
    server.cut = None
    server.requests.clear()
    download.fetch_files([file], tmp_path / ".downloads")
    assert server.requests == [("/x/a.png.png", f"bytes={download.CHUNK}-")]
    assert all_files(tmp_path) == {"toy/all/ir/a.png"}


@pytest.mark.parametrize("part", [b"start of another file", b"\x89PNG", b"x" * 100_000])
@pytest.mark.parametrize("ranges", [True, False])
def test_useless_part_is_given_up(server, tmp_path, part, ranges):
    file = remote(server, tmp_path)
    server.ranges = ranges
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "toy_all_ir_a.png.part").write_bytes(part)
    download.fetch_files([file], tmp_path / ".downloads")
    assert identity(file.target) == file.identity


def test_complete_part_is_taken(server, tmp_path):
    file = remote(server, tmp_path)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "toy_all_ir_a.png.part").write_bytes(server.files["/x/a.png.png"])
    download.fetch_files([file], tmp_path / ".downloads")
    assert len(server.requests) == 1 and identity(file.target) == file.identity


@pytest.mark.parametrize(
    ("content", "got"), [(encoded("PNG", 255 - PIXELS), pixel_hash(255 - PIXELS)), (b"<html>", "no readable image")]
)
def test_wrong_content_is_refused_and_removed(server, tmp_path, content, got):
    file = remote(server, tmp_path, content=content)
    with pytest.raises(FusionkitError, match=rf"a\.png.*expected {file.identity}, got {got}") as caught:
        download.fetch_files([file], tmp_path / ".downloads")
    assert "\n" not in str(caught.value)
    assert all_files(tmp_path) == set()


def test_server_error_is_tried_again(server, tmp_path):
    file = remote(server, tmp_path)
    server.failures = download.TRIES - 1
    download.fetch_files([file], tmp_path / ".downloads")
    assert file.target.is_file() and len(server.requests) == download.TRIES


def test_persistent_server_error_is_reported(server, tmp_path):
    file = remote(server, tmp_path)
    server.failures = 100
    with pytest.raises(FusionkitError, match=r"cannot fetch http.*503"):
        download.fetch_files([file], tmp_path / ".downloads")
    assert len(server.requests) == download.TRIES and all_files(tmp_path) == set()


def test_missing_file_and_missing_server_are_reported(server, tmp_path):
    gone = download.RemoteFile(f"{server.base}/none.png", tmp_path / "toy" / "a.png", "")
    with pytest.raises(FusionkitError, match="404"):
        download.fetch_files([gone], tmp_path / ".downloads")
    assert len(server.requests) == 1
    silent = download.RemoteFile("http://127.0.0.1:9/none.png", tmp_path / "toy" / "a.png", "")
    with pytest.raises(FusionkitError, match=r"cannot fetch http://127\.0\.0\.1:9"):
        download.fetch_files([silent], tmp_path / ".downloads")
    assert all_files(tmp_path) == set()


def test_addresses_name_repository_and_commit(tmp_path):
    files = download.remote_files("gfp_pc", "sample", tmp_path, "http://host")
    urls = {(file.target.parent.name, file.target.name): file.url for file in files}
    assert len(urls) == 12
    commit = "7d7c316cbd12456e27b48a2bb62c6d55330d3e3f"
    assert urls["pc", "002.png"] == f"http://host/yuliu316316/DPCN-Fusion/{commit}/Test_pci/PCI_002.bmp"
    assert urls["gfp", "matr_003.png"].endswith("/source%20images/GFP-PC/GFP.bmp")


def test_addresses_agree_with_the_manifest(real_data, tmp_path):
    rows = pd.read_csv(real_data / "MANIFEST.csv", dtype=str)
    known = set("http://host/" + rows["source_repo"] + "/" + rows["source_commit"] + "/" + rows["source_path"])
    for name in list_datasets():
        for split in get_dataset(name).splits.values():
            files = download.remote_files(name, split.name, tmp_path, "http://host") if split.sources else []
            assert len(files) == (2 * split.pairs if split.sources else 0)
            assert {unquote(file.url) for file in files} <= known


def test_fetch_takes_real_files_keeps_intact_ones_and_replaces_damaged_ones(server, real_data, tmp_path):
    stored = download.remote_files("llvip", "sample", real_data, server.base)
    server.files = {unquote(file.url.removeprefix(server.base)): file.target.read_bytes() for file in stored}
    first = download.fetch(["llvip"], tmp_path, server.base)
    assert first == [download.Fetched("llvip", "sample", 12, 0, "")]
    damaged = tmp_path / "llvip" / "sample" / "ir" / "190001.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert download.fetch(["llvip"], tmp_path, server.base)[0] == download.Fetched("llvip", "sample", 1, 11, "")
    assert len(server.requests) == 13


def test_what_cannot_be_fetched_is_explained(tmp_path):
    (row,) = download.fetch(["fmb"], tmp_path)
    assert (row.written, row.kept) == (0, 0) and "\n" not in row.advice
    for part in ("0 of 1500", "SegMiF", str(tmp_path / "archives" / "fmb.zip"), str(tmp_path / "fmb/all/vi/<name>")):
        assert part in row.advice
    assert download.fetch(["phantom_ct_mri"], tmp_path) == []


def as_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as stream:
        for name, content in members.items():
            stream.writestr(name, content)
    return path


def as_tar(path: Path, members: dict[str, bytes], odd: tarfile.TarInfo | None = None) -> Path:
    with tarfile.open(path, "w:gz") as stream:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            stream.addfile(entry, io.BytesIO(content))
        if odd:
            stream.addfile(odd)
    return path


GOOD = {"FMB/train/Visible/001.png": b"v", "FMB/train/Infrared/001.png": b"i", "FMB/readme.txt": b"r"}


@pytest.mark.parametrize(("make", "name"), [(as_zip, "fmb.zip"), (as_tar, "fmb-2.tar.gz")])
def test_archive_that_the_user_brings_is_laid_out(tmp_path, make, name):
    (tmp_path / "archives").mkdir()
    make(tmp_path / "archives" / name, GOOD)
    (row,) = download.fetch(["fmb"], tmp_path)
    assert row.written == 2 and "1 of 1500" in row.advice
    assert (tmp_path / "fmb/all/ir/001.png").read_bytes() == b"i"
    assert all_files(tmp_path / "fmb") == {"all/ir/001.png", "all/vi/001.png"}
    assert registry.split_names("fmb", "all", tmp_path) == ["001.png"]


def test_groups_of_a_pattern_make_the_name(tmp_path):
    (tmp_path / "archives").mkdir()
    members = {f"set00/V003/{m}/I00012.jpg": b"x" for m in ("lwir", "visible")} | {"set06/V000/lwir/I00000.jpg": b"x"}
    as_tar(tmp_path / "archives" / "kaist-set00.tar.gz", members)
    download.fetch(["kaist"], tmp_path)
    assert registry.split_names("kaist", "train", tmp_path) == ["set00_V003_I00012.jpg"]


@pytest.mark.parametrize("make", [as_zip, as_tar])
@pytest.mark.parametrize(
    "evil", ["../ir/001.png", "a/../../ir/001.png", "/tmp/ir/001.png", "..\\ir\\1.png", "C:/ir/1.png"]
)
def test_paths_that_point_outside_are_refused_before_anything_is_written(tmp_path, make, evil):
    archive = make(tmp_path / ("a.zip" if make is as_zip else "a.tgz"), GOOD | {evil: b"e"})
    with pytest.raises(FusionkitError, match=r"a\.(zip|tgz) is refused: member .* (outside|absolute)"):
        archives.extract(archive, {"ir": tmp_path / "out"}, {"ir": r"(\d+\.png)$"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path, kind):
    odd = tarfile.TarInfo("ir/002.png")
    odd.type, odd.linkname = kind, "001.png"
    with pytest.raises(FusionkitError, match="link or a device"):
        archives.extract(as_tar(tmp_path / "a.tgz", GOOD, odd), {"ir": tmp_path / "out"}, {"ir": r"(\d+\.png)$"})


def test_link_in_zip_is_refused(tmp_path):
    entry = zipfile.ZipInfo("ir/002.png")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as stream:
        stream.writestr(entry, "001.png")
    with pytest.raises(FusionkitError, match="link or a device"):
        archives.extract(tmp_path / "a.zip", {"ir": tmp_path / "out"}, {"ir": r"(\d+\.png)$"})


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("keep", [0, 60])
def test_damaged_archive_is_reported(tmp_path, name, keep):
    archive = (as_zip if name == "a.zip" else as_tar)(tmp_path / name, GOOD)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(FusionkitError, match=f"{name} cannot be unpacked"):
        archives.extract(archive, {"ir": tmp_path / "out"}, {"ir": r"(\d+\.png)$"})
