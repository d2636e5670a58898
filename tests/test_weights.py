"""Weights: round trip, strict loading, damaged files."""

import pytest
import torch

from fusionkit import FusionkitError, create_model
from fusionkit.models import build_model
from fusionkit.weights import list_weights, read_weights, save_weights


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
    assert read_weights(path)[0]["model"] == "lightfusionnet"
    assert path.stat().st_size < 200_000
    assert torch.isfinite(model(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16))).all()
