"""Scan paths: bijections with exact inverses, reading and putting back adjoint, and the authors' orders."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.errors import FusionkitError
from fusionkit.ops.scan_paths import SCAN_PATHS, gather, scan_path, scatter

NAMES = st.sampled_from(sorted(SCAN_PATHS))
SIDES = st.integers(1, 9)


def maps(path, batch=2, channels=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    size = (batch, channels, path.height, path.width)
    return [torch.randn(size, dtype=dtype, generator=generator) for _ in range(path.modalities)]


def inner(left, right):
    return sum((x * y).sum().item() for x, y in zip(left, right, strict=True))


@settings(max_examples=40, deadline=None)
@given(NAMES, SIDES, SIDES)
def test_every_round_is_a_bijection_and_the_inverse_is_exact(name, height, width):
    path = scan_path(name, height, width)
    pixels = torch.arange(height * width * (1 if path.joined else path.modalities))
    rounds = path.order.view(len(path.inverse), -1)
    for visited, where in zip(rounds, path.inverse, strict=True):
        assert torch.equal(visited[visited >= 0].sort().values, pixels)
        assert torch.equal(visited[where], pixels)
        assert torch.equal(where[visited[visited >= 0]], torch.nonzero(visited >= 0)[:, 0])
    assert path.padded == bool((path.order < 0).any())
    assert len(rounds) == (1 if name == "es2d" else 4)


@settings(max_examples=40, deadline=None)
@given(NAMES, SIDES, SIDES, st.integers(1, 3), st.integers(1, 4))
def test_what_is_read_is_put_back(name, height, width, batch, channels):
    path = scan_path(name, height, width)
    features = maps(path, batch, channels)
    sequences = gather(path, *features)
    back = scatter(path, sequences)
    assert sequences.shape[:2] + sequences.shape[3:] == (batch, *path.order.shape) and sequences.is_contiguous()
    assert all(torch.equal(x, len(path.inverse) * y) for x, y in zip(back, features, strict=True))


@settings(max_examples=30, deadline=None)
@given(NAMES, SIDES, SIDES)
def test_reading_and_putting_back_are_adjoint(name, height, width):
    path = scan_path(name, height, width)
    features = [x.requires_grad_() for x in maps(path)]
    read = gather(path, *features)
    other = torch.randn(read.shape, dtype=read.dtype, requires_grad=True)
    put = scatter(path, other)
    assert inner([read], [other]) == pytest.approx(inner(features, put), rel=1e-12, abs=1e-10)
    gradients = torch.autograd.grad(read, features, other, retain_graph=True)
    assert all(torch.equal(x, y) for x, y in zip(gradients, put, strict=True))
    (gradient,) = torch.autograd.grad(put, other, features)
    assert torch.equal(gradient, read)


@pytest.mark.parametrize("name", SCAN_PATHS)
def test_gradients_of_both_orders(name):
    path = scan_path(name, 3, 2)
    features = [x.requires_grad_() for x in maps(path, 1, 2)]
    assert torch.autograd.gradcheck(lambda *x: gather(path, *x), features)
    assert torch.autograd.gradgradcheck(lambda *x: scatter(path, gather(path, *x).square()), features)


# The authors' orders


@pytest.mark.parametrize(("height", "width"), [(2, 3), (3, 2), (3, 3)])
def test_ss2d_reads_as_vmamba(golden, height, width):
    expected = np.load(golden / "models/vmamba/scan_order.npz")[f"s{height}x{width}"]
    np.testing.assert_array_equal(scan_path("ss2d", height, width).order, expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 5), (4, 5), (5, 4), (1, 1), (2, 2)])
def test_es2d_reads_as_fusionmamba_odd_sizes_included(golden, size):
    expected = np.load(golden / "models/fusionmamba/blocks/es2d_order.npz")["s{}x{}".format(*size)]
    np.testing.assert_array_equal(scan_path("es2d", *size).order + 1, expected)


def test_ss2d_reads_as_s4fusion(golden):
    values = np.load(golden / "models/s4fusion/blocks/ss2d_scan_args.npz")
    expected = torch.from_numpy(values["scan_u"]).view(1, 4, 36, 6)
    image = expected[:, 0].reshape(1, 36, 2, 3)
    assert torch.equal(gather(scan_path("ss2d", 2, 3), image), expected)


def test_interleave_reads_as_s4fusion(golden):
    values = np.load(golden / "models/s4fusion/blocks/cmsab_scan_args.npz")
    expected = torch.from_numpy(values["scan_u"]).view(1, 4, 36, 12)
    infrared, visible = (expected[:, 0, :, start::2].reshape(1, 36, 2, 3) for start in (0, 1))
    assert torch.equal(gather(scan_path("interleave", 2, 3), infrared, visible), expected)


def test_interleave_of_a_small_map():
    path = scan_path("interleave", 1, 2)
    assert path.order.tolist() == [[0, 2, 1, 3], [0, 2, 1, 3], [1, 3, 0, 2], [1, 3, 0, 2]]


def realigned(name, infrared, visible):
    """DIFF-MF's eq. 10 written on images."""
    if name == "realign_column":
        return torch.stack([infrared, visible], -1).flatten(-2)
    return torch.cat([infrared, visible], 3 if name == "realign_row" else 1)


@pytest.mark.parametrize("name", ["realign_column", "realign_row", "realign_concat"])
def test_realigned_paths_are_ss2d_over_the_realigned_map(name):
    path = scan_path(name, 3, 5)
    infrared, visible = maps(path)
    image = realigned(name, infrared, visible)
    expected = gather(scan_path("ss2d", *image.shape[2:]), image)
    assert torch.equal(gather(path, infrared, visible), expected)


def test_realigned_columns_of_a_2x2_map():
    infrared, visible = torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([[[[5, 6], [7, 8]]]])
    first = {
        name: gather(scan_path(name, 2, 2), infrared, visible)[0, 0].tolist()
        for name in ("realign_column", "realign_row", "realign_concat")
    }
    assert first == {
        "realign_column": [[1, 5, 2, 6, 3, 7, 4, 8]],
        "realign_row": [[1, 2, 5, 6, 3, 4, 7, 8]],
        "realign_concat": [[1, 2, 3, 4], [5, 6, 7, 8]],
    }


# Use


def test_padding_reads_zero_and_is_dropped():
    path = scan_path("es2d", 1, 1)
    sequences = gather(path, torch.full((1, 1, 1, 1), 7.0))
    assert sequences.flatten().tolist() == [7, 0, 0, 0]
    assert scatter(path, sequences + 1)[0].item() == 8


def test_any_memory_layout_and_dtype():
    path = scan_path("ss2d", 4, 5)
    image = torch.randn(2, 4, 5, 3).permute(0, 3, 1, 2)
    assert torch.equal(gather(path, image), gather(path, image.contiguous()))
    sequences = gather(path, image).transpose(0, 2).contiguous().transpose(0, 2)
    assert torch.equal(scatter(path, sequences)[0], scatter(path, sequences.contiguous())[0])
    assert gather(path, image.bfloat16()).dtype == torch.bfloat16


def test_paths_are_kept_and_work_where_they_were_not_made():
    assert scan_path("ss2d", 6, 7) is scan_path("ss2d", 6, 7)
    with torch.inference_mode():
        path = scan_path("es2d", 11, 13)
        gather(path, torch.ones(1, 1, 11, 13))
    image = torch.ones(1, 1, 11, 13, requires_grad=True)
    gather(path, image).sum().backward()
    assert not path.order.is_inference() and torch.equal(image.grad, torch.ones_like(image))
    with torch.device("meta"):
        path = scan_path("es2d", 12, 13)
        assert gather(path, torch.ones(1, 2, 12, 13)).shape == (1, 4, 2, 42)
    assert path.order.device.type == "cpu"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scan_path("ss3d", 2, 2), "unknown scan path 'ss3d'; did you mean ss2d"),
        (lambda: scan_path("ss2d", 0, 2), "a map of 0x2 has no pixel"),
        (lambda: gather(scan_path("interleave", 2, 2), torch.zeros(1, 1, 2, 2)), r"reads 2 map\(s\), 1 given"),
        (lambda: gather(scan_path("ss2d", 2, 2), torch.zeros(1, 1, 2, 3)), r"\(B, C, 2, 2\) and alike"),
        (lambda: gather(scan_path("ss2d", 2, 2), torch.zeros(1, 2, 2)), r"\(B, C, 2, 2\) and alike"),
        (
            lambda: gather(scan_path("interleave", 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)),
            r"alike, not \(1, 1, 2, 2\) and \(1, 2, 2, 2\)",
        ),
        (lambda: scatter(scan_path("es2d", 4, 4), torch.zeros(1, 4, 3, 5)), r"must be \(B, 4, C, 4\)"),
        (lambda: scatter(scan_path("realign_concat", 1, 1), torch.zeros(1, 4, 3, 1)), "even C"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(FusionkitError, match=words):
        call()
