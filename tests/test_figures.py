"""Figures: the data they draw, their parts, and the files they become."""

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusionkit import FusionkitError, create_model, figures
from fusionkit.data import load_pair
from fusionkit.data.colour import ycbcr_to_rgb
from fusionkit.figures import labels, style
from fusionkit.figures.anatomy import channel_sheet
from fusionkit.figures.bubble import short_label
from fusionkit.figures.charts import metric_ranks, rate_changes
from fusionkit.figures.comparison import weighted_terms
from fusionkit.papers import get_panel
from fusionkit.tables import build
from fusionkit.yardstick import yardstick

LOSS = "loss:lightfusionnet:"


def small_pair(dataset, height=64, width=48):
    pair = load_pair(dataset, "test", "000")
    rows, columns = slice(80, 80 + height), slice(70, 70 + width)
    chroma = None if pair.chroma is None else pair.chroma[:, rows, columns]
    return replace(pair, a=pair.a[:, rows, columns], b=pair.b[:, rows, columns], chroma=chroma)


def curve(epochs=12):
    step = np.arange(epochs)
    rate = np.where(step < 6, 1e-3, 5e-4)
    return pd.DataFrame({"epoch": step + 1, "lr": rate, "intensity_max": 1 / (step + 1), "total": 20 / (step + 1)})


def measured_loss(intensity):
    values = {"intensity_max": intensity, "gradient_max": 0.1, "ssim_to_sources": 0.2}
    total = 20 * values["intensity_max"] + 100 * values["gradient_max"] + 50 * values["ssim_to_sources"]
    row = {LOSS + name: value for name, value in (values | {"total": total}).items()}
    return pd.DataFrame([row] * 3, index=["1", "2", "3"])


@pytest.mark.parametrize(
    ("dataset", "size"),
    [
        ("phantom_ct_mri", (64, 48)),
        ("phantom_pet_mri", (33, 71)),
        ("phantom_ir_vis", (41, 40)),
        ("phantom_gfp_pc", (17, 16)),
    ],
)
@pytest.mark.parametrize("zoom", [0, 1, 2])
def test_panel_shows_every_image_and_detail(dataset, size, zoom):
    pair = small_pair(dataset, *size)
    figure = figures.qualitative_panel([pair, pair], ["average", "maximum"], zoom=zoom)
    figure.draw_without_rendering()
    assert len(figure.axes) == 2 * 4 * (1 + zoom)


def test_panel_puts_colour_back():
    pair = small_pair("phantom_pet_mri")
    images = figures.panel_images(pair, {"sum": pair.b})
    assert list(images) == ["PET", "MRI", "sum"]
    assert images["PET"].shape == (64, 48, 3) and images["MRI"].shape == (64, 48)
    expected = ycbcr_to_rgb(pair.b, pair.chroma).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(images["sum"], expected)
    assert np.ptp(images["PET"], axis=2).max() > 0.2


def test_panel_colours_the_visible_image_of_infrared_pairs():
    images = figures.panel_images(small_pair("phantom_ir_vis"), {})
    assert images["infrared"].ndim == 2 and images["visible"].ndim == 3


def test_panel_of_grey_pairs_stays_grey():
    pair = small_pair("phantom_ct_mri")
    assert all(image.ndim == 2 for image in figures.panel_images(pair, {"x": pair.a}).values())


def test_fuse_pairs_equals_the_models():
    pairs = [small_pair("phantom_ct_mri"), small_pair("phantom_ct_mri", 20, 30)]
    fused = figures.fuse_pairs(pairs, ["maximum", "average"])
    assert list(fused) == ["maximum", "average"]
    for pair, image in zip(pairs, fused["maximum"], strict=True):
        torch.testing.assert_close(image, torch.maximum(pair.a, pair.b))


def test_panel_refuses_what_does_not_fit():
    pair = small_pair("phantom_ct_mri")
    with pytest.raises(FusionkitError, match="at least one pair"):
        figures.qualitative_panel([], {"x": []})
    with pytest.raises(FusionkitError, match="0 to 2"):
        figures.qualitative_panel([pair], {"x": [pair.a]}, zoom=3)
    with pytest.raises(FusionkitError, match="2 fused images for 1 pairs"):
        figures.qualitative_panel([pair], {"x": [pair.a, pair.a]})
    with pytest.raises(FusionkitError, match="fuse this pair"):
        figures.qualitative_panel([pair], {"x": [pair.a[:, :10]]})
    with pytest.raises(FusionkitError, match="unknown model"):
        figures.qualitative_panel([pair], ["maximun"])


def test_zoom_finds_the_difference_and_ignores_an_offset():
    noise = torch.rand(1, 100, 120, generator=torch.Generator().manual_seed(0))
    changed = noise.clone() * 0.5 + 0.3
    changed[:, 60:70, 90:100] = 1 - noise[:, 60:70, 90:100]
    other = noise * 0.5 + 0.1
    box = figures.zoom_boxes([other, changed], count=1)[0]
    assert box.top < 60 and box.top + box.height > 70 and box.left < 90 and box.left + box.width > 100
    assert box.width == 2 * box.height == 44


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 60), st.integers(9, 60), st.integers(1, 2), st.integers(0, 99))
def test_zoom_boxes_lie_inside_apart_and_repeat(height, width, count, seed):
    images = list(torch.rand(3, 1, height, width, generator=torch.Generator().manual_seed(seed)))
    boxes = figures.zoom_boxes(images, images[:2], count)
    assert boxes == figures.zoom_boxes([i.clone() for i in images], images[:2], count) and boxes
    covered = np.zeros((height, width), int)
    for box in boxes:
        assert box.top >= 0 and box.left >= 0 and box.cut(covered).shape == box[2:]
        box.cut(covered)[:] += 1
    assert covered.max() == 1


def test_zoom_of_equal_images_is_the_first_corner():
    flat = torch.zeros(1, 40, 40)
    assert figures.zoom_boxes([flat, flat], count=1)[0][:2] == (0, 0)


def test_bubble_data_is_the_printed_record():
    data = figures.bubble_data(get_panel("lightfusionnet/table1a"))
    assert list(data.columns) == ["method", "mi", "seconds", "parameters_m"]
    assert len(data) == 12 and "CMTFusion" in set(data["method"])
    ours = data[data["method"] == "LightFusionNet"].iloc[0]
    assert (ours["mi"], ours["seconds"], ours["parameters_m"]) == (2.46, 20.05, 0.004)
    with pytest.raises(FusionkitError, match="no column Time"):
        figures.bubble_data(get_panel("s4fusion/table1_msrs"))


@pytest.mark.parametrize("panel", ["table1a", "table1b", "table1c"])
def test_bubble_labels_cover_nothing(panel):
    data = figures.bubble_data(get_panel(f"lightfusionnet/{panel}"))
    figure = figures.bubble_chart(data, highlight=["LightFusionNet"])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = [text for text in axes.texts if any(text.get_text().startswith(f"{m}  ") for m in data["method"])]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 12 and labels.overlaps(boxes) == []
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_bubble_areas_are_proportional_to_parameters():
    data = pd.DataFrame({"method": ["p", "q"], "mi": [1, 2], "seconds": [3, 4], "parameters_m": [1.0, 4.0]})
    sizes = figures.bubble_chart(data).axes[0].collections[0].get_sizes()
    assert sizes[1] / sizes[0] == pytest.approx(4)
    with pytest.raises(FusionkitError, match="no mi"):
        figures.bubble_chart(data.drop(columns="mi"))


def test_short_labels():
    assert short_label("Ours(LightFusionNet)") == "LightFusionNet"
    assert short_label("CMTFusion (Park, Vien, and Lee 2023)") == "CMTFusion"
    assert short_label("average") == "average"


@pytest.mark.parametrize("attention", ["pca", "ca", "sa", "conv"])
def test_anatomy_is_the_forward_pass(attention):
    torch.manual_seed(0)
    model = create_model("lightfusionnet", width=8, attention=attention)
    pair = small_pair("phantom_spect_mri", 35, 29)
    figure, data = figures.architecture_anatomy(model, pair.a, pair.b, ("SPECT", "MRI"))
    figure.draw_without_rendering()
    with torch.inference_mode():
        expected = model(pair.a[None], pair.b[None])[0, 0].numpy()
    np.testing.assert_allclose(data["output"], expected, atol=1e-6)
    assert data["features_b"].shape == data["fusion"].shape == (8, 35, 29)
    assert ("surprise_a" in data) == (attention == "pca")
    if attention == "pca":
        np.testing.assert_allclose(
            data["weighted_a"], data["features_a"] * (1 + data["attention_a"]), rtol=1e-5, atol=1e-6
        )


def test_anatomy_names_every_parameter():
    model = create_model("lightfusionnet")
    pair = small_pair("phantom_ct_mri")
    figure, _ = figures.architecture_anatomy(model, pair.a, pair.b)
    text = " ".join(t.get_text() for axes in figure.axes for t in axes.texts)
    titles = " ".join(axes.get_title("left") for axes in figure.axes)
    assert "4,119" in titles and "1,296" in titles and "464" in titles
    assert all(number in text for number in ("523", "481", "(400)", "(256)", "(576)", "(64)", "16x64x48"))


def test_anatomy_refuses_other_models_and_sizes():
    pair = small_pair("phantom_ct_mri")
    with pytest.raises(FusionkitError, match="not Average"):
        figures.anatomy_data(create_model("average"), pair.a, pair.b)
    with pytest.raises(FusionkitError, match="equal size"):
        figures.anatomy_data(create_model("lightfusionnet"), pair.a, pair.b[:, :20])


def test_channel_sheet_places_channels_in_reading_order():
    features = np.zeros((3, 4, 5)) + np.linspace(0, 1, 5)
    features[1] = 7.0
    sheet = channel_sheet(features, columns=2)
    assert sheet.shape == (8, 10)
    assert sheet[0, 4] == 1 and sheet[0, 5:].max() == 0 and sheet[4, 4] == 1 and sheet[4, 5:].max() == 0


def test_loss_curves_have_a_part_per_term_and_a_line_per_run():
    figure = figures.loss_curves({"one": curve(), "two": curve()})
    assert [axes.get_title() for axes in figure.axes] == ["total", "intensity max"]
    assert rate_changes(curve()) == [7]
    assert len(figure.axes[0].lines) == 2 * 2 + 1
    with pytest.raises(FusionkitError, match="no run"):
        figures.loss_curves({})
    with pytest.raises(FusionkitError, match="lacks the column 'total'"):
        figures.loss_curves({"x": curve().drop(columns="total")})


def test_yardstick_bars_are_the_weighted_terms():
    values = {"average": 0.6, "maximum": 0.5, "lightfusionnet:x": 0.4, "oracle_lightfusionnet": 0.3}
    table = yardstick("x", "test", "lightfusionnet", {name: measured_loss(v) for name, v in values.items()})
    terms = weighted_terms(table, "lightfusionnet")
    np.testing.assert_allclose(terms.sum(axis=1), table["total"])
    figure = figures.yardstick_chart({"PET-MRI": table, "CT-MRI": table}, "lightfusionnet")
    figure.draw_without_rendering()
    assert [axes.get_title() for axes in figure.axes] == ["PET-MRI", "CT-MRI"]
    assert "+50% of the way" in " ".join(t.get_text() for t in figure.axes[0].texts)
    with pytest.raises(FusionkitError, match="yardstick of CT"):
        figures.yardstick_chart({"CT": pd.DataFrame()}, "lightfusionnet")


def test_comparison_has_printed_and_measured_values():
    frame = pd.DataFrame({"en@cddfuse": [3.9, 4.1, 4.3], "mi@cddfuse": [2.0, 2.2, 2.4]})
    data = figures.comparison_data(build("lightfusionnet/table1a", {"lightfusionnet:pet_mri": frame}))
    assert set(data["column"]) == {"EN", "MI"}
    ours = data[(data["method"] == "LightFusionNet") & (data["column"] == "EN")].iloc[0]
    assert ours["published"] == 4.06 and ours["measured"] == pytest.approx(4.1) and ours["low"] < 4.1 < ours["high"]
    figure = figures.published_vs_measured(data)
    figure.draw_without_rendering()
    assert [axes.get_title() for axes in figure.axes] == ["EN", "MI"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][-1] == data["method"].iloc[-1]
    with pytest.raises(FusionkitError, match="no rows"):
        figures.published_vs_measured(data.iloc[:0])


def test_cost_study_finds_the_impossible_rows():
    width = figures.cost_study(get_panel("lightfusionnet/table4a"))
    reduction = figures.cost_study(get_panel("lightfusionnet/table4b"))
    assert dict(zip(width["setting"], width["possible"], strict=True)) == {8: False, 16: True, 32: False}
    assert dict(zip(reduction["setting"], reduction["possible"], strict=True)) == {2: True, 4: True, 8: False}
    assert width["rebuilt_parameters"].round().tolist() == [1431, 4119, 13335]
    inside = width[width["setting"] != 16]
    assert (inside["rebuilt_g"] > inside["low_g"]).all() and (inside["rebuilt_g"] < inside["high_g"]).all()
    figure = figures.cost_scatter(width, reduction)
    figure.draw_without_rendering()
    assert len(figure.axes) == 3


def test_metric_profile_turns_lower_is_better_around():
    table = pd.DataFrame({"EN": [1.0, 2.0], "time": [5.0, 9.0], "same": [3.0, 3.0]}, index=["p", "q"])
    scaled = metric_ranks(table, ["time"])
    assert scaled.loc["p"].tolist() == [0, 1, 1] and scaled.loc["q"].tolist() == [1, 0, 1]
    figure = figures.metric_profile(table, ["time"])
    figure.draw_without_rendering()
    assert len(figure.axes[0].get_legend_handles_labels()[1]) == 2


def test_overlap_gallery_shows_differences_in_steps_of_255():
    grey, colour = torch.full((1, 20, 30), 0.5), torch.full((3, 20, 30), 0.5)
    colour[:, 5, 5] += 10 / 255
    row = figures.OverlapRow("PET", "1.png", "2.png", colour, grey, 0.999)
    assert row.difference[5, 5] == pytest.approx(10, abs=1e-3) and row.difference[0, 0] == pytest.approx(0, abs=1e-3)
    figure = figures.overlap_gallery([row] * 3)
    figure.draw_without_rendering()
    assert len(figure.axes) == 3 * 3 + 1
    with pytest.raises(FusionkitError, match="no row"):
        figures.overlap_gallery([])
    with pytest.raises(FusionkitError, match="differ in size"):
        figures.overlap_gallery([replace(row, train=grey[:, :10])])


def test_overlap_rows_load_both_modalities(real_data):
    nearest = {"ct_nearest": "16007.png", "ct_corr": 0.9995, "mri_nearest": "16007.png", "mri_corr": 0.998}
    table = pd.DataFrame([{"name": "11.png", **nearest}])
    rows = figures.overlap_rows("harvard_ct_mri", table, ["11.png"])
    assert [row.modality for row in rows] == ["CT", "MRI"]
    assert all(0 < row.difference.mean() < 2 for row in rows)
    with pytest.raises(FusionkitError, match="no pair '99.png'"):
        figures.overlap_rows("harvard_ct_mri", table, ["99.png"])


def test_save_writes_provenance_and_leaves_the_figure_alone(tmp_path):
    figure = figures.metric_profile(pd.DataFrame({"EN": [1.0, 2.0]}, index=["p", "q"]))
    record = {"code": "abc123", "dataset": "phantom_ct_mri", "split": "test", "seconds": 1.5}
    figures.save(figure, tmp_path / "sub" / "x.png", record)
    figures.save(figure, tmp_path / "y.png", record)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["x.png"]
    assert figure.texts == []
    with Image.open(tmp_path / "sub" / "x.png") as image:
        assert json.loads(image.text["Provenance"]) == record
        assert image.text["Software"] == "fusionkit abc123" and image.text["Title"] == "x"
        assert image.width == pytest.approx(figure.get_figwidth() * style.DPI, abs=1)
        footer = np.asarray(image)[-int(style.FOOTER_INCHES * style.DPI) :]
        with Image.open(tmp_path / "y.png") as other:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(other))
    assert footer.min() < 180
    assert style.footer_line(record) == "fusionkit abc123  ·  data: phantom_ct_mri/test"
    assert style.footer_line({"code": "c", "data": {"tno/test": "0f"}, "key": "k" * 40}).endswith("key: " + "k" * 16)


@pytest.mark.parametrize("value", ["/home/somebody/x.png", {"deep": ["/tmp/x"]}, "C:\\data\\x.png"])
def test_save_refuses_paths_of_this_machine(tmp_path, value):
    figure = figures.metric_profile(pd.DataFrame({"EN": [1.0]}, index=["p"]))
    with pytest.raises(FusionkitError, match="path of this machine"):
        figures.save(figure, tmp_path / "x.png", {"file": value})
    assert list(tmp_path.iterdir()) == []


def test_save_writes_png_only(tmp_path):
    with pytest.raises(FusionkitError, match=r"ends in \.png"):
        figures.save(style.new_figure(2, 2), tmp_path / "x.pdf", {})


def test_style_does_not_leak_and_needs_no_latex():
    before = dict(matplotlib.rcParams)
    figure = figures.metric_profile(pd.DataFrame({"EN": [1.0, 2.0]}, index=["p", "q"]))
    assert dict(matplotlib.rcParams) == before
    assert not style.STYLE["text.usetex"]
    assert not figure.axes[0].spines["top"].get_visible()
    assert figure._repr_png_().startswith(b"\x89PNG")
