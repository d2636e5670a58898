"""Released weights of baselines: found or missing, right or wrong, and what the rest of the kit makes of either."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from fusionkit import FusionkitError, cli, create_model, measure, paths, verify
from fusionkit.fingerprint import _hash_of, model_hash
from fusionkit.models import MODELS
from fusionkit.models.baselines import BASELINES
from fusionkit.papers import Column, Panel, Row
from fusionkit.provenance import config_hash
from fusionkit.released import list_released
from fusionkit.tables import build
from fusionkit.tables.costs import cost_of

RELEASED = [f"{name}:{release}" for name in BASELINES for release in list_released(name)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder where released weights are looked for."""
    monkeypatch.delenv("FUSIONKIT_WEIGHTS", raising=False)
    monkeypatch.setattr(paths, "data_dir", lambda: tmp_path)
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def authors(golden, monkeypatch):
    """Return the folder of the authors' weights, which is where they are looked for."""
    monkeypatch.setenv("FUSIONKIT_WEIGHTS", str(golden / "baselines" / "weights"))
    return golden / "baselines" / "weights"


def arrays(file):
    return dict(np.load(file))


def tensors(file):
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays(file).items()}


@pytest.mark.parametrize("method", RELEASED)
def test_every_release_is_a_method(authors, method):
    assert measure.is_here(method)
    model = measure.load_method(method)
    assert not model.training
    assert model(*torch.rand(2, 1, 1, 16, 17)).shape == (1, 1, 16, 17)


def test_the_bare_name_means_the_first_release(authors):
    a, b = torch.rand(2, 1, 1, 20, 20)
    expected = {"ifcnn": "max", "sdnet": "ir_vis", "densefuse": "grey", "u2fusion": "ir_vis"}
    for name, release in expected.items():
        assert torch.equal(measure.load_method(name)(a, b), measure.load_method(f"{name}:{release}")(a, b))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_any_kind_of_file_with_the_authors_tensors_counts(folder, golden, suffix, prefix):
    state = {f"{prefix}{key}": x for key, x in tensors(golden / "baselines" / "weights" / "reconet.npz").items()}
    file = folder / f"reconet{suffix}"
    if suffix == ".npz":
        np.savez(file, **{key: x.numpy() for key, x in state.items()})
    elif suffix == ".pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    assert measure.is_here("reconet")
    by_name, by_path = measure.load_method("reconet"), create_model("reconet", weights=str(file))
    a, b = torch.rand(2, 1, 1, 20, 20)
    assert torch.equal(by_name(a, b), by_path(a, b))


@pytest.mark.parametrize("method", RELEASED)
def test_missing_weights_say_which_file_from_where_and_whither(folder, method):
    name, _, release = method.partition(":")
    published, file = MODELS[name].published, list_released(name)[release].file
    assert not measure.is_here(method)
    assert measure.awaits_weights(method)
    with pytest.raises(FusionkitError) as error:
        measure.load_method(method)
    text = str(error.value)
    assert "\n" not in text
    for part in ("weights missing", f"{file}.safetensors", str(folder), published.url, published.licence):
        assert part in text


def test_the_weights_of_another_release_are_recognised(folder, golden):
    weights = golden / "baselines" / "weights"
    (folder / "ifcnn_max.npz").write_bytes((weights / "ifcnn_mean.npz").read_bytes())
    with pytest.raises(FusionkitError, match=r"ifcnn_max\.npz: holds the weights ifcnn_mean, not ifcnn_max"):
        measure.load_method("ifcnn")
    rule = create_model("ifcnn", weights=str(folder / "ifcnn_max.npz")).fusion
    assert rule(torch.tensor(1.0), torch.tensor(3.0)) == 2  # by path, a known release brings its options


def test_other_values_than_the_authors_are_refused_by_name_but_load_by_path(folder, golden):
    state = arrays(golden / "baselines" / "weights" / "datfuse.npz")
    state["fem.conv.bias"] = state["fem.conv.bias"] + 1e-3
    np.savez(folder / "datfuse.npz", **state)
    with pytest.raises(FusionkitError, match=r"fits datfuse, but .* not the weights .*datfuse:PATH"):
        measure.load_method("datfuse")
    assert measure.load_method(f"datfuse:{folder / 'datfuse.npz'}").published is BASELINES["datfuse"].published


def test_keys_that_do_not_fit_are_listed(folder, golden):
    state = arrays(golden / "baselines" / "weights" / "datfuse.npz")
    state["more"] = state.pop("fem.conv.bias")
    state["cam.fc.0.bias"] = state["cam.fc.0.bias"][:2]
    np.savez(folder / "datfuse.npz", **state)
    listed = r"(?s)missing: \['fem.conv.bias'\].*unexpected: \['more'\].*\['cam.fc.0.bias \(2,\) for \(4,\)'\]"
    with pytest.raises(FusionkitError, match=listed):
        measure.load_method("datfuse")


def test_grey_weights_do_not_pass_for_colour(folder, golden):
    weights = golden / "baselines" / "weights"
    (folder / "densefuse_rgb.npz").write_bytes((weights / "densefuse_gray.npz").read_bytes())
    with pytest.raises(FusionkitError, match="holds the weights densefuse_gray, not densefuse_rgb"):
        measure.load_method("densefuse:rgb")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_damaged_arrays_are_named(folder, content):
    (folder / "datfuse.npz").write_bytes(content)
    with pytest.raises(FusionkitError, match=r"datfuse\.npz: damaged"):
        measure.load_method("datfuse")


def test_arrays_of_objects_are_never_unpickled(folder):
    np.savez(folder / "datfuse.npz", **{"fem.conv.bias": np.array([{}], dtype=object)})
    with pytest.raises(FusionkitError, match=r"datfuse\.npz: .*more than arrays of numbers"):
        measure.load_method("datfuse")


def test_unknown_releases_are_named():
    with pytest.raises(FusionkitError, match="did you mean medical"):
        measure.load_method("sdnet:medicale")


# What the rest of the kit makes of it


@pytest.fixture
def on_file(tmp_path, monkeypatch):
    """Return the measurement of a baseline that is on file, made with weights that are not here."""
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path / "results")
    monkeypatch.setattr(measure, "dataset_hash", lambda *_: "images")  # phantoms need a while to draw
    job = ("datfuse", "phantom_ct_mri", "test")
    inputs = measure._inputs(*job)
    values = pd.DataFrame({"sf@cddfuse": [1.0, 3.0]}, index=pd.Index(["000", "001"], name="pair"))
    done = measure.Measurement(*job, values, {**inputs, "key": config_hash(inputs)})
    measure.write_measurement(done)
    return done


@pytest.fixture
def panel():
    columns = {
        "SF": Column("SF", "higher", metric="sf", convention="cddfuse"),
        "Param": Column("Param", "lower", cost="parameters_m"),
    }
    published = pd.DataFrame({"SF": ["9", "8"], "Param": ["0.01", "0.66"]}, index=["DATFuse", "U2Fusion"])
    rows = {label: Row(label, method=label.lower()) for label in published.index}
    return Panel("net", "table1", "table1", "", published, columns, rows, "phantom_ct_mri", "test")


def test_a_measurement_stays_shown_where_its_weights_are_missing(folder, on_file, panel):
    assert "datfuse" in measure.panel_methods(panel)
    assert "u2fusion" not in measure.panel_methods(panel)
    table = build(panel)
    assert table.cells["DATFuse", "SF"].mean == 2
    assert table.cells["U2Fusion", "SF"].mean is None
    assert "weights missing" in str(table.cells["U2Fusion", "SF"])
    again = measure.measure(on_file.method, on_file.dataset, on_file.split)
    pd.testing.assert_frame_equal(again.values, on_file.values)
    assert verify.verify()[["state", "why"]].values.tolist() == [["skipped", "weights missing"]]
    assert (on_file.method, on_file.dataset, on_file.split) not in measure.standing_jobs()


def test_measurements_record_the_digest_of_the_release(on_file):
    assert on_file.provenance["weights_sha256"] == list_released("datfuse")["authors"].digest


def test_costs_need_no_weights(folder):
    assert cost_of("densefuse:rgb", "parameters_m", (64, 64)) == pytest.approx(0.074771)
    assert cost_of("densefuse", "parameters_m", (64, 64)) == pytest.approx(0.074193)


def test_the_hash_of_a_baseline_covers_its_file_and_what_it_imports():
    assert len({model_hash(name) for name in BASELINES}) == len(BASELINES)
    assert len({_hash_of([network], "models") for network in BASELINES.values()}) == len(BASELINES)


def command(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["fusionkit", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_lists_models(folder, golden, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("fusionkit.paths.results_dir", lambda: tmp_path)  # no baselines of our own training
    (folder / "sdnet_med.npz").write_bytes((golden / "baselines" / "weights" / "sdnet_med.npz").read_bytes())
    code, out, _ = command(capsys, monkeypatch, "models")
    assert code == 0
    assert re.search(r"^sdnet +infrared-visible; medical +1 of 2 released +MIT +67,091", out, re.M)
    assert re.search(r"^datfuse +infrared-visible +missing +none stated +10,760", out, re.M)
    code, out, _ = command(capsys, monkeypatch, "models", "sdnet")
    assert re.search(rf"sdnet:medical +here: {folder}/sdnet_med", out)
    assert "sdnet:ir_vis  missing" in out
    assert BASELINES["sdnet"].published.url in out


def test_the_command_fuses_with_a_baseline(folder, golden, tmp_path, capsys, monkeypatch):
    from PIL import Image

    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 30), np.uint8)).save(tmp_path / f"{name}.png")
    arguments = ("fuse", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "o.png", "--model", "u2fusion")
    code, _, error = command(capsys, monkeypatch, *arguments)
    assert code == 2
    assert error.startswith("error: weights missing: u2fusion:ir_vis needs u2fusion.safetensors")
    monkeypatch.setenv("FUSIONKIT_WEIGHTS", str(golden / "baselines" / "weights"))
    assert command(capsys, monkeypatch, *arguments)[0] == 0
    assert Image.open(tmp_path / "o.png").size == (30, 24)
