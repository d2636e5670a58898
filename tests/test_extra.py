"""Methods that the package does not know: callables, networks and folders, and what is wrong with them."""

import re

import nbformat
import pandas as pd
import pytest
import torch

from fusionkit import FusionkitError, create_model, measure, paths
from fusionkit.data import load_pair
from fusionkit.data.images import write_image
from fusionkit.extra import fused_by, measure_extra
from fusionkit.papers import get_panel
from fusionkit.tables import build
from fusionkit.tables.build import recorded

WHERE = ("phantom_ct_mri", "test")
NAMES = ["000", "001"]


@pytest.fixture(scope="module")
def average():
    return measure.compute("average", *WHERE, NAMES).values


def test_a_callable_a_network_and_a_folder_of_one_rule_are_measured_alike(average, tmp_path):
    of_function = measure_extra(lambda a, b: (a + b) / 2, *WHERE, NAMES)
    of_network = measure_extra(create_model("average"), *WHERE, NAMES)
    pd.testing.assert_frame_equal(of_network, average)
    pd.testing.assert_frame_equal(of_function, average)
    for name in NAMES:
        pair = load_pair(*WHERE, name)
        write_image(tmp_path / f"{name}.png", torch.maximum(pair.a, pair.b))
    of_folder = measure_extra(tmp_path, *WHERE, NAMES)
    metrics = [column for column in average if column.startswith("sf@")]
    pd.testing.assert_frame_equal(of_folder[metrics], measure_extra(torch.maximum, *WHERE, NAMES)[metrics])


def test_a_further_row_stands_beside_the_printed_ones(average):
    panel = get_panel("lightfusionnet/table1c")
    table = build(panel, recorded(panel) | {"mine": average})
    assert table.cells["mine", "SF"].mean == pytest.approx(average["sf@cddfuse-uint8"].mean())
    assert table.cells["mine", "SF"].published == ""


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (lambda a, b: a[..., 1:], r"returned the shape \(1, 1, \d+, \d+\) for \(1, 1, \d+, \d+\)"),
        (lambda a, b: torch.cat([a, b], 1), "returned the shape"),
        (lambda a, b: torch.full_like(a, torch.nan), "no finite numbers"),
        (lambda a, b: a.where(a != a.max(), torch.inf), "no finite numbers"),
        (lambda a, b: 255 * a, "values from 0 to 255; bring them into"),
        (lambda a, b: a - 0.5, "values from -0.5 to"),
        (lambda a, b: (255 * a).byte(), "a tensor of torch.uint8; return a floating-point tensor"),
        (lambda a, b: a.numpy(), "returned ndarray"),
        (lambda a, b: None, "returned NoneType"),
    ],
)
def test_what_is_no_fused_image_is_one_clear_error(method, text):
    with pytest.raises(FusionkitError, match=text) as caught:
        measure_extra(method, *WHERE, NAMES)
    assert str(caught.value).startswith("phantom_ct_mri/test/000: the method returned")
    assert "\n" not in str(caught.value)


def test_rounding_at_the_ends_of_the_range_is_no_error():
    pair = load_pair(*WHERE, "000")
    assert fused_by(lambda a, b: torch.maximum(a, b) + 1e-6, pair).max() >= 0


def test_a_folder_without_one_image_or_with_another_size_is_named(tmp_path):
    with pytest.raises(FusionkitError, match=r"000\.png: no such image"):
        measure_extra(tmp_path, *WHERE, NAMES)
    write_image(tmp_path / "000.png", torch.rand(1, 20, 30))
    with pytest.raises(FusionkitError, match=r"000\.png: 30x20 pixels, but the pair has"):
        measure_extra(str(tmp_path), *WHERE, NAMES)


def test_the_network_that_the_walkthrough_prints_is_a_method():
    notebook = nbformat.read(paths.notebooks_dir() / "walkthroughs" / "05_add_a_method.ipynb", 4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    blocks = re.findall(r"```python\n(.*?)```", prose, re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0].count("\n") <= 20
    before = set(measure.MODELS)
    try:
        torch.manual_seed(0)
        exec(blocks[0], {})
        added = set(measure.MODELS) - before
        assert len(added) == 1
        values = measure_extra(create_model(*added), *WHERE, NAMES)
        assert values["en@cddfuse"].notna().all()
    finally:
        for name in set(measure.MODELS) - before:
            del measure.MODELS[name]
