"""S4Fusion's loss on crops and on whole images."""

import dataclasses

import pytest
import torch

from fusionkit.audits import s4fusion_crops
from fusionkit.audits.s4fusion_crops import crop_losses, describe_crops, infrared_weights, tiles
from fusionkit.data import load_pair
from fusionkit.models.rules import Maximum


@pytest.mark.parametrize("size", [(61, 61), (25, 40), (61, 130), (150, 185)])
def test_tiles_are_the_squares_of_an_image_row_by_row(size):
    images = torch.rand(2, 1, *size)
    height, width = (min(61, axis) for axis in size)
    rows, columns = (range(0, size[axis] - side + 1, side) for axis, side in enumerate((height, width)))
    by_corner = {
        image[0, y, x].item(): image[:, y : y + height, x : x + width]
        for image in images
        for y in rows
        for x in columns
    }
    found = tiles(images, 61)
    assert len(found) == len(by_corner)
    assert all(torch.equal(tile, by_corner[tile[0, 0, 0].item()]) for tile in found)


def test_loss_of_crops_and_of_whole_images(monkeypatch):
    monkeypatch.setattr(s4fusion_crops, "load_method", lambda _: Maximum())
    pairs = [load_pair("phantom_ir_vis", "test", name) for name in ("000", "001")]
    table = crop_losses("net:x", pairs, 61, "smoke")
    assert list(table.index) == ["average", "maximum", "net:x", "floor"]
    columns = ["crops", "whole", "whole, by crops"]
    assert table.loc["net:x", columns].tolist() == table.loc["maximum", columns].tolist()
    assert table.loc["maximum", "crops"] == pytest.approx(
        table.loc["maximum", "whole, by crops"]
    )  # it knows no context
    assert table.loc["floor", "crops"] < table["crops"].drop("floor").min()
    text = describe_crops(table, "net:x")
    assert f"a loss of {table.loc['net:x', 'crops']:.2f}" in text and "neither rule" in text or "average" in text


def test_the_weight_of_infrared_is_the_rest_of_the_visible_ones():
    pair = load_pair("phantom_ir_vis", "test", "000")
    exchanged = dataclasses.replace(pair, a=pair.b, b=pair.a)
    (one,), (two,) = infrared_weights([pair]), infrared_weights([exchanged])
    assert 0 < one < 1 and one + two == pytest.approx(1)
    flat = dataclasses.replace(pair, a=torch.full_like(pair.a, 0.5))
    assert infrared_weights([flat])[pair.name] < min(0.5, one)
