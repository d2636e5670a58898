"""The training loop: killed and resumed equals uninterrupted, seeds decide, errors leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from fusionkit import FusionkitError, create_model, losses
from fusionkit.files import sha256
from fusionkit.recipes import load_recipe
from fusionkit.tensors import read_tensors
from fusionkit.training import train

TINY = {"data": ["phantom_pet_mri/test"], "crop": 32, "epochs": 6, "options": {"width": 4}}
SCRIPT = """
import sys
from pathlib import Path
import torch
import fusionkit.training
from fusionkit.recipes import load_recipe
torch.set_num_threads(1)
fusionkit.training.CHECKPOINT_SECONDS = 0.0
fusionkit.training.train(load_recipe("lightfusionnet/pet_mri", **{changes}), Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(**changes):
    return load_recipe("lightfusionnet/pet_mri", **{**TINY, **changes})


def test_same_seed_same_weights_and_another_seed_other_weights(tmp_path):
    first = read_tensors(train(recipe(epochs=1), tmp_path / "1"))[1]
    second = read_tensors(train(recipe(epochs=1), tmp_path / "2"))[1]
    third = read_tensors(train(recipe(epochs=1, seed=1), tmp_path / "3"))[1]
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], third[k]) for k in first)


def test_killed_anywhere_and_resumed_ends_with_the_same_weights(tmp_path):
    """kill -9 as soon as each further checkpoint appears, then let it finish."""
    changes = {**TINY, "epochs": 40}
    whole = read_tensors(train(load_recipe("lightfusionnet/pet_mri", **changes), tmp_path / "whole"))[1]
    command = [sys.executable, "-c", SCRIPT.format(changes=changes), str(tmp_path / "cut")]
    environment = {**os.environ, "FUSIONKIT_NO_PROGRESS": "1", "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "cut" / ".pet_mri.checkpoint"
    kills = 0
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    step = torch.load(checkpoint, weights_only=True)["done"]["step"]
    assert 0 < step < 80
    subprocess.run(command, env=environment, check=True)
    resumed = read_tensors(tmp_path / "cut" / "pet_mri.safetensors")[1]
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert not checkpoint.exists()
    curves = [pd.read_csv(tmp_path / kind / "pet_mri.csv") for kind in ("whole", "cut")]
    pd.testing.assert_frame_equal(*curves)


def test_it_learns_and_writes_card_and_curve(tmp_path):
    path = train(recipe(lr=1e-2, epochs=40), tmp_path)
    curve = pd.read_csv(path.with_suffix(".csv"))
    assert len(curve) == 40
    assert curve["total"].iloc[-1] < 0.7 * curve["total"].iloc[0]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["steps"] == 80
    assert card["recipe"]["options"] == {"width": 4}
    assert card["data"].keys() == {"phantom_pet_mri/test"}
    model = create_model("lightfusionnet", weights=str(path))
    assert model(torch.rand(1, 1, 20, 20), torch.rand(1, 1, 20, 20)).shape == (1, 1, 20, 20)


def test_finished_run_is_not_trained_again(tmp_path):
    path = train(recipe(epochs=1), tmp_path)
    before = path.stat().st_mtime_ns
    train(recipe(epochs=1), tmp_path)
    assert path.stat().st_mtime_ns == before


def test_mixed_data_flips_and_clipping(tmp_path):
    mixed = recipe(
        epochs=1, data=["phantom_pet_mri/test", "phantom_ct_mri/test"], flips=True, clip=1.0, optimizer="adamw"
    )
    card = json.loads(train(mixed, tmp_path).with_suffix(".json").read_text())
    assert card["pairs"] == 16


def test_checkpoint_of_another_recipe_is_refused(tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(changes={**TINY, "epochs": 500}), str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "FUSIONKIT_NO_PROGRESS": "1", "OMP_NUM_THREADS": "1"})
    while not (tmp_path / ".pet_mri.checkpoint").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    with pytest.raises(FusionkitError, match="another recipe"):
        train(recipe(epochs=7), tmp_path)


def test_a_pair_alone_in_its_batch_may_be_smaller_than_the_crop(tmp_path):
    assert train(recipe(crop=300, batch=1, epochs=1), tmp_path).exists()


def test_bad_recipes_say_what_is_wrong(tmp_path):
    with pytest.raises(FusionkitError, match="smaller than the crop of 300"):
        train(recipe(crop=300), tmp_path)
    with pytest.raises(FusionkitError, match="did you mean adam"):
        train(recipe(optimizer="adamm"), tmp_path)
    with pytest.raises(FusionkitError, match="not finite in 10 iterations"):
        train(recipe(lr=1e30), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_sample_without_a_finite_gradient_is_passed_over(tmp_path, monkeypatch, clip):
    calls = []

    def preset(name, weights):
        loss = losses.preset(name, weights)

        class Bad(type(loss)):
            def __call__(self, fused, a, b):
                calls.append(len(fused))
                values = super().__call__(fused, a, b)
                return {key: value * float("nan") for key, value in values.items()} if len(calls) == 3 else values

        return Bad(loss.weights)

    monkeypatch.setattr("fusionkit.training.losses", SimpleNamespace(preset=preset))
    path = train(recipe(epochs=3, clip=clip), tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["steps"], card["skipped"]) == (6, 1) and len(calls) == 6
    assert all(tensor.isfinite().all() for tensor in read_tensors(path)[1].values())
    assert pd.read_csv(path.with_suffix(".csv"))["total"].notna().all()


def test_two_processes_train_one_model_under_torchrun(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(changes={**TINY, "epochs": 2}))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script), str(tmp_path)]
    environment = {**os.environ, "FUSIONKIT_NO_PROGRESS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    card = json.loads((tmp_path / "pet_mri.json").read_text())
    assert card["processes"] == 2
    assert card["steps"] == 2  # 8 pairs, 2 processes, batch 4: one step an epoch


def test_training_can_start_from_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionkit.paths.results_dir", lambda: tmp_path)
    first = train(recipe(epochs=1))
    assert first == tmp_path / "weights" / "lightfusionnet" / "pet_mri.safetensors"
    begun = first.rename(first.with_stem("begun"))
    path = train(recipe(epochs=1, lr=0.0, init="begun"))
    one, two = (read_tensors(file)[1] for file in (begun, path))
    learned = [name for name in one if name.endswith(("weight", "bias"))]
    assert learned and all(torch.equal(one[name], two[name]) for name in learned)
    assert json.loads(path.with_suffix(".json").read_text())["init_sha256"] == sha256(begun)
    with pytest.raises(FusionkitError, match="begun does not fit the options"):
        train(recipe(options={"width": 8}, init="begun"), tmp_path / "other")


def test_an_earlier_phase_that_is_not_at_hand_is_trained_first(tmp_path, monkeypatch):
    phases = {"lightfusionnet/missing_phase": replace(recipe(epochs=1), run="missing_phase")}
    monkeypatch.setattr("fusionkit.training.load_recipe", lambda name: phases[name])
    path = train(recipe(epochs=1, init="missing_phase"), tmp_path)
    begun = tmp_path / "missing_phase.safetensors"
    assert json.loads(path.with_suffix(".json").read_text())["init_sha256"] == sha256(begun)
    assert json.loads(begun.with_suffix(".json").read_text())["recipe"]["init"] == ""
