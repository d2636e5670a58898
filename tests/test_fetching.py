"""Fetching and converting released weights: from a server on this machine, in every format authors use."""

import numpy as np
import pytest
import torch
from test_baselines_weights import command, tensors
from test_data_download import server  # noqa: F401
from test_tf_checkpoint import write_checkpoint

from fusionkit import FusionkitError, fetching, measure, paths
from fusionkit.models import MODELS
from fusionkit.models.baselines import BASELINES
from fusionkit.released import list_released

RELEASES = [(name, weights) for name in BASELINES for weights in list_released(name)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder where released weights are looked for."""
    monkeypatch.delenv("FUSIONKIT_WEIGHTS", raising=False)
    monkeypatch.setattr(paths, "data_dir", lambda: tmp_path / "data")
    return tmp_path / "data" / "weights"


@pytest.fixture
def weights(golden):
    return golden / "baselines" / "weights"


def offer(server, model, weights, *contents):  # noqa: F811
    """Put files where the addresses of a release lead to."""
    addresses = fetching._addresses(model, weights, "")
    for address, content in zip(addresses, contents, strict=True):
        server.files[address.replace("%20", " ")] = content


def saved(tmp_path, content):
    torch.save(content, tmp_path / "saved")
    return (tmp_path / "saved").read_bytes()


def test_every_release_has_an_address_or_says_what_to_do():
    record = fetching._record()
    known = {release.file for model in BASELINES for release in list_released(model).values()}
    assert record["files"].keys() | record["by_hand"].keys() == known
    assert not record["files"].keys() & record["by_hand"].keys()
    assert record["prefixes"].keys() <= known
    for places in record["files"].values():
        assert all(len(place.partition("/")[0]) == 40 for place in places), "pinned to a commit"


@pytest.mark.parametrize(("model", "release"), RELEASES)
def test_what_would_be_fetched_is_said_first(folder, model, release):
    published = MODELS[model].published
    wanted = [published.repository, published.licence]
    if list_released(model)[release].file in fetching._record()["by_hand"]:
        with pytest.raises(FusionkitError, match="no verified address") as error:
            fetching.describe_release(model, release)
        text = str(error.value)
    else:
        text = fetching.describe_release(model, release)
        wanted += [list_released(model)[release].digest, str(folder)]
    assert all(part in text for part in wanted)


@pytest.mark.parametrize("envelope", [None, "state_dict"])
def test_a_state_dict_is_fetched_and_kept_as_safetensors(folder, weights, server, tmp_path, envelope):  # noqa: F811
    state = tensors(weights / "reconet.npz")
    offer(server, "reconet", "authors", saved(tmp_path, {envelope: state} if envelope else state))
    file = fetching.fetch_released("reconet", "authors", server.base)
    assert file == folder / "reconet.safetensors"
    assert sorted(folder.rglob("*")) == [folder / ".downloads", file]
    assert measure.is_here("reconet")
    assert measure.load_method("reconet")(*torch.rand(2, 1, 1, 16, 16)).isfinite().all()
    with pytest.raises(FusionkitError, match="is here already"):
        fetching.fetch_released("reconet", "authors", server.base)


def test_a_checkpoint_of_tensorflow_is_fetched_without_its_optimiser(folder, weights, server, tmp_path):  # noqa: F811
    state = {name: x.numpy() for name, x in tensors(weights / "sdnet_med.npz").items()}
    slots = {f"{name}/Adam": np.zeros_like(x) for name, x in state.items()}
    index = write_checkpoint(tmp_path, state | slots, snappy=True)
    data = tmp_path / "net.ckpt.data-00000-of-00001"
    offer(server, "sdnet", "medical", index.read_bytes(), data.read_bytes())
    fetching.fetch_released("sdnet", "medical", server.base)
    assert measure.load_method("sdnet:medical")(*torch.rand(2, 1, 1, 16, 16)).isfinite().all()


def test_other_weights_are_refused_and_fetched_anew(folder, weights, server, tmp_path):  # noqa: F811
    state = tensors(weights / "reconet.npz")
    changed = state | {"att_a_conv.weight": state["att_a_conv.weight"] + 1}
    offer(server, "reconet", "authors", saved(tmp_path, changed))
    with pytest.raises(FusionkitError, match="not the weights that its authors released"):
        fetching.fetch_released("reconet", "authors", server.base)
    assert not list(folder.rglob("*.safetensors"))
    offer(server, "reconet", "authors", saved(tmp_path, state))
    assert fetching.fetch_released("reconet", "authors", server.base).is_file()


def test_an_interrupted_download_goes_on(folder, weights, server, tmp_path):  # noqa: F811
    content = saved(tmp_path, tensors(weights / "reconet.npz"))
    offer(server, "reconet", "authors", content)
    server.cut = len(content) // 5
    with pytest.raises(FusionkitError, match="cannot fetch"):
        fetching.fetch_released("reconet", "authors", server.base)
    assert not list(folder.rglob("*.safetensors"))
    server.cut = None
    assert fetching.fetch_released("reconet", "authors", server.base).is_file()
    assert server.requests[-1][1], "the rest only"


def test_objects_are_never_unpickled(folder, server, tmp_path):  # noqa: F811
    offer(server, "reconet", "authors", saved(tmp_path, torch.nn.Conv2d(1, 1, 1)))
    with pytest.raises(FusionkitError, match="more than a plain state dict, which is never loaded"):
        fetching.fetch_released("reconet", "authors", server.base)


def test_weights_without_a_verified_address_say_what_to_do(folder):
    with pytest.raises(
        FusionkitError,
        match=r"no verified address of ifcnn:max; take Code/snapshots/IFCNN-MAX\.pth of https.*by hand.*--file PATH",
    ):
        fetching.fetch_released("ifcnn", "max")


def test_two_files_become_one_release(folder, weights, tmp_path):
    state = tensors(weights / "didfuse.npz")
    files = []
    for part in ("encoder.", "decoder."):
        files.append(tmp_path / f"{part}pkl")
        torch.save({"weight": {k.removeprefix(part): x for k, x in state.items() if k.startswith(part)}}, files[-1])
    fetching.convert("didfuse", "authors", files)
    assert measure.load_method("didfuse").published is BASELINES["didfuse"].published
    with pytest.raises(FusionkitError, match="1 files given; take .*encoder.* and .*decoder"):
        fetching.convert("didfuse", "authors", files[:1])
    with pytest.raises(FusionkitError, match="missing: "):
        fetching.convert("didfuse", "authors", files[::-1])
    with pytest.raises(FusionkitError, match="file not found"):
        fetching.convert("didfuse", "authors", [files[0], tmp_path / "nothing.pth"])


def test_the_command_asks_first(folder, weights, server, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(fetching.fetch_released, "__defaults__", (server.base,))
    offer(server, "reconet", "authors", saved(tmp_path, tensors(weights / "reconet.npz")))
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, out, _ = command(capsys, monkeypatch, "models", "reconet", "--fetch")
    assert code == 0
    assert "licence: MIT" in out and "SHA-256" in out and "raw.githubusercontent.com" in out
    assert not server.requests
    code, out, _ = command(capsys, monkeypatch, "models", "reconet", "--fetch", "--yes")
    assert code == 0
    assert f"written: {folder / 'reconet.safetensors'}" in out


def test_the_command_converts_a_file_that_the_user_has(folder, weights, tmp_path, capsys, monkeypatch):
    code, out, _ = command(capsys, monkeypatch, "models", "ifcnn:mean", "--file", weights / "ifcnn_mean.npz")
    assert code == 0
    assert (folder / "ifcnn_mean.safetensors").is_file()
    code, _, error = command(capsys, monkeypatch, "models", "ifcnn", "--file", weights / "ifcnn_mean.npz")
    assert code == 2
    assert "holds the weights ifcnn_mean, not ifcnn_max" in error
    for arguments, text in ((("--fetch",), "need the name"), (("average", "--fetch"), "unknown released weights")):
        code, _, error = command(capsys, monkeypatch, "models", *arguments)
        assert code == 2
        assert text in error
