"""Scores of folders: matching, values, resuming, and every bad input."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fusionkit import metrics, parallel, scoring
from fusionkit.data.images import read_image
from fusionkit.errors import FusionkitError
from fusionkit.scoring import COLUMNS, Triple, UnmatchedWarning, match_triples, read_scores, score_folders, score_triple

# The images are small, so that some metrics are left out.
pytestmark = pytest.mark.filterwarnings("ignore::fusionkit.metrics.TooSmallWarning")
NAMES = ("001", "02", "nan", "NA")
PLACES = ("fused", "a", "b")
FEW = ["en", "sf"]


def image(path: Path, shape=(20, 24), dtype=np.uint8) -> Path:
    path.parent.mkdir(exist_ok=True)
    generator = np.random.default_rng(list(path.name.encode() + path.parent.name.encode()))
    Image.fromarray(generator.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)).save(path)
    return path


@pytest.fixture
def folders(tmp_path):
    for name in NAMES:
        image(tmp_path / "fused" / f"{name}.png", (20, 24, 3) if name == "02" else (20, 24))
        image(tmp_path / "a" / f"{name}.bmp")
        image(tmp_path / "b" / f"{name}.tif")
    return [tmp_path / place for place in PLACES]


def failing(monkeypatch, at: str, error: type[BaseException]) -> list[str]:
    """Let the measurement of one image fail; returns the list of images measured from now on."""
    measured = []

    def measure(triple, wanted):
        if triple.name == at:
            raise error(f"{triple.fused}: broken")
        measured.append(triple.name)
        return score_triple(triple, wanted)

    monkeypatch.setattr(scoring, "score_triple", measure)
    return measured


def test_scores_are_the_metrics_of_the_files(folders):
    scores = score_folders(*folders, convention="vifb")
    assert scores.columns.tolist() == COLUMNS
    assert scores["image"].unique().tolist() == sorted(NAMES)
    for name in NAMES:
        files = (folders[0] / f"{name}.png", folders[1] / f"{name}.bmp", folders[2] / f"{name}.tif")
        with parallel._one_thread():  # as the scores were computed
            expected = metrics.evaluate(*(read_image(file)[None] for file in files), None, "vifb")
        found = scores[scores["image"] == name].set_index("metric")["value"].to_dict()
        assert found == {metric: float(value) for metric, value in expected.items()}


def test_every_convention(folders):
    scores = score_folders(*folders, metrics=["sd", "en"], convention="all")
    expected = [(c, m) for c in metrics.CONVENTIONS for m in ("sd", "en") if c in metrics.METRICS[m].variants]
    assert list(zip(scores["convention"], scores["metric"], strict=True)) == expected * len(NAMES)


def test_single_images_need_not_be_named_alike(tmp_path):
    files = [image(tmp_path / name) for name in ("one.png", "two.png", "three.png")]
    scores = score_folders(*files, metrics=["en"])
    assert scores[["image", "metric"]].to_numpy().tolist() == [["two", "en"]]


def test_16_bits_are_measured_at_8(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65535, (16, 16), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(np.round(deep / 257).astype(np.uint8)).save(tmp_path / "flat.png")
    deep, flat = (score_folders(*[tmp_path / name] * 3, metrics=FEW)["value"] for name in ("deep.png", "flat.png"))
    assert deep.tolist() == flat.tolist()


def test_file_holds_every_value_exactly(folders, tmp_path):
    for folder in folders[1:]:
        Image.new("L", (24, 20), 9).save(next(folder.glob("02.*")))
    scores = score_folders(*folders, convention="all", out=tmp_path / "s.csv")
    assert scores["value"].isna().any()  # correlation with a constant image
    pd.testing.assert_frame_equal(read_scores(tmp_path / "s.csv")[COLUMNS], scores, check_exact=True, check_dtype=False)


def test_workers_give_the_same_file(folders, tmp_path, monkeypatch):
    score_folders(*folders, convention="all", out=tmp_path / "one.csv", jobs=1)
    monkeypatch.setattr(parallel, "START_SECONDS", -1)
    score_folders(*folders, convention="all", out=tmp_path / "two.csv", jobs=2)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize("error", [FusionkitError, KeyboardInterrupt])
def test_what_is_done_is_kept_and_resumed(folders, tmp_path, monkeypatch, error):
    score_folders(*folders, metrics=FEW, out=tmp_path / "whole.csv", jobs=1)
    out = tmp_path / "s.csv"
    before = failing(monkeypatch, "NA", error)
    with pytest.raises(error):
        score_folders(*folders, metrics=FEW, out=out, jobs=1)
    assert before == read_scores(out)["image"].unique().tolist() == ["001", "02"]
    after = failing(monkeypatch, "", error)
    score_folders(*folders, metrics=FEW, out=out, jobs=1)
    assert after == ["NA", "nan"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.csv", "s.csv", *PLACES}


def test_saves_while_it_works(folders, tmp_path, monkeypatch):
    """What a process that is killed outright would leave behind."""
    monkeypatch.setattr(scoring, "SAVE_SECONDS", 0)
    seen = []

    def measure(triple, wanted):
        seen.append(read_scores(tmp_path / "s.csv")["image"].nunique())
        return score_triple(triple, wanted)

    monkeypatch.setattr(scoring, "score_triple", measure)
    score_folders(*folders, metrics=FEW, out=tmp_path / "s.csv", jobs=1)
    assert seen == [0, 1, 2, 3]


def test_only_what_changed_is_measured_again(folders, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    old = score_folders(*folders, metrics=FEW, out=out)
    measured = failing(monkeypatch, "", FusionkitError)
    pd.testing.assert_frame_equal(score_folders(*folders, metrics=FEW, out=out), old)
    assert measured == []
    image(folders[1] / "02.bmp", (20, 24, 3))
    score_folders(*folders, metrics=FEW, out=out)
    assert measured == ["02"]
    asked = score_folders(*folders, metrics=["sd", "sf"], out=out)
    assert measured == ["02", *sorted(NAMES)]
    assert set(asked["metric"]) == set(read_scores(out)["metric"]) == {"sd", "sf"}
    monkeypatch.setattr(scoring, "_code", lambda: ["another version"])
    score_folders(*folders, metrics=["sd", "sf"], out=out)
    assert len(measured) == 1 + 2 * len(NAMES)


def test_unmatched_files_are_listed(folders):
    (folders[1] / "02.bmp").unlink()
    image(folders[0] / "x.jpg")
    (folders[0] / "notes.txt").write_text("no image")
    (folders[0] / ".hidden.png").write_text("no image")
    triples, lines = match_triples(*folders)
    assert [triple.name for triple in triples] == ["001", "NA", "nan"]
    assert triples[0] == Triple("001", *(f / f"001.{s}" for f, s in zip(folders, ("png", "bmp", "tif"), strict=True)))
    assert lines == [f"not evaluated, missing in {folders[1]}: 02, x", f"not evaluated, missing in {folders[2]}: x"]
    with pytest.warns(UnmatchedWarning) as told:
        assert len(score_folders(*folders, metrics=["en"])) == 3
    assert [str(warning.message) for warning in told] == lines


def test_many_unmatched_files_are_counted(folders):
    for number in range(30):
        image(folders[2] / f"z{number:02}.png", (2, 2))
    _, lines = match_triples(*folders)
    assert len(lines) == 2
    assert lines[0].endswith("z18, z19 and 10 more")


def test_metrics_that_need_larger_images_are_told_once(folders):
    for folder in folders:
        for name in ("001", "02"):
            path = next(folder.glob(f"{name}.*"))
            image(path, (1, 24))
    with pytest.warns(metrics.TooSmallWarning) as told:
        scores = score_folders(*folders, metrics=FEW, convention="all")
    assert [str(w.message) for w in told] == ["sf: left out on 2 of 4 images, smaller than 2x2"]
    assert set(scores.loc[scores["metric"] == "sf", "image"]) == {"NA", "nan"}
    with pytest.raises(FusionkitError, match="too small for every metric"):
        score_folders(*(next(folder.glob("001.*")) for folder in folders), metrics=["sf"])


def spoil(folders, what):
    fused, a, b = folders
    if what == "damaged":
        (a / "02.bmp").write_bytes((a / "02.bmp").read_bytes()[:80])
    elif what == "size":
        image(b / "02.tif", (20, 25))
    elif what == "nan":
        Image.fromarray(np.full((20, 24), np.nan, np.float32)).save(b / "02.tif")
    elif what == "twice":
        image(a / "02.png")
    elif what == "no match":
        for path in list(fused.iterdir()):
            path.rename(path.with_stem(path.stem + "_fused"))
    elif what == "empty":
        for path in a.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("damaged", "02.bmp: damaged or not an image"),
        ("size", "differ in size: .*02.png 24x20, .*02.bmp 24x20, .*02.tif 25x20"),
        ("nan", "02.tif: holds NaN"),
        ("twice", "02.bmp and 02.png: same name"),
        (
            "no match",
            "no image name occurs in all three folders: .*fused has 001_fused, 02_fused, NA_fused and 1 more;",
        ),
        ("empty", "no image name occurs .*a has none"),
    ],
)
def test_bad_images_are_named(folders, tmp_path, what, message):
    spoil(folders, what)
    with pytest.raises(FusionkitError, match=message) as error:
        score_folders(*folders, metrics=FEW, out=tmp_path / "s.csv", jobs=1)
    assert "\n" not in str(error.value)
    if what in ("damaged", "size", "nan"):
        assert read_scores(tmp_path / "s.csv")["image"].unique().tolist() == ["001"]
    else:
        assert not (tmp_path / "s.csv").exists()


def test_bad_places_and_names_are_refused(folders, tmp_path):
    fused, a, b = folders
    cases = [
        ((fused, a / "02.bmp", b), {}, "02.bmp: not a folder; give three folders or three images"),
        ((fused, a, tmp_path / "lost"), {}, "image or folder not found: .*lost"),
        (folders, {"metrics": ["enn"]}, "did you mean en"),
        (folders, {"convention": "tangg"}, "did you mean tang"),
        (folders, {"metrics": ["en"], "convention": "rfn"}, "does not exist in convention 'rfn'"),
        (folders, {"jobs": 0}, "0 jobs"),
        (folders, {"out": fused}, "exists, and is not a table of scores"),
        (folders, {"out": fused / "02.png"}, "exists, and is not a table of scores"),
        (folders, {"out": fused / "02.png" / "s.csv"}, "cannot write"),
    ]
    for places, options, message in cases:
        with pytest.raises(FusionkitError, match=message):
            score_folders(*places, **options)
    assert read_image(fused / "02.png").shape == (3, 20, 24)


def test_unreadable_file_is_named(folders, tmp_path, monkeypatch):
    """Simulated, since a superuser may read anything."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(scoring, "_code", list)
    monkeypatch.setattr(scoring, "sha256", refuse)
    with pytest.raises(FusionkitError, match="001.png: cannot be read .Permission denied"):
        score_folders(*folders, out=tmp_path / "s.csv")


def test_file_of_another_kind_is_left_alone(folders, tmp_path):
    (tmp_path / "mine.csv").write_text("image,value\n1,2\n")
    with pytest.raises(FusionkitError, match="mine.csv: exists"):
        score_folders(*folders, out=tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "image,value\n1,2\n"


def test_threads_are_left_as_they_were(folders):
    before = torch.get_num_threads()
    score_folders(*folders, metrics=["en"])
    assert torch.get_num_threads() == before
