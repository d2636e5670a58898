"""The scan over feature maps: authors' values, initial values, several maps at once."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812

from fusionkit import FusionkitError
from fusionkit.models.layout import channels_first, channels_last
from fusionkit.models.scan2d import SelectiveScan2d

PRECISIONS = {"float64": (torch.float64, "_f64", 1e-11), "float32": (torch.float32, "", 5e-6)}
# Block: tags of its maps, then channels, states and rank of its scan.
VMAMBA = {"ss2d_v0": (("s6x6", "s5x7", "s1x4"), (32, 16, 1)), "ss2d_v0_d20": (("s4x3",), (40, 6, 2))}
TWO_MAPS = ("interleave", "realign_column", "realign_row", "realign_concat")


def error(ours, theirs):
    """Largest difference over the largest value."""
    assert ours.shape == theirs.shape
    return (ours.double() - theirs.double()).abs().max().item() / theirs.abs().max().item()


def load(file):
    with np.load(file.with_suffix(".npz")) as values:
        arrays = {key: torch.from_numpy(values[key]) for key in values.files}
    return load_file(file.with_suffix(".safetensors")), arrays


def scan_with(state, path, *sizes):
    scan = SelectiveScan2d(path, *sizes)
    scan.load_state_dict({key: state[key] for key in scan.state_dict()})
    return scan


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("tag", ["even", "odd", "odd_rows", "odd_cols", "single", "row"])
def test_es2d_equals_the_authors_of_fusionmamba(golden, tag, precision):
    dtype, suffix, tolerance = PRECISIONS[precision]
    state, values = load(golden / "models" / "fusionmamba" / "blocks" / "es2d")
    (scanned,) = scan_with(state, "es2d", 10, 6, 3).to(dtype)(values[f"{tag}.x"].to(dtype))
    assert error(channels_last(scanned.detach()), values[f"{tag}.y_before_norm{suffix}"]) <= tolerance


def vmamba_block(state, scan, x):
    """What surrounds the scan in VMamba's first version: projections, convolution, norm and gate."""
    inside, gate = F.linear(x, state["in_proj.weight"]).chunk(2, -1)
    inside = channels_first(inside)
    inside = F.conv2d(inside, state["conv2d.weight"], state["conv2d.bias"], padding=1, groups=inside.shape[1])
    (scanned,) = scan(F.silu(inside))
    scanned = channels_last(scanned)
    normed = F.layer_norm(scanned, scanned.shape[-1:], state["out_norm.weight"], state["out_norm.bias"])
    return F.linear(normed * F.silu(gate), state["out_proj.weight"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "tag"), [(name, tag) for name, (tags, _) in VMAMBA.items() for tag in tags])
def test_ss2d_within_its_block_equals_vmamba(golden, name, tag, precision):
    dtype, suffix, tolerance = PRECISIONS[precision]
    state, values = load(golden / "models" / "vmamba" / name)
    scan = scan_with(state, "ss2d", *VMAMBA[name][1]).to(dtype)
    state = {key: tensor.to(dtype) for key, tensor in state.items()}
    found = vmamba_block(state, scan, values[f"{tag}.x"].to(dtype)).detach()
    assert error(found, values[f"{tag}.y{suffix}"]) <= tolerance


@pytest.mark.parametrize(("channels", "rank"), [(8, 1), (16, 1), (17, 2), (96, 6)])
def test_rank_is_a_sixteenth_of_the_channels_rounded_up(channels, rank):
    assert SelectiveScan2d("ss2d", channels).rank == rank


def test_initial_values_are_those_of_mamba():
    torch.manual_seed(0)
    scan = SelectiveScan2d("ss2d", 24, states=5, rank=3)
    steps = F.softplus(scan.dt_projs_bias)
    assert 1e-3 * (1 - 1e-3) <= steps.min() < 2e-3
    assert 5e-2 < steps.max() <= 1e-1 * (1 + 1e-3)
    torch.testing.assert_close(scan.A_logs.exp(), torch.arange(1.0, 6).expand(4 * 24, 5))
    assert torch.equal(scan.Ds, torch.ones(4 * 24))
    for weight, width in ((scan.x_proj_weight, 24), (scan.dt_projs_weight, 3)):
        assert 0.9 / math.sqrt(width) < weight.abs().max() <= 1 / math.sqrt(width)


def test_arguments_are_projections_of_the_sequences():
    torch.manual_seed(0)
    scan, sequences = SelectiveScan2d("ss2d", 6, states=3, rank=2), torch.rand(2, 4, 6, 7)
    low_rank, into, out_of = torch.einsum("bkcl,knc->bknl", sequences, scan.x_proj_weight).split([2, 3, 3], 2)
    step = torch.einsum("bkrl,kcr->bkcl", low_rank, scan.dt_projs_weight)
    for found, expected in zip(scan.arguments(sequences), (step, into, out_of), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("path", TWO_MAPS)
def test_two_maps_come_back_as_two_maps(path):
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 4, 3, 5)
    scan = SelectiveScan2d(path, 8 if path == "realign_concat" else 4, states=2)
    found = scan(a, b)
    assert [x.shape for x in found] == [a.shape, b.shape]
    changed = scan(a, b.flip(0))[0]
    assert (changed - found[0]).abs().max() > 1e-4  # each map hears of the other


def test_gradients_are_right():
    torch.manual_seed(0)
    scan = SelectiveScan2d("es2d", 2, states=2, rank=1).double()
    x = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: scan(x)[0], (x, *scan.parameters()))


def test_bad_paths_and_maps_are_named():
    with pytest.raises(FusionkitError, match="unknown scan path 'es3d'; did you mean es2d"):
        SelectiveScan2d("es3d", 4)(torch.rand(1, 4, 2, 2))
    with pytest.raises(FusionkitError, match=r"reads 2 map\(s\), 1 given"):
        SelectiveScan2d("interleave", 4)(torch.rand(1, 4, 2, 2))
