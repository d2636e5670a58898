"""Reading and writing images: every kind of file a user may bring, and one clear line for what cannot be read."""

import numpy as np
import png
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusionkit import FusionkitError
from fusionkit.data.colour import rgb_to_ycbcr, to_luma, ycbcr_to_rgb
from fusionkit.data.images import bit_depth, read_image, write_image

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (20, 24), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (20, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_again(tmp_path, bits, channels):
    levels = (1 << bits) - 1
    image = torch.randint(0, levels + 1, (channels, 17, 23)) / levels
    write_image(tmp_path / "x.png", image, bits)
    torch.testing.assert_close(read_image(tmp_path / "x.png"), image.float(), atol=1e-7, rtol=0)
    assert bit_depth(tmp_path / "x.png") == bits


def test_sixteen_bit_grey_and_colour_from_other_writers(tmp_path):
    deep = GENERATOR.integers(0, 65536, (20, 24), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "grey.png")
    torch.testing.assert_close(read_image(tmp_path / "grey.png")[0], torch.from_numpy(deep / 65535).float())
    colour = GENERATOR.integers(0, 65536, (20, 24, 3), dtype=np.uint16)
    png.from_array(colour.reshape(20, -1), "RGB;16").save(str(tmp_path / "colour.png"))
    expected = torch.from_numpy((colour / 65535).transpose(2, 0, 1)).float()
    torch.testing.assert_close(read_image(tmp_path / "colour.png"), expected)


def test_palette_is_expanded(tmp_path):
    picture = Image.fromarray(COLOUR).quantize(16)
    picture.save(tmp_path / "p.png")
    expected = np.array(picture.convert("RGB")).transpose(2, 0, 1) / 255
    torch.testing.assert_close(read_image(tmp_path / "p.png"), torch.from_numpy(expected).float())


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path):
    alpha = np.full((20, 24, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], 2)).save(tmp_path / "opaque.png")
    assert read_image(tmp_path / "opaque.png").shape == (3, 20, 24)
    alpha[3, 4] = 7
    Image.fromarray(np.concatenate([COLOUR, alpha], 2)).save(tmp_path / "clear.png")
    with pytest.raises(FusionkitError, match=r"clear\.png: has transparent pixels"):
        read_image(tmp_path / "clear.png")


def test_black_and_white_bitmap(tmp_path):
    Image.fromarray(GREY > 127).save(tmp_path / "x.png")
    assert set(read_image(tmp_path / "x.png").unique().tolist()) == {0.0, 1.0}


def _truncated(path):
    Image.fromarray(COLOUR).save(path)
    path.write_bytes(path.read_bytes()[:400])


def _not_an_image(path):
    path.write_text("this is text")


def _nan(path):
    tifffile.imwrite(path, np.full((20, 24), np.nan, np.float32))


def _too_bright(path):
    tifffile.imwrite(path, np.full((20, 24), 7.0, np.float32))


def _deep_truncated(path):
    png.from_array(GREY.astype(np.uint16), "L;16").save(str(path))
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (_truncated, "x.png", "damaged or not an image"),
        (_deep_truncated, "x.png", "damaged or not an image"),
        (_not_an_image, "x.png", "damaged or not an image"),
        (_not_an_image, "x.txt", "not an image type"),
        (_nan, "x.tif", "NaN"),
        (_too_bright, "x.tif", r"outside \[0, 1\]"),
        (lambda path: None, "x.png", "image not found"),
    ],
)
def test_unreadable_files_are_named(tmp_path, make, name, message):
    make(tmp_path / name)
    with pytest.raises(FusionkitError, match=message) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    write_image(tmp_path / "x.png", torch.zeros(1, 16, 16))
    before = (tmp_path / "x.png").read_bytes()
    with pytest.raises(TypeError):
        write_image(tmp_path / "x.png", torch.zeros(5, 16, 16))
    assert (tmp_path / "x.png").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_wrong_target_names(tmp_path):
    with pytest.raises(FusionkitError, match="choose a file name"):
        write_image(tmp_path / "x", torch.zeros(1, 16, 16))
    with pytest.raises(FusionkitError, match="16-bit images are written as .png"):
        write_image(tmp_path / "x.jpg", torch.zeros(1, 16, 16), 16)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_colour_survives_splitting_and_joining(seed):
    rgb = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(ycbcr_to_rgb(*rgb_to_ycbcr(rgb)), rgb, atol=1e-6, rtol=0)


def test_grey_stays_grey():
    grey = torch.rand(1, 8, 8)
    luma, chroma = rgb_to_ycbcr(grey.expand(3, -1, -1))
    torch.testing.assert_close(luma, grey)
    assert chroma.abs().max() < 1e-6
    assert to_luma(grey) is grey
