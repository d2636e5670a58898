"""What networks refuse, how images grow to a multiple of the stride, and the two layouts of features."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit import FusionkitError
from fusionkit.models.inputs import SMALLEST, TOLERANCE, check_images, pad_to_multiple
from fusionkit.models.layout import channels_first, channels_last

GOOD = torch.linspace(0, 1, 2 * 16 * 20).view(2, 1, 16, 20)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.sampled_from([1, 2, 4, 16, 32]))
def test_padding_mirrors_the_right_and_lower_edge(height, width, multiple):
    image = torch.rand(2, 1, height, width)
    missing = [(0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)]
    padded = pad_to_multiple(image, multiple)
    np.testing.assert_array_equal(padded, np.pad(image.numpy(), missing, "reflect"))
    assert torch.equal(padded[..., :height, :width], image)


def test_images_that_fit_are_not_copied():
    assert pad_to_multiple(GOOD, 4) is GOOD


def test_padding_passes_gradients_on():
    image = torch.rand(1, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pad_to_multiple(x, 4), image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_good_images_pass(dtype):
    check_images(GOOD.to(dtype), GOOD.flip(0).to(dtype))


def test_images_without_values_pass():
    check_images(GOOD.to("meta"), GOOD.to("meta"))


def test_rounding_beyond_the_range_passes_and_more_does_not():
    check_images(GOOD + TOLERANCE / 2, GOOD - TOLERANCE / 2)
    for wrong in (GOOD + 2 * TOLERANCE, GOOD - 2 * TOLERANCE):
        with pytest.raises(FusionkitError, match=r"first image: values must be in \[0, 1\]"):
            check_images(wrong, GOOD)


def with_pixel(value):
    image = GOOD.clone()
    image[1, 0, 3, 4] = value
    return image


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (GOOD[0], r"must be \(B, 1, H, W\), one channel; got \(1, 16, 20\)"),
        (GOOD.expand(-1, 3, -1, -1), r"must be \(B, 1, H, W\), one channel; got \(2, 3, 16, 20\)"),
        (GOOD.to(torch.uint8), "must be floating point in .*; got torch.uint8; divide by 255"),
        (GOOD.to(torch.int64), "must be floating point .*got torch.int64"),
        (255 * GOOD, r"values must be in \[0, 1\]; got 0 to 255"),
        (2 * GOOD - 1, r"values must be in \[0, 1\]; got -1 to 1"),
        (with_pixel(torch.nan), r"values must be in \[0, 1\]; got nan"),
        (with_pixel(torch.inf), r"values must be in \[0, 1\]; got 0 to inf"),
    ],
)
def test_bad_images_are_named_on_either_side(wrong, message):
    with pytest.raises(FusionkitError, match=f"first image: {message}"):
        check_images(wrong, GOOD)
    with pytest.raises(FusionkitError, match=f"second image: {message}"):
        check_images(GOOD, wrong)


@pytest.mark.parametrize("other", [GOOD[:1], GOOD[:, :, :, 1:], GOOD.mT])
def test_images_of_another_shape_are_refused(other):
    with pytest.raises(FusionkitError, match=r"must be alike; got \(2, 1, 16, 20\) and"):
        check_images(GOOD, other)


@pytest.mark.parametrize(("height", "width"), [(SMALLEST - 1, 20), (20, SMALLEST - 1), (1, 1), (0, 16)])
def test_small_images_are_refused(height, width):
    image = torch.zeros(1, 1, height, width)
    with pytest.raises(FusionkitError, match=f"at least 16x16 pixels; got {height}x{width}"):
        check_images(image, image)


def test_layouts_are_views_and_each_undoes_the_other():
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(channels_last(x), x.movedim(1, -1))
    assert torch.equal(channels_first(x), x.movedim(-1, 1))
    assert torch.equal(channels_first(channels_last(x)), x)
    assert channels_last(x).data_ptr() == x.data_ptr() == channels_first(x).data_ptr()
