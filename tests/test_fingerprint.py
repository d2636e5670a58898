"""What a measurement depends on: code and settings, not comments, and no loss that it does not use."""

from functools import partial
from pathlib import Path

import pytest

from fusionkit import losses
from fusionkit.fingerprint import loss_hash, metrics_hash, model_hash
from fusionkit.losses import gradient
from fusionkit.models import MODELS, ModelEntry
from fusionkit.models.oracle import PixelOracle


@pytest.fixture(autouse=True)
def _fresh():
    for function in (metrics_hash, model_hash, loss_hash):
        function.cache_clear()
    yield
    for function in (metrics_hash, model_hash, loss_hash):
        function.cache_clear()


def test_every_model_and_loss_has_a_hash_of_its_own():
    assert len({loss_hash(preset) for preset in losses.PRESETS}) == len(losses.PRESETS)
    assert model_hash("fusionmamba") != model_hash("s4fusion")
    assert all(model_hash(model) for model in MODELS)


def test_settings_of_a_model_count(monkeypatch):
    first = model_hash("oracle_diffmf")
    longer = ModelEntry(partial(PixelOracle, "diffmf", steps=999), "", "", trained=False)
    monkeypatch.setitem(MODELS, "oracle_diffmf", longer)
    model_hash.cache_clear()
    assert model_hash("oracle_diffmf") != first


def test_weights_of_a_loss_count(monkeypatch):
    first = loss_hash("diffmf")
    monkeypatch.setitem(losses.PRESETS, "diffmf", losses.preset("diffmf", {"gradient_max": 1.0}))
    loss_hash.cache_clear()
    assert loss_hash("diffmf") != first


def edited(monkeypatch, file, edit):
    """Let the hash read another text where it would read a file of the package."""
    path = type(file)
    real, text = path.read_text, edit(file.read_text(encoding="utf-8"))
    monkeypatch.setattr(path, "read_text", lambda self, *a, **k: text if self == file else real(self, *a, **k))


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (lambda text: text + "\n# a remark\n", True),
        (lambda text: text.replace('"""Return', '"""Give back'), True),
        (lambda text: text.replace("gx.abs() + gy.abs()", "gx.abs() - gy.abs()"), False),
    ],
)
def test_code_counts_and_comments_do_not_also_where_only_imported(monkeypatch, edit, same):
    first, other = loss_hash("s4fusion_no_perception"), loss_hash("lightfusionnet")
    edited(monkeypatch, Path(gradient.__file__), edit)
    loss_hash.cache_clear()
    assert (loss_hash("s4fusion_no_perception") == first) is same
    assert (loss_hash("lightfusionnet") == other) is same
    assert metrics_hash()
