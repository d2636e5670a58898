import pytest
import torch

from fusionkit import FusionkitError
from fusionkit.live import TASKS
from fusionkit.metrics import METRICS
from fusionkit.playground import (
    RULES,
    Setting,
    changes,
    fused_image,
    playground_figure,
    playground_words,
    scores,
    side_by_side,
    sources,
)
from fusionkit.playground_panel import PlaygroundPanel


@pytest.mark.parametrize("task", TASKS)
def test_every_rule_of_every_pair_gives_an_image(task):
    for rule in RULES:
        image = fused_image(Setting(task, rule))
        assert image.dtype == torch.uint8
        assert image.shape == sources(task).a.shape


def test_knobs_do_what_they_say():
    clean = fused_image(Setting()).double()
    assert fused_image(Setting(contrast=0.5)).double().std().item() == pytest.approx(clean.std().item() / 2, rel=0.02)
    veiled = fused_image(Setting(low=64, high=191))
    assert veiled.min() >= 64
    assert veiled.max() <= 191
    noisy = fused_image(Setting(noise=10)).double() - clean
    assert 7 < noisy.std().item() < 11  # black clips a part of it
    assert torch.equal(fused_image(Setting(noise=10)), fused_image(Setting(noise=10)))


def test_copy_of_a_source_is_the_source():
    pair = sources("PET-MRI")
    assert torch.equal(fused_image(Setting("PET-MRI", "first source")), (255 * pair.a).round().byte())


def test_changes_count_improvements_upwards():
    table = changes(Setting(noise=16), "tang")
    assert table.loc["sf", "change"] > 0
    assert table.loc["cc", "change"] < 0
    assert (changes(Setting(), "tang")["change"].dropna() == 0).all()


def test_side_by_side_keeps_what_only_one_has():
    table = side_by_side(Setting(), "tang", "vifb")
    assert list(table) == ["tang", "vifb"]
    assert table.index.tolist() == [name for name in METRICS if name in table.index]
    assert table.isna().any(axis=None)
    assert table.loc["sd", "tang"] == scores(Setting(), "tang")["sd"]


def test_words_count():
    words = playground_words(Setting(noise=16), "tang", "cddfuse")
    assert "tang: " in words
    assert "sf" in words


def test_figure_holds_both_conventions():
    figure = playground_figure(Setting(rule="maximum"), "tang", "vifb")
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert any(title.startswith("tang") for title in titles)
    assert any(title.startswith("vifb") for title in titles)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"task": "PET-CT"}, "did you mean"),
        ({"rule": "maximun"}, "did you mean maximum"),
        ({"noise": 61}, "0 to 60"),
        ({"contrast": 0}, "0.2 to 3"),
        ({"low": 200, "high": 100}, "low must be below high"),
    ],
)
def test_refuses(bad, words):
    with pytest.raises(FusionkitError, match=words):
        Setting(**bad)


def test_panel_follows_its_knobs():
    panel = PlaygroundPanel("tang", "vifb")
    panel.update()
    before = bytes(panel.picture.value)
    assert before
    panel.noise.value = 20
    assert bytes(panel.picture.value) != before
    assert "noise 20" in panel.words.value
    panel.range.value = (100, 100)
    assert "low must be below high" in panel.words.value
