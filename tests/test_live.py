"""Live training: the generator, its pictures, and the panel driven without a kernel."""

import asyncio

import pytest
import torch

from fusionkit import live
from fusionkit.errors import FusionkitError
from fusionkit.figures.style import Picture
from fusionkit.live_panel import LivePanel, channel_browser


@pytest.fixture(scope="module")
def run():
    return live.train_to_end("CT-MRI", width=4, steps=12)


def test_snapshots_come_regularly_and_at_the_end(run):
    assert [snapshot.step for snapshot in run.snapshots] == [0, 5, 10, 12]
    assert run.snapshots[-1].fused.shape == (1, live.SIDE, live.SIDE)
    assert list(run.curve) == [*live.PAPER_WEIGHTS, "total"]
    assert run.curve["total"].iloc[-1] < run.curve["total"].iloc[0]
    weighted = run.curve[list(live.PAPER_WEIGHTS)].sum(axis=1)
    assert weighted.tolist() == pytest.approx(run.curve["total"].tolist(), rel=1e-5)


def test_same_arguments_give_the_same_training_and_leave_the_random_state(run):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = live.train_to_end("CT-MRI", width=4, steps=12)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again.snapshots[-1].fused, run.snapshots[-1].fused)


def test_every_task_trains():
    for task in live.TASKS:
        last = list(live.train_live(task, live.PAPER_WEIGHTS, width=2, steps=1))[-1]
        assert last.step == 1 and 0 <= float(last.fused.min()) <= float(last.fused.max()) <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "PET-MR"}, "did you mean|PET-MRI"),
        ({"weights": {"intensity_max": 0.0}}, "not all 0"),
        ({"weights": {"intensity_max": -1.0}}, "0 or more"),
        ({"weights": {"nothing": 1.0}}, "loss term"),
        ({"width": 0}, "width 0"),
        ({"steps": 0}, "0 steps"),
    ],
)
def test_bad_values_are_refused(change, words):
    arguments = {"task": "PET-MRI", "weights": live.PAPER_WEIGHTS, "width": 4, "steps": 2} | change
    with pytest.raises(FusionkitError, match=words):
        list(live.train_live(**arguments))


def test_pictures(run):
    model = run.snapshots[-1].model
    figures = [
        live.live_figure(run),
        live.comparison_figure({"one": run, "two": run}),
        live.maps_figure(model, run.task),
        live.maps_figure(model, run.task, channel=2),
    ]
    assert all(isinstance(figure, Picture) for figure in figures)
    assert [axes.get_title() for axes in figures[1].axes] == ["plain maximum", "one", "two"]
    assert live.attention_maps(model, run.task)["attention_a"].shape == (4, live.SIDE, live.SIDE)
    with pytest.raises(FusionkitError, match="no snapshot"):
        live.live_figure(live.History("CT-MRI", live.PAPER_WEIGHTS))


def test_words(run):
    assert live.progress_words(run).startswith("CT-MRI, 12 steps: the loss on a scene never trained on fell")
    assert live.attention_words(run.snapshots[-1].model, run.task).startswith("The attention ")
    rules = live.rule_losses("CT-MRI", live.PAPER_WEIGHTS)
    assert 0 < rules["maximum"] < rules["average"]


def small_panel():
    panel = LivePanel(width=4, steps=50)
    panel.task.value = "CT-MRI"
    panel.steps.min, panel.steps.value = 5, 10
    return panel


def test_panel_trains_to_the_end_and_shows_maps():
    panel = small_panel()
    asyncio.run(panel.train())
    assert panel.history.snapshots[-1].step == 10 and panel.button.description == "Train"
    assert bytes(panel.picture.value[:4]) == bytes(panel.maps.value[:4]) == b"\x89PNG"
    assert panel.status.value.startswith("step 10 of 10")


def test_button_starts_and_stops():
    panel = small_panel()

    async def press_twice():
        panel.button.click()
        await asyncio.sleep(0)
        assert panel.button.description == "Stop"
        panel.button.click()
        await panel._running

    asyncio.run(press_twice())
    assert panel.status.value == "stopped at step 0" and panel.button.description == "Train"


def test_panel_says_what_is_wrong():
    panel = small_panel()
    for slider in panel.weights.values():
        slider.value = 0
    asyncio.run(panel.train())
    assert "not all 0" in panel.status.value


def test_browser_redraws(run):
    slider, picture = channel_browser(run).children
    assert slider.max == 3 and not picture.value
    slider.value = 1
    assert bytes(picture.value[:4]) == b"\x89PNG"
