"""Released fused images as a method: measured like a network, and strict about what the folder holds."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fusionkit import FusionkitError, measure, paths
from fusionkit.data import get_dataset, list_datasets, load_pair, pairs
from fusionkit.data import published as released
from fusionkit.data.registry import split_names
from fusionkit.figures.panels import fuse_pairs
from fusionkit.papers import get_panel, list_papers, load_paper
from fusionkit.tables import build

DATASET, METHOD = "tno21_256", "published:IFT"
NAMES = ("1.png", "2.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two small pairs with random sources; the fused images are the first sources. Results go elsewhere."""
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path / "results")
    for module in (measure, pairs):
        monkeypatch.setattr(module, "split_names", lambda *_: list(NAMES))
    pairs._known_names.cache_clear()
    random = np.random.default_rng(0)
    folder = tmp_path / "published_fusions" / DATASET
    for name in NAMES:
        images = [Image.fromarray(random.integers(0, 256, (64, 64), dtype=np.uint8)) for _ in range(2)]
        for kind, image in zip(("ir", "vi", "IFT"), (*images, images[0]), strict=True):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            image.save(folder / kind / name)
    yield folder
    pairs._known_names.cache_clear()


def test_a_folder_is_measured_like_a_network_that_makes_the_same_images(place, monkeypatch):
    done = measure.measure(METHOD, DATASET, "test")
    monkeypatch.setattr(measure, "load_method", lambda _: lambda a, b: a)
    pd.testing.assert_frame_equal(done.values, measure.compute("maximum", DATASET, "test").values)
    assert measure.load_measurement(METHOD, DATASET, "test").provenance == done.provenance
    assert done.provenance["origin"]["repository"] == "Vibashan/Image-Fusion-Transformer"
    assert done.provenance["images"] == released.published_hash(METHOD, DATASET)


def test_other_images_are_measured_again(place):
    before = measure.measure(METHOD, DATASET, "test")
    Image.new("L", (64, 64), 7).save(place / "IFT" / "2.png")
    after = measure.measure(METHOD, DATASET, "test")
    assert before.provenance["images"] != after.provenance["images"]
    assert after.values.loc["2.png", "sf@tang"] == 0 < before.values.loc["2.png", "sf@tang"]


def test_colour_is_read_as_luma_and_shown_in_figures(place):
    pair = load_pair(DATASET, "test", "1.png")
    assert torch.equal(fuse_pairs([pair], [METHOD])[METHOD][0], pair.a)
    Image.new("RGB", (64, 64), (255, 0, 0)).save(place / "IFT" / "1.png")
    image = released.published_image(METHOD, pair)
    assert image.shape == (1, 1, 64, 64)
    assert image.unique().tolist() == pytest.approx([0.299])


def test_a_missing_image_is_named(place):
    (place / "IFT" / "2.png").unlink()
    with pytest.raises(FusionkitError, match=r"IFT/2\.png: no such image; the folder needs one for each pair"):
        measure.measure(METHOD, DATASET, "test")
    assert measure.load_measurement(METHOD, DATASET, "test") is None


def test_another_size_is_named(place):
    Image.new("L", (64, 60)).save(place / "IFT" / "1.png")
    with pytest.raises(FusionkitError, match=r"IFT/1\.png: 64x60 pixels, but the pair has 64x64"):
        measure.measure(METHOD, DATASET, "test")


def test_a_damaged_image_is_named(place):
    (place / "IFT" / "1.png").write_bytes(b"no image")
    with pytest.raises(FusionkitError, match=r"IFT/1\.png"):
        measure.measure(METHOD, DATASET, "test")


def test_a_folder_is_here_for_its_dataset_only(place):
    assert measure.is_here(METHOD, DATASET)
    assert not measure.is_here(METHOD, "tno")
    assert not measure.is_here("published:SDNet", DATASET)
    with pytest.raises(FusionkitError, match="SDNet: no published images of that name here"):
        measure.measure("published:SDNet", DATASET, "test")
    assert METHOD in measure.panel_methods(get_panel("fusionmamba/table4"))


def test_a_folder_that_is_not_on_record_works_too(place):
    (place / "IFT").rename(place / "Mine")
    assert measure.measure("published:Mine", DATASET, "test").provenance["origin"] == {}


def test_the_record_names_known_datasets_and_every_row_is_on_it():
    entries = released._releases()
    assert {entry["dataset"] for entry in entries} <= set(list_datasets())
    names = [(entry["dataset"], method) for entry in entries for method in entry["methods"]]
    assert len(names) == len(set(names))
    rows = [
        (panel.dataset, row.method.partition(":")[2])
        for paper in list_papers()
        for panel in load_paper(paper).panels
        for row in panel.rows.values()
        if row.method and released.is_published(row.method)
    ]
    assert rows
    assert set(rows) <= set(names)


def test_released_images_here_are_those_on_record(real_data):
    modalities = {(name, m) for name in list_datasets() for m in get_dataset(name).modalities}
    found = {(f.parent.name, f.name) for f in (real_data / "published_fusions").glob("*/*") if f.is_dir()} - modalities
    found = {place for place in found if not place[0].startswith("harvard")}
    assert found == {(entry["dataset"], method) for entry in released._releases() for method in entry["methods"]}


def test_row_ift_of_table_4_comes_out_to_the_digit(real_data):
    """Published 0.6350 (VIF) is 0.635388 from the images; the other five cells are cut off after four decimals."""
    values = measure.compute(METHOD, DATASET, "test", split_names(DATASET, "test")).values
    row = build("fusionmamba/table4", {METHOD: values})
    verdicts = {label: row.cells["IFT [11]", label].verdict for label in row.panel.published.columns}
    assert verdicts == {"VIF": "close"} | dict.fromkeys(("SCD", "Qabf", "SF", "MS-SSIM", "FMI"), "match")
    assert values["vif@tang"].mean() == pytest.approx(0.635388, abs=2e-6)
