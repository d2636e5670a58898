import itertools
import subprocess
import sys
import zlib

import numpy as np
import pytest
from scipy import ndimage

from fusionkit.data.phantoms import TASKS, Phantom, phantom
from fusionkit.data.phantoms.fields import colourise, disc, waves
from fusionkit.errors import FusionkitError

COLOUR = {"ct-mri": "", "pet-mri": "a", "spect-mri": "a", "ir-vis": "b", "gfp-pc": "a"}
BRAINS = ("ct-mri", "pet-mri", "spect-mri")
BY_CHANCE = {"lesion", "person in smoke"}


def grey(image: np.ndarray) -> np.ndarray:
    return image.astype(float) if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114])


def where(pair: Phantom, *names: str) -> np.ndarray:
    return np.isin(pair.labels, [pair.label_names.index(name) for name in names])


def inner(mask: np.ndarray, by: int = 2) -> np.ndarray:
    return ndimage.binary_erosion(mask, iterations=by)


def first_with(task: str, label: str) -> Phantom:
    pairs = (phantom(task, index) for index in range(20))
    return next(pair for pair in pairs if inner(where(pair, label)).sum() > 50)


@pytest.mark.parametrize("task", TASKS)
def test_same_arguments_give_same_bytes(task):
    one, two = phantom(task, 3, 64), phantom(task, 3, (64, 64))
    for name in ("a", "b", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_another_process_draws_the_same():
    code = (
        "import zlib; from fusionkit.data.phantoms import TASKS, phantom\n"
        "for t in TASKS: p = phantom(t, 1, 48); print(zlib.crc32(p.a.tobytes() + p.b.tobytes()))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    pairs = [phantom(task, 1, 48) for task in TASKS]
    assert [int(line) for line in there.split()] == [zlib.crc32(p.a.tobytes() + p.b.tobytes()) for p in pairs]


@pytest.mark.parametrize("task", TASKS)
def test_different_indices_differ(task):
    for one, two in itertools.combinations([phantom(task, index, 64) for index in range(4)], 2):
        assert (one.labels != two.labels).mean() > 0.02
        assert np.abs(grey(one.a) - grey(two.a)).mean() > 2
        assert np.abs(grey(one.b) - grey(two.b)).mean() > 2


def test_the_three_brain_tasks_show_different_heads():
    one, two, three = (phantom(task, 0, 64).labels for task in BRAINS)
    assert (one != two).any() and (two != three).any() and (one != three).any()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [16, 33, (17, 64), (120, 41), (16, 200), (256, 256)])
def test_shapes_and_types(task, size):
    shape = (size, size) if isinstance(size, int) else size
    pair = phantom(task, 0, size)
    assert (pair.task, pair.index) == (task, 0)
    assert pair.labels.shape == shape and pair.labels.dtype == np.uint8
    assert pair.labels.max() < len(pair.label_names)
    for side in ("a", "b"):
        image = getattr(pair, side)
        assert image.dtype == np.uint8
        assert image.shape == ((*shape, 3) if side in COLOUR[task] else shape)
        assert np.ptp(image) > 60


@pytest.mark.parametrize("task", TASKS)
def test_all_promised_labels_present(task):
    optional = set()
    for index in range(8):
        pair = phantom(task, index, 96)
        present = {pair.label_names[k] for k in np.unique(pair.labels)}
        assert set(pair.label_names) - present <= BY_CHANCE
        optional |= present & BY_CHANCE
    assert optional == set(pair.label_names) & BY_CHANCE


@pytest.mark.parametrize("task", TASKS)
def test_the_scene_does_not_depend_on_the_size(task):
    small, large = phantom(task, 2, 64), phantom(task, 2, 256)
    assert (small.labels == large.labels[2::4, 2::4]).mean() > 0.85
    block = grey(large.b).reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert np.corrcoef(block.ravel(), grey(small.b).ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    ("task", "low", "high"),
    [
        ("ct-mri", 0.0, 0.5),
        ("pet-mri", 0.3, 0.9),
        ("spect-mri", 0.4, 0.95),
        ("ir-vis", -0.75, 0.5),
        ("gfp-pc", -0.35, 0.2),
    ],
)
def test_modalities_are_related_but_far_from_equal(task, low, high):
    for index in range(6):
        pair = phantom(task, index, 128)
        assert low < np.corrcoef(grey(pair.a).ravel(), grey(pair.b).ravel())[0, 1] < high


@pytest.mark.parametrize("index", range(3))
def test_ct_bone_is_brightest_and_soft_tissue_flat(index):
    pair = phantom("ct-mri", index)
    mean = {name: pair.a[inner(where(pair, name), 1)].mean() for name in pair.label_names[:8]}
    assert mean["skull"] > 250 and max(v for k, v in mean.items() if k != "skull") < 110
    assert mean["background"] < 1
    assert abs(mean["grey matter"] - mean["white matter"]) < 30
    assert mean["ventricles"] < mean["white matter"] < mean["grey matter"]


@pytest.mark.parametrize("index", range(4))
def test_mr_shows_soft_tissue_and_no_bone(index):
    pair = phantom("ct-mri", index)
    mean = {name: pair.b[inner(where(pair, name), 1)].mean() for name in pair.label_names[:8]}
    assert mean["skull"] < 0.5 * min(mean["scalp"], mean["grey matter"], mean["white matter"])
    assert abs(mean["grey matter"] - mean["white matter"]) > 20
    assert 0 < mean["background"] < 20  # the floor of Rician noise


@pytest.mark.parametrize("task", ["pet-mri", "spect-mri"])
def test_tracer_prefers_grey_matter(task):
    for index in range(3):
        pair = phantom(task, index)
        red = pair.a[..., 0].astype(float)
        nuclei, white = (inner(where(pair, n)) for n in ("deep nuclei", "white matter"))
        assert red[where(pair, "grey matter")].mean() > 1.3 * red[white].mean()
        assert red[nuclei].mean() > 1.3 * red[white].mean()
        assert pair.a[where(pair, "background")].mean() < 15


def test_pet_is_sharper_than_spect():
    def roughness(task):
        images = [grey(phantom(task, index).a) for index in range(3)]
        return np.mean([ndimage.gaussian_gradient_magnitude(g, 1).mean() / g.std() for g in images])

    assert roughness("pet-mri") > 1.3 * roughness("spect-mri")


def test_lesions_are_hot_or_cold():
    kinds = set()
    for index in range(16):
        pair = phantom("pet-mri", index)
        spot = inner(where(pair, "lesion"), 4)
        if spot.sum() > 30:
            # This display paints high uptake red and low uptake blue.
            kinds.add("hot" if pair.a[spot][:, 0].mean() > pair.a[spot][:, 2].mean() + 80 else "cold")
    assert kinds == {"hot", "cold"}


@pytest.mark.parametrize("index", range(6))
def test_people_are_warmer_than_what_surrounds_them(index):
    pair = phantom("ir-vis", index)
    people = inner(where(pair, "person", "person in smoke"), 1)
    still = where(pair, "sky", "building", "window", "pavement", "road", "tree", "sign")
    assert pair.a[people].mean() > pair.a[inner(still)].mean() + 50
    assert np.quantile(pair.a[people], 0.1) > np.quantile(pair.a[inner(still)], 0.9)
    sky, road = pair.a[inner(where(pair, "sky"))], pair.a[inner(where(pair, "road"))]
    assert sky.mean() < road.mean()


def test_smoke_hides_people_from_the_visible_camera_only():
    pair = first_with("ir-vis", "person in smoke")
    person = inner(where(pair, "person in smoke"), 1)
    near = ndimage.binary_dilation(person, iterations=8)
    around = near & ~ndimage.binary_dilation(where(pair, "person", "person in smoke", "vehicle"), iterations=2)
    visible = grey(pair.b)
    assert abs(visible[person].mean() - visible[around].mean()) < 12
    assert pair.a[person].mean() > pair.a[around].mean() + 40


def test_sign_text_is_visible_only_to_the_visible_camera():
    for index in range(4):
        pair = phantom("ir-vis", index)
        board = inner(where(pair, "sign"), 4)
        assert grey(pair.b)[board].std() > 2.5 * pair.a[board].std()


def test_streets_come_by_day_and_by_night():
    brightness = [grey(phantom("ir-vis", index, 96).b).mean() for index in range(10)]
    assert min(brightness) < 60 and max(brightness) > 90


@pytest.mark.parametrize("index", range(3))
def test_fluorescence_is_green_and_in_the_nuclei(index):
    pair = phantom("gfp-pc", index)
    assert not pair.a[..., (0, 2)].any()
    green = pair.a[..., 1].astype(float)
    nuclei, medium = where(pair, "nucleus"), where(pair, "medium")
    assert green[nuclei].mean() > 4 * green[where(pair, "vacuole")].mean()
    assert green[medium].mean() < 12


@pytest.mark.parametrize("index", range(3))
def test_phase_contrast_shows_walls_with_halos(index):
    pair = phantom("gfp-pc", index)
    wall, medium = where(pair, "cell wall"), where(pair, "medium")
    rim = medium & ndimage.binary_dilation(wall, iterations=8)
    far = medium & ~ndimage.binary_dilation(wall, iterations=20)
    assert pair.b[wall].mean() < pair.b[far].mean() - 25
    assert pair.b[rim].mean() > pair.b[far].mean() + 10
    nuclei, rest = where(pair, "nucleus"), where(pair, "vacuole")
    assert abs(pair.b[nuclei].mean() - pair.b[rest].mean()) < 30


def test_bad_arguments_are_refused():
    with pytest.raises(FusionkitError, match="did you mean pet-mri"):
        phantom("petmri", 0)
    with pytest.raises(FusionkitError, match="at least 16"):
        phantom("ct-mri", 0, (64, 15))
    with pytest.raises(FusionkitError, match="negative"):
        phantom("ct-mri", -1)


def test_waves_are_standardised():
    fields = [waves(np.random.default_rng(seed), (64, 96), 10) for seed in range(40)]
    assert abs(np.mean(fields)) < 0.1
    assert 0.7 < np.std(fields) < 1.3


def test_disc_is_one_on_the_rim():
    rim = disc(np.array([0.5, 0.0]), np.array([0.0, 0.2]), (0.0, 0.0), (0.5, 0.2))
    np.testing.assert_allclose(rim, 1.0)
    np.testing.assert_allclose(disc(np.array([0.0]), np.array([0.5]), (0, 0), (0.5, 0.2), np.pi / 2), 1.0)


def test_colour_ramp_meets_its_stops():
    stops = ((0.0, 0.0, 0.0, 0.0), (0.2, 1.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0))
    got = colourise(np.array([[-1.0, 0.2, 2.0]]), stops)
    np.testing.assert_array_equal(got[0], [[0, 0, 0], [255, 0, 0], [255, 255, 255]])
