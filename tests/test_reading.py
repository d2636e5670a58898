"""Ways to read an image: distances in closed form, causality of receptive fields, pictures, panels without a kernel."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from fusionkit import reading, reading_figures
from fusionkit.errors import FusionkitError
from fusionkit.figures.style import Picture
from fusionkit.reading import WAYS
from fusionkit.reading_panel import OrderPlayer, ReachExplorer

H, W = 5, 7


@pytest.fixture(scope="module")
def fields():
    return {name: reading.receptive_field(name, 9, draws=1) for name in WAYS}


@pytest.mark.parametrize(
    ("name", "left_right", "up_down", "infrared_visible"),
    [
        ("ss2d", (1, H), (1, W), "one image"),
        ("es2d", None, None, "one image"),
        ("interleave", (2, 2 * H), (2, 2 * W), (1, 1)),
        ("realign_column", (2, 2 * H), (1, 2 * W), (1, H)),
        ("realign_row", (1, H), (1, 2 * W), (W, W * H)),
    ],
)
def test_distances_of_neighbours(name, left_right, up_down, infrared_visible):
    found = {kind: reading.near_and_far(x) for kind, x in reading.neighbour_distances(name, H, W).items()}
    expected = {"left-right": left_right, "up-down": up_down, "infrared-visible": infrared_visible}
    assert found == {kind: ends for kind, ends in expected.items() if ends != "one image"}


def test_distance_table():
    table = reading.distance_table(H, W)
    assert table["steps"].tolist() == [4 * H * W, 4 * 3 * 4, 8 * H * W, 8 * H * W, 8 * H * W]
    assert table.loc["ES2D (FusionMamba)", "left-right"] == "never"
    assert table.loc["interleave (S4Fusion)", "infrared-visible"] == "1"
    assert table.loc["row scan (DIFF-MF)", "infrared-visible"] == "7 to 35"
    assert table.loc["SS2D (VMamba)", "infrared-visible"] == "one image"


def test_interleaving_and_column_scan_share_one_order():
    assert reading.equal_orders("interleave", "realign_column", H, W) == [True, False, False, False]
    assert reading.equal_orders("realign_row", "realign_column", H, W) == [False] * 4


@pytest.mark.parametrize("name", WAYS)
def test_steps_ago_agree_with_a_search(name):
    path = reading.path_of(name, 5, 5)
    expected = np.full(path.modalities * 25, np.inf)
    for order in path.order.tolist():
        before = order[: order.index(12) + 1] if 12 in order else []
        for ago, pixel in enumerate(reversed(before)):
            if pixel >= 0:
                expected[pixel] = min(expected[pixel], ago)
    np.testing.assert_array_equal(reading.steps_ago(name, 5).ravel(), expected)


def test_what_the_centre_sees_of_its_surroundings():
    share = {name: reading.seen_within(name, 9)[1][-1] for name in WAYS}
    assert share["ss2d"] == share["realign_column"] == share["realign_row"] == 1
    assert share["es2d"] == 4 / 24 and share["interleave"] == 48 / 49
    steps, _ = reading.seen_within("es2d", 9)
    assert steps.tolist() == [1, 4, 5, 6]


@pytest.mark.parametrize("name", WAYS)
def test_influence_comes_from_exactly_the_pixels_read_before(fields, name):
    field = fields[name]
    np.testing.assert_array_equal(field > 0, np.isfinite(reading.steps_ago(name, 9)))
    assert field[0, 4, 4] == 1 and np.isfinite(field).all()


def test_same_arguments_give_the_same_field_and_leave_the_random_state(fields):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    np.testing.assert_array_equal(reading.receptive_field("interleave", 9, draws=1), fields["interleave"])
    assert torch.equal(torch.get_rng_state(), before)


def test_large_steps_forget_what_is_far():
    narrow, wide = (reading.receptive_field("ss2d", 15, 1, (delta, delta)) for delta in (1.0, 0.001))
    far = np.hypot(*np.indices((15, 15)) - 7) > 5
    assert narrow[0, far].sum() / narrow.sum() < 0.5 * wide[0, far].sum() / wide.sum()


def test_random_scan_is_a_scan_of_each_order_and_their_sum():
    path = reading.path_of("ss2d", 3, 4)
    image = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    (whole,) = reading.random_scan(path, [image], (0.01, 0.1), seed=1)
    later = image.clone()
    later[..., -1, -1] += 1
    (changed,) = reading.random_scan(path, [later], (0.01, 0.1), seed=1)
    assert whole.shape == image.shape and not torch.equal(whole, changed)
    assert not torch.equal(whole, reading.random_scan(path, [image], (0.01, 0.1), seed=2)[0])


def test_reach_table_adds_up():
    field = np.zeros((2, 7, 7))
    field[0, 3, 3], field[0, 3, 0], field[0, 4, 4], field[1, 3, 3] = 1, 0.25, 0.25, 0.5
    row = reading.reach_table({"interleave": field}).loc["interleave (S4Fusion)"]
    assert row.to_dict() == {
        "pixels seen": "4 of 98",
        "5 x 5 around": "75 %",
        "same row or column": "25 %",
        "other image": "50 %",
    }


def test_profiles_measure_all_ways(monkeypatch):
    monkeypatch.setattr(reading, "FIELDS", dict.fromkeys(reading.FIELDS, (5, 1)))
    assert {name: len(field) for name, field in reading.receptive_fields("smoke").items()} == {
        "ss2d": 1,
        "es2d": 1,
        "interleave": 2,
        "realign_column": 2,
        "realign_row": 2,
    }
    assert list(reading.fields_by_delta("ss2d", "standard")) == [f"delta = {d:g}" for d in reading.FIXED_DELTAS]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reading.path_of("ss3d", 2, 2), "unknown way to read an image 'ss3d'; did you mean ss2d"),
        (lambda: reading.receptive_field("ss2d", 8), "side 8 has no centre"),
        (lambda: reading.receptive_field("ss2d", 9, 0), "0 draws"),
        (lambda: reading.receptive_field("ss2d", 9, 1, (0.1, 0.01)), "0 < first <= second"),
        (lambda: reading.receptive_fields("tiny"), "unknown profile 'tiny'"),
        (lambda: reading_figures.orders_figure(["raster"]), "unknown way"),
    ],
)
def test_bad_values_are_refused(call, words):
    with pytest.raises(FusionkitError, match=words):
        call()


# Pictures


def test_orders_are_drawn_step_by_step():
    figure = reading_figures.orders_figure(["ss2d", "es2d"], 4, 4)
    assert isinstance(figure, Picture) and [axes.get_title() for axes in figure.axes[4:8]] == [*WAYS["es2d"].orders]
    for step in (1, 5):
        axes = reading_figures.orders_figure(["interleave"], 2, 3, step=step).axes[0]
        assert len(axes.collections[0].get_offsets()) == step
        lines = [drawn for drawn in axes.collections if isinstance(drawn, LineCollection)]
        assert sum(len(drawn.get_segments()) for drawn in lines) == 2 * (step - 1)
    assert reading_figures.orders_figure(list(WAYS), 1, 1)


@pytest.mark.parametrize("name", WAYS)
def test_every_pixel_has_a_place_of_its_own(name):
    path = reading.path_of(name, 3, 4)
    assert len(np.unique(reading_figures.places(path), axis=0)) == path.modalities * 12


def test_pictures(fields):
    figures = [
        reading_figures.distance_figure(9),
        reading_figures.steps_figure(9),
        reading_figures.reach_figure(fields),
        reading_figures.reach_figure({"delta = 1": fields["ss2d"]}),
    ]
    assert all(isinstance(figure, Picture) for figure in figures)
    for figure in figures:
        figure.draw_without_rendering()
    assert sum(text.get_text() == "one image" for axes in figures[2].axes for text in axes.texts) == 2
    shown = figures[1].axes[1].images[0].get_array()
    assert shown.count() == np.isfinite(reading.steps_ago("es2d", 9)).sum() - 1


# Panels


def test_player_plays_each_way():
    player = OrderPlayer(4, 4)
    assert player.play.max == 16 and not player.picture.value
    player.play.value = 5
    assert player.step.value == 5 and bytes(player.picture.value[:4]) == b"\x89PNG"
    first = player.picture.value
    player.way.value = "es2d"
    assert player.step.value == player.play.value == 1 and player.play.max == player.step.max == 4
    assert player.picture.value != first


def test_explorer_redraws():
    explorer = ReachExplorer(side=5)
    assert not explorer.picture.value
    explorer.delta.value = 0.1
    first = explorer.picture.value
    assert bytes(first[:4]) == b"\x89PNG"
    explorer.way.value = "realign_row"
    assert explorer.picture.value != first
