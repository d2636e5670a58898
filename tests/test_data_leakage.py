"""Finding test images in training sets, on made-up files and on the Harvard sets."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusionkit.data import get_dataset, leakage, registry
from fusionkit.errors import FusionkitError

HARVARD = {"CT-MRI": "harvard_ct_mri", "PET-MRI": "harvard_pet_mri", "SPECT-MRI": "harvard_spect_mri"}
COUNTS = {
    "harvard_ct_mri": {"pair": 21},
    "harvard_pet_mri": {"no": 42},
    "harvard_spect_mri": {"pair": 31, "functional_only": 25, "no": 17},
}


@pytest.fixture(scope="module")
def overlaps(real_data):
    return {name: leakage.overlap(name) for name in HARVARD.values()}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_leaking_pairs(overlaps, name):
    assert overlaps[name]["verdict"].value_counts().to_dict() == COUNTS[name]


def test_rows_agree_with_the_published_comparison(overlaps, real_data):
    known = pd.read_csv(real_data / "splits" / "harvard_test_vs_train_overlap.csv")
    for key, name in HARVARD.items():
        rows = known[known["dataset"] == key].reset_index(drop=True)
        ours, first = overlaps[name], get_dataset(name).modalities[0]
        assert ours["name"].tolist() == rows["test_file"].tolist()
        assert ours["verdict"].tolist() == rows["overlap"].tolist()
        for theirs, column in (("functional", first), ("mri", "mri")):
            leaks = ours[f"{column}_corr"] >= leakage.SAME
            same = ours[f"{column}_nearest"] == rows[f"nearest_train_{theirs}"]
            assert same[leaks].all() and same.mean() > 0.95
            # measured 3e-5 on leaking images, 7e-3 on unrelated ones: the reference made its grey images otherwise
            gap = (ours[f"{column}_corr"] - rows[f"{theirs}_corr"]).abs()
            assert gap[same].max() < 1e-2 and not (gap[leaks] > 1e-4).any()
            assert (ours[f"{column}_max_diff"] == rows[f"{theirs}_max_abs_diff"])[same].all()


def test_named_splits_follow_from_the_comparison(overlaps):
    spect = overlaps["harvard_spect_mri"]
    unseen = spect["name"][spect["verdict"] == "no"].tolist()
    assert registry.split_names("harvard_spect_mri", "test_unseen") == unseen
    for name in ("harvard_ct_mri", "harvard_spect_mri"):
        rows = overlaps[name][overlaps[name]["verdict"] != "no"]
        leaking = set(rows[f"{get_dataset(name).modalities[0]}_nearest"])
        assert not leaking & set(registry.split_names(name, "train_leakfree"))


def _store(root, split, modality, images):
    folder = root / "harvard_ct_mri" / split / modality
    folder.mkdir(parents=True)
    for name, pixels in zip(["0.png", "1.png", "2.png"], images, strict=True):
        Image.fromarray(pixels).save(folder / name)


def test_verdicts_on_made_up_images(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    for module in (leakage, registry):
        monkeypatch.setattr(module, "split_names", lambda *_: ["0.png", "1.png", "2.png"])
    noise = np.random.default_rng(0)
    ct, mri, new = (noise.integers(0, 250, (3, 64, 64), dtype=np.uint8) for _ in range(3))
    _store(tmp_path, "train", "ct", ct)
    _store(tmp_path, "train", "mri", mri)
    exported = ct[0] + noise.integers(0, 3, (64, 64), dtype=np.uint8)
    _store(tmp_path, "test", "ct", [np.stack([exported] * 3, 2), ct[1], new[0]])
    _store(tmp_path, "test", "mri", [mri[0], new[1], mri[2]])
    rows = leakage.overlap("harvard_ct_mri")
    assert rows["verdict"].tolist() == ["pair", "functional_only", "structural_only"]
    assert rows["ct_nearest"][0] == "0.png" and rows["ct_max_diff"][0] == 2
    assert rows["mri_corr"][0] == pytest.approx(1) and rows["mri_mean_diff"][0] == 0


def test_absent_images_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    with pytest.raises(FusionkitError, match=r"11\.png is not there; run: fusionkit data fetch harvard_pet_mri"):
        leakage.overlap("harvard_pet_mri")
