"""VMamba's block against values of the authors' code; S4Fusion's form of it is tested with S4Fusion."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fusionkit.models.layout import channels_last
from fusionkit.models.scan2d import SelectiveScan2d
from fusionkit.models.vss import GatedScan, VisualBlock, initialise_linear, step_rank

# Our names, and what VMamba has there.
NAMES = (
    ("mlp.0.", "norm2."),
    ("mlp.1.", "mlp.fc1."),
    ("mlp.3.", "mlp.fc2."),
    ("ss2d.", "op."),
    ("scan.", ""),
)
BLOCKS = {
    "ss2d_v0": lambda: GatedScan(16, 32, SelectiveScan2d("ss2d", 32, 16, step_rank(16))),
    "ss2d_v0_d20": lambda: GatedScan(20, 40, SelectiveScan2d("ss2d", 40, 6, step_rank(20))),
    "vss_block_v0": lambda: VisualBlock(16),
    "vss_block_v0_mlp": lambda: VisualBlock(16, mlp=4),
}
PRECISIONS = {"float64": (torch.float64, "_f64", 1e-11), "float32": (torch.float32, "", 5e-6)}


def theirs(name):
    for ours, other in NAMES:
        name = name.replace(ours, other, 1)
    return name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", BLOCKS)
def test_block_equals_vmamba(golden, name, precision):
    dtype, suffix, tolerance = PRECISIONS[precision]
    folder = golden / "models" / "vmamba"
    state, block = load_file(folder / f"{name}.safetensors"), BLOCKS[name]()
    names = {key: theirs(key) for key in block.state_dict()}
    assert set(names.values()) == set(state)
    block.load_state_dict({ours: state[other] for ours, other in names.items()})
    values = np.load(folder / f"{name}.npz")
    for tag in {key.partition(".")[0] for key in values}:
        found = block.to(dtype)(torch.from_numpy(values[f"{tag}.x"]).to(dtype))
        found = found[0] if isinstance(found, tuple) else found
        wanted = torch.from_numpy(values[f"{tag}.y{suffix}"])
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= tolerance * wanted.abs().max(), tag


class Exchange(nn.Module):
    """Stands for a scan of two maps."""

    def forward(self, first, second):
        return second, first


def test_several_maps_share_everything_but_what_the_scan_makes_of_them():
    torch.manual_seed(0)
    block = GatedScan(8, 12, Exchange())
    first, second = torch.rand(2, 1, 4, 5, 8)
    swapped, _ = block(first, second)
    scanned, gate = block.widen(second)[0], block.widen(first)[1]
    torch.testing.assert_close(swapped, block.out_proj(block.out_norm(channels_last(scanned)) * gate))


def test_what_is_scanned_has_channels_first():
    features, gate = GatedScan(8, 12, nn.Identity()).widen(torch.rand(2, 4, 5, 8))
    assert features.shape == (2, 12, 4, 5)
    assert gate.shape == (2, 4, 5, 12)


def test_block_without_output_is_the_identity():
    block = VisualBlock(8, states=4)
    nn.init.zeros_(block.ss2d.out_proj.weight)
    x = torch.rand(1, 3, 4, 8)
    assert torch.equal(block(x), x)


def test_linear_layers_start_small_and_all_others_stay():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, 64), nn.Conv2d(2, 2, 3))
    before = layers[1].weight.clone()
    layers.apply(initialise_linear)
    assert layers[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(layers[0].bias, torch.zeros(64))
    assert torch.equal(layers[1].weight, before)


def test_rank_of_the_step_is_a_sixteenth_rounded_up():
    assert [step_rank(channels) for channels in (16, 17, 48, 96, 192)] == [1, 2, 3, 6, 12]
