"""Measurements: what is measured, when it is measured again, and agreement with values found elsewhere."""

import dataclasses
import json

import pandas as pd
import pytest

from fusionkit import FusionkitError, measure, paths, verify
from fusionkit.data.pairs import load_pair
from fusionkit.papers import get_panel


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path)
    return tmp_path


def test_a_phantom_stands_in_for_its_task():
    wanted = measure.quantities("phantom_pet_mri")
    assert wanted == measure.quantities("harvard_pet_mri")
    assert ("sf", "cddfuse-uint8") in wanted
    assert ("sf", "cddfuse") in wanted


def test_what_a_record_asks_for_of_some_methods_is_measured_of_them_and_of_their_seeds_only(monkeypatch):
    asked = measure.Besides("phantom_ct_mri", "test", ("maximum", "diffmf:x"), "a test", like="table1_tno")
    diffmf = dataclasses.replace(measure.load_paper("diffmf"), besides=(asked,))
    load = measure.load_paper
    monkeypatch.setattr(measure, "load_paper", lambda paper: diffmf if paper == "diffmf" else load(paper))
    plain = measure.quantities("phantom_ct_mri", "average")
    assert plain == measure.quantities("phantom_ct_mri") == measure.quantities("phantom_ct_mri", "diffmf:y")
    assert ("sd", "cddfuse+stretch") not in plain
    more = {*plain, ("sd", "cddfuse+stretch")}
    assert all(more <= {*measure.quantities("phantom_ct_mri", m)} for m in ("maximum", "diffmf:x", "diffmf:x-seed2"))
    pair = load_pair("phantom_ct_mri", "test", "000")
    one, two = (measure.measure_pair(measure.fuser(m), pair, m) for m in ("maximum", "average"))
    assert {*one} - {*two} >= {"sd@cddfuse+stretch", "loss:diffmf:total"}


def test_cached_until_an_input_changes(results):
    first = measure.measure("maximum", "phantom_ct_mri", "test")
    file = results / "measured" / "phantom_ct_mri" / "test" / "maximum.csv"
    stamp = file.stat().st_mtime_ns
    again = measure.measure("maximum", "phantom_ct_mri", "test").values
    pd.testing.assert_frame_equal(again, first.values, rtol=1e-8)
    assert file.stat().st_mtime_ns == stamp
    record = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps(record | {"key": "of other inputs"}))
    measure.measure("maximum", "phantom_ct_mri", "test")
    assert file.stat().st_mtime_ns > stamp


def test_maximum_has_no_intensity_loss(results):
    values = measure.compute("maximum", "phantom_pet_mri", "test", ["000", "001"]).values
    assert len(values) == 2
    assert (values["loss:lightfusionnet:intensity_max"] == 0).all()


def test_verify_notices_a_changed_number(results):
    measure.measure("average", "phantom_ct_mri", "test")
    assert verify.verify()["state"].tolist() == ["agrees"]
    file = results / "measured" / "phantom_ct_mri" / "test" / "average.csv"
    table = pd.read_csv(file, dtype={"pair": str})
    table.loc[3, "en@cddfuse"] *= 1.1
    table.to_csv(file, index=False)
    assert verify.verify()["state"].tolist() == ["differs"]
    assert verify.verify(pairs=8)["state"].tolist() == ["differs"]
    assert verify.verify(pairs=2)["state"].tolist() == ["agrees"]  # of the first and the last pair


def test_unknown_or_untrained_methods():
    with pytest.raises(FusionkitError, match="needs trained weights"):
        measure.load_method("lightfusionnet")
    with pytest.raises(FusionkitError, match="did you mean maximum"):
        measure.load_method("maximun")
    with pytest.raises(FusionkitError, match="unknown weights of lightfusionnet"):
        measure.load_method("lightfusionnet:nothing")


def test_absent_data_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    with pytest.raises(FusionkitError, match="harvard_pet_mri/test is not"):
        measure.compute("maximum", "harvard_pet_mri", "test")


def test_panel_methods_have_context_rows():
    methods = measure.panel_methods(get_panel("lightfusionnet/table1a"))
    assert {"average", "maximum", "oracle_lightfusionnet"} <= set(methods)


def test_maximum_on_real_pairs_gives_the_values_of_the_audit(real_data):
    """Means found independently with the original toolboxes, to their printed digits."""
    values = measure.compute("maximum", "harvard_pet_mri", "test").values.mean()
    expected = {"sf@cddfuse": 27.33, "ag@cddfuse": 7.20, "sf@cddfuse-uint8": 7.526, "mi@cddfuse": 3.036}
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=0.006), name
