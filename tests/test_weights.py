"""Weights: round trip, strict loading, damaged files, files of the papers' authors."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fusionkit import FusionkitError, create_model
from fusionkit.models import build_model
from fusionkit.models.fusionmamba.official import official_name
from fusionkit.tensors import read_tensors
from fusionkit.weights import list_weights, load_model, save_weights


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = build_model("lightfusionnet", width=8)
    path = tmp_path / "w.safetensors"
    save_weights(path, model, "lightfusionnet", {"width": 8})
    return model, path


def test_options_travel_with_the_weights(saved):
    model, path = saved
    again = create_model("lightfusionnet", weights=str(path))
    a, b = torch.rand(1, 1, 20, 20), torch.rand(1, 1, 20, 20)
    assert torch.equal(model(a, b), again(a, b))
    assert not again.training


def test_truncated_and_foreign_files_are_named(saved, tmp_path):
    _, path = saved
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FusionkitError, match=r"w\.safetensors: damaged"):
        create_model("lightfusionnet", weights=str(path))
    save_weights(path, build_model("lightfusionnet"), "other", {})
    with pytest.raises(FusionkitError, match="holds weights of 'other'"):
        create_model("lightfusionnet", weights=str(path))


def test_keys_that_do_not_fit_are_listed(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, build_model("lightfusionnet", attention="ca"), "lightfusionnet", {})
    with pytest.raises(FusionkitError, match="missing .*attention_a.predict.*unexpected"):
        create_model("lightfusionnet", weights=str(path))


def test_options_beside_weights_are_refused(saved):
    with pytest.raises(FusionkitError, match="leave out width"):
        create_model("lightfusionnet", weights=str(saved[1]), width=16)


@pytest.mark.parametrize("path", list_weights("lightfusionnet").values(), ids=list_weights("lightfusionnet"))
def test_committed_weights_load_and_have_cards(path):
    model = create_model("lightfusionnet", weights=path.stem)
    assert path.with_suffix(".json").is_file()
    assert path.with_suffix(".csv").is_file()
    assert read_tensors(path)[0]["model"] == "lightfusionnet"
    assert path.stat().st_size < 200_000
    assert torch.isfinite(model(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16))).all()


# Files of the papers' authors


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("fusionmamba", mode="official", dims=(8, 16), depths=(1, 1))


@pytest.fixture(scope="module")
def state(network):
    return {official_name(name): tensor for name, tensor in network.state_dict().items()}


def assert_same(model, network):
    a, b = torch.rand(2, 1, 1, 20, 20)
    assert torch.equal(model(a, b), network(a, b))
    assert not model.training


def test_authors_safetensors_load(golden):
    file = golden / "models" / "fusionmamba" / "model.safetensors"
    model = create_model("fusionmamba", weights=str(file))
    state = load_file(file)
    assert model.config.dims == (12, 24, 48, 96)
    assert all(torch.equal(tensor, state[official_name(name)]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("envelope", [None, "state_dict", "model", "params"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_authors_files_load_out_of_any_envelope(tmp_path, network, state, suffix, envelope, prefix):
    path = tmp_path / f"net{suffix}"
    named = {prefix + key: tensor for key, tensor in state.items()}
    torch.save({envelope: named, "epoch": 2} if envelope else named, path)
    assert_same(create_model("fusionmamba", weights=str(path)), network)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_authors_safetensors_need_no_header(tmp_path, network, state, prefix):
    path = tmp_path / "net.safetensors"
    save_file({prefix + key: tensor.contiguous() for key, tensor in state.items()}, path)
    assert_same(load_model("fusionmamba", path), network)


def test_old_torch_files_load(tmp_path, network, state):
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert_same(load_model("fusionmamba", tmp_path / "net.pth"), network)


class Trap:
    """Creates a file when something unpickles it."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_authors_files_never_runs(tmp_path, state):
    path, target = tmp_path / "net.pth", tmp_path / "ran"
    torch.save(state | {"trap": Trap(target)}, path)
    torch.load(path, weights_only=False)
    assert target.exists()  # the trap works
    target.unlink()
    with pytest.raises(FusionkitError, match=r"net\.pth: damaged, or more than a plain state dict"):
        load_model("fusionmamba", path)
    assert not target.exists()


def test_whole_pickled_models_are_refused(tmp_path, network):
    torch.save(network, tmp_path / "net.pth")
    with pytest.raises(FusionkitError, match="more than a plain state dict, which is never loaded"):
        load_model("fusionmamba", tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no state dict, but list"),
        (torch.ones(3), "no state dict, but Tensor"),
        ({"epoch": 2, "weights": {}}, r"these are no named tensors: \['epoch', 'weights'\]"),
        ({0: torch.ones(3)}, r"these are no named tensors: \['0'\]"),
        ({}, "holds no encoder of FusionMamba"),
        ({"conv.weight": torch.ones(3)}, "holds no encoder of FusionMamba"),
    ],
)
def test_other_contents_of_authors_files_are_named(tmp_path, content, message):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(FusionkitError, match=rf"net\.pth: .*{message}"):
        load_model("fusionmamba", tmp_path / "net.pth")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 0.999), st.booleans())
def test_truncated_authors_files_are_named(tmp_path, state, share, new):
    path = tmp_path / "net.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(FusionkitError, match=r"net\.pth: "):
        load_model("fusionmamba", path)


def test_keys_that_do_not_fit_authors_files_are_listed(tmp_path, state):
    wrong = {key: tensor for key, tensor in state.items() if key != "final_conv.bias"} | {"more": torch.ones(1)}
    torch.save(wrong, tmp_path / "net.pth")
    with pytest.raises(FusionkitError, match=r"(?s)net\.pth: .*missing: \['final_conv.bias'\].*unexpected: \['more'\]"):
        load_model("fusionmamba", tmp_path / "net.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_models_without_a_reader_of_authors_files_say_so(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(build_model("lightfusionnet").state_dict(), path)
    with pytest.raises(FusionkitError, match="not supported for lightfusionnet, only for fusionmamba"):
        load_model("lightfusionnet", path)


def test_absent_authors_files_are_named():
    with pytest.raises(FusionkitError, match=r"weights not found: nowhere\.pth"):
        load_model("fusionmamba", "nowhere.pth")
