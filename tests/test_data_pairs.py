"""Pairs: phantoms without any data, real ones where they are here, errors that name the file."""

import pytest
import torch

from fusionkit import FusionkitError
from fusionkit.data import dataset_hash, list_datasets, load_pair, present
from fusionkit.data.pairs import make_pair
from fusionkit.data.patches import Patches
from fusionkit.data.registry import get_dataset, split_names

PHANTOMS = [name for name in list_datasets() if get_dataset(name).procedural]


@pytest.mark.parametrize("name", PHANTOMS)
def test_phantoms_are_pairs_without_files(name):
    assert present(name, "test")
    pair = load_pair(name, "test", split_names(name, "test")[0])
    assert pair.a.shape == pair.b.shape == (1, 256, 256)
    assert 0 <= pair.a.min() <= pair.a.max() <= 1
    assert (pair.chroma is None) == (get_dataset(name).colour == "none")


def test_train_and_test_phantoms_differ():
    first = load_pair("phantom_ct_mri", "train", "000")
    second = load_pair("phantom_ct_mri", "test", "000")
    assert not torch.equal(first.a, second.a)


def test_hash_is_stable_and_tells_splits_apart():
    assert dataset_hash("phantom_ct_mri", "test") == dataset_hash("phantom_ct_mri", "test")
    assert dataset_hash("phantom_ct_mri", "test") != dataset_hash("phantom_pet_mri", "test")


def test_unknown_pair_split_and_dataset():
    with pytest.raises(FusionkitError, match="unknown pair of phantom_ct_mri/test"):
        load_pair("phantom_ct_mri", "test", "999")
    with pytest.raises(FusionkitError, match="split"):
        load_pair("phantom_ct_mri", "tset", "000")
    with pytest.raises(FusionkitError, match="did you mean phantom_ct_mri"):
        load_pair("phantom_ctmri", "test", "000")


def test_missing_images_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    with pytest.raises(FusionkitError, match=r"11\.png is missing.*fusionkit data list"):
        load_pair("harvard_pet_mri", "test", "11.png")
    assert not present("harvard_pet_mri", "test")


def test_unequal_sizes_are_refused():
    with pytest.raises(FusionkitError, match="differ in size .*20x16 and 16x16"):
        make_pair(torch.zeros(1, 16, 20), torch.zeros(1, 16, 16), ("", "", "x"))


def test_colour_of_whichever_image_has_it():
    grey, colour = torch.rand(1, 16, 16), torch.rand(3, 16, 16)
    where = ("", "", "x")
    assert make_pair(grey, colour, where).colour == "second"
    assert make_pair(colour, grey, where).colour == "first"
    assert make_pair(grey, grey, where).chroma is None


def test_real_pairs(real_data):
    pair = load_pair("harvard_pet_mri", "test", "11.png")
    assert pair.a.shape == (1, 256, 256)
    assert pair.chroma.abs().max() > 0.1
    sizes = [len(split_names(f"harvard_{m}_mri", s)) for m in ("ct", "pet", "spect") for s in ("train", "test")]
    assert sizes == [184, 21, 269, 42, 357, 73]


def test_patches_depend_on_seed_epoch_and_index_only():
    def sample(seed, epoch, index):
        patches = Patches(("phantom_ct_mri/test",), 32, True, seed=seed)
        patches.epoch = epoch
        return patches[index], patches.order()

    one, two = sample(3, 5, 2), sample(3, 5, 2)
    assert torch.equal(one[0], two[0])
    assert one[1] == two[1]
    assert sorted(one[1]) == list(range(8))
    assert not torch.equal(one[0], sample(3, 6, 2)[0])
    assert not torch.equal(one[0], sample(4, 5, 2)[0])


def test_a_crop_that_may_shrink_takes_all_of_a_smaller_image():
    strict, shrinking = (Patches(("phantom_ir_vis/train",), 40, True, shrink=shrink) for shrink in (False, True))
    shrinking._kept = {0: strict[0].new_zeros(2, 64, 64), 1: strict[0].new_zeros(2, 32, 64)}
    assert shrinking[0].shape == strict[0].shape == (2, 40, 40)
    assert sorted(shrinking[1].shape[1:]) == [32, 40]


def test_gain_scales_each_modality_of_the_same_crop():
    plain, dimmed = (Patches(("phantom_ir_vis/test",), 32, True, gain) for gain in (1.0, 0.4))
    for index in range(8):
        one, two = plain[index], dimmed[index]
        factors = two.mean((1, 2)) / one.mean((1, 2))
        torch.testing.assert_close(two, one * factors[:, None, None])
        assert (factors >= 0.4).all() and (factors <= 1).all() and factors[0] != factors[1]


def test_mixed_samples_have_a_second_modality_of_another_pair():
    plain, mixed, half = (Patches(("phantom_ir_vis/train",), 0, False, mix=mix) for mix in (0.0, 1.0, 0.5))
    seconds = [plain[i][1] for i in range(len(plain))]
    partners = [next(j for j, second in enumerate(seconds) if second.equal(mixed[i][1])) for i in range(len(mixed))]
    assert all(mixed[i][0].equal(plain[i][0]) for i in range(len(mixed)))
    assert len(set(partners)) > 1 and any(i != j for i, j in enumerate(partners))
    kept = [half[i].equal(plain[i]) for i in range(len(half))]
    assert any(kept) and not all(kept)


def test_only_pairs_of_one_size_are_mixed():
    patches = Patches(("phantom_ir_vis/train",), 0, False, mix=1.0)
    patches._kept = {i: torch.zeros(2, 32 + i, 32) for i in range(len(patches))}
    with pytest.raises(FusionkitError, match="only pairs of one size can be mixed: phantom_ir_vis"):
        [patches[i] for i in range(len(patches))]


def test_swap_exchanges_the_modalities_of_about_half_of_the_samples():
    plain, swapped = (Patches(("phantom_ir_vis/train",), 32, True, swap=swap) for swap in (False, True))
    exchanged = [torch.equal(swapped[i], plain[i].flip(0)) for i in range(len(plain))]
    assert all(done or torch.equal(swapped[i], plain[i]) for i, done in enumerate(exchanged))
    assert 16 < sum(exchanged) < 48
