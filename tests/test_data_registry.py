"""The register of datasets, its lists, the listing and the check of files."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from fusionkit.data import get_dataset, list_datasets, registry, status
from fusionkit.data.identity import decode, identity, pixel_hash
from fusionkit.errors import FusionkitError

TASKS = {"ct-mri", "pet-mri", "spect-mri", "ir-vis", "gfp-pc"}
PAPERS = {"fusionmamba", "diffmf", "s4fusion", "lightfusionnet"}
REAL = [name for name in list_datasets() if not get_dataset(name).procedural]
SPLITS = [(name, split) for name in list_datasets() for split in get_dataset(name).splits]


def test_every_dataset_of_the_papers_is_registered():
    papers = {
        "kaist", "harvard_ct_mri", "harvard_pet_mri", "harvard_spect_mri", "gfp_pc", "msrs", "roadscene", "m3fd",
        "tno", "dronevehicle", "fmb",
    }  # fmt: skip
    assert papers <= set(list_datasets())
    used = {paper for name in REAL for paper in get_dataset(name).papers}
    assert used == PAPERS


@pytest.mark.parametrize("name", list_datasets())
def test_entries_are_complete(name):
    data = get_dataset(name)
    assert data.name == name and data.title and data.task in TASKS
    assert len(set(data.modalities)) == 2 and data.colour in {"first", "second", "none"} and data.splits
    if not data.procedural:
        assert data.homepage and data.terms and data.request and data.size


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_lists_hold_as_many_different_pairs_as_stated(name, split, monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    data, part = get_dataset(name), get_dataset(name).split(split)
    table = registry.split_table(name, split)
    assert list(table.columns) == ["name", *data.modalities]
    assert len(table) == part.pairs == table["name"].nunique()
    if part.sources:
        assert table[list(data.modalities)].map(lambda value: bool(re.fullmatch("[0-9a-f]{64}", value))).all(axis=None)


def test_no_list_is_orphaned():
    listed = {f"{name}-{split}.csv" for name, split in SPLITS}
    assert {path.name for path in (registry.FOLDER / "splits").iterdir()} <= listed


def test_named_splits_are_consistent():
    roads = {split: set(registry.split_names("roadscene", split)) for split in get_dataset("roadscene").splits}
    assert roads["test_s4fusion67"] | roads["train_s4fusion147"] == roads["all"]
    assert not roads["test_s4fusion67"] & roads["train_s4fusion147"]
    for name, cases in (("harvard_ct_mri", {"16", "21"}), ("harvard_spect_mri", {"9", "36"})):
        dropped = set(registry.split_names(name, "train")) - set(registry.split_names(name, "train_leakfree"))
        assert {pair[:-7] for pair in dropped} == cases
        assert not any(pair[:-7] in cases for pair in registry.split_names(name, "train_leakfree"))


def test_named_split_carries_the_identities_of_its_stored_split():
    full = registry.split_table("tno", "test").set_index("name")
    part = registry.split_table("tno", "cddfuse25").set_index("name")
    assert part.equals(full.loc[part.index])


def test_distinct_images_are_told_from_the_lists():
    assert registry.distinct_images("harvard_pet_mri", "test") == {"pet": 21, "mri": 42}


def test_open_split_takes_what_the_folder_holds(tmp_path):
    for modality in ("ir", "vi"):
        folder = tmp_path / "msrs" / "test" / modality
        folder.mkdir(parents=True)
        (folder / "99999D.png").touch()
    (tmp_path / "msrs" / "test" / "ir" / "99998D.png").touch()
    names = registry.split_names("msrs", "test", tmp_path)
    assert len(names) == 26 and "99999D.png" in names


def test_phantoms_have_numbers_for_names():
    assert registry.split_names("phantom_ct_mri", "test") == [f"{i:03d}" for i in range(8)]
    with pytest.raises(FusionkitError, match="drawn by code"):
        registry.image_path("phantom_ct_mri", "test", "ct", "000")


def test_files_of_a_named_split_lie_in_its_stored_split(tmp_path):
    path = registry.image_path("roadscene", "test_cddfuse50", "ir", "x.jpg", tmp_path)
    assert path == tmp_path / "roadscene" / "all" / "ir" / "x.jpg"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_dataset("harvard_pet"), "unknown dataset 'harvard_pet'; did you mean harvard_pet_mri"),
        (lambda: registry.split_names("tno", "tests"), "unknown split of tno 'tests'; did you mean test"),
        (lambda: registry.image_path("tno", "test", "mri", "01.png"), "unknown modality of tno 'mri'"),
    ],
)
def test_unknown_names_are_refused(call, message):
    with pytest.raises(FusionkitError, match=message):
        call()


def test_identity_ignores_lossless_recompression_but_not_shape(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for name in ("a.png", "b.bmp", "c.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
    assert {identity(path) for path in tmp_path.iterdir()} == {pixel_hash(pixels)}
    assert pixel_hash(pixels) != pixel_hash(pixels.reshape(2, 8, 3))


def test_identity_of_a_jpeg_is_that_of_its_bytes(tmp_path):
    image = Image.fromarray(np.full((8, 8), 128, np.uint8))
    image.save(tmp_path / "a.jpg", quality=90)
    image.save(tmp_path / "b.jpg", quality=60)
    assert np.array_equal(decode(tmp_path / "a.jpg"), decode(tmp_path / "b.jpg"))
    assert identity(tmp_path / "a.jpg") != identity(tmp_path / "b.jpg")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\nrest"])
def test_identity_refuses_what_is_no_image(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FusionkitError, match="a.png"):
        identity(tmp_path / "a.png")


def test_listing_says_what_is_missing_and_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    table = status.listing().set_index(["dataset", "split"])
    assert len(table) == len(SPLITS)
    assert table.loc[("tno", "test")].to_dict() == {
        "expected": 42, "present": 0, "state": "missing", "how": "fusionkit data fetch tno",
    }  # fmt: skip
    assert "Google Drive" in table.loc[("m3fd", "all"), "how"]
    assert table.loc[("phantom_ir_vis", "train"), "state"] == "present"


def test_check_names_missing_extra_and_corrupt_files(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    names = registry.split_names("gfp_pc", "sample")
    for modality in ("gfp", "pc"):
        folder = tmp_path / "gfp_pc" / "sample" / modality
        folder.mkdir(parents=True)
        for name in names[1:]:
            Image.new("L", (4, 4)).save(folder / name)
    (folder / "stray.txt").touch()
    report = status.check(["gfp_pc"])
    kinds = {problem.file: problem.kind for problem in report.problems}
    assert not report.ok and report.checked == 10 and report.absent == ("gfp_pc/all",)
    assert kinds.pop("gfp_pc/sample/pc/stray.txt") == "extra"
    assert {file for file, kind in kinds.items() if kind == "missing"} == {
        f"gfp_pc/sample/{modality}/{names[0]}" for modality in ("gfp", "pc")
    }
    assert list(kinds.values()).count("corrupt") == 10


def test_lists_agree_with_the_manifest(real_data):
    with (real_data / "MANIFEST.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["dataset"] in REAL]
    for name, split in {(row["dataset"], row["split"]) for row in rows}:
        table = registry.split_table(name, split).set_index("name")
        here = [row for row in rows if (row["dataset"], row["split"]) == (name, split)]
        assert len(here) == 2 * len(table)
        for row in here:
            value = table.loc[row["file"], row["modality"]]
            assert (value == row["sha256"]) == row["file"].endswith(".jpg")


def test_check_finds_the_real_files_intact(real_data):
    report = status.check(["harvard_ct_mri", "roadscene", "gfp_pc", "tno21_256", "tno"])
    assert report.ok and report.checked == 2 * (184 + 21 + 214 + 6 + 21 + 42)
