"""FusionMamba's parameters and operations: every count that its specification knows."""

from functools import cache

import pytest
import torch

from fusionkit.cost import gmacs, parameters
from fusionkit.models.fusionmamba import FusionMamba

PAIR = (256, 256)
TWIN = {"dims": (8, 16, 32, 64), "depths": (1, 1, 1, 1), "states": 2}
# Tokens that all 49 scans of the official network read, times channels, times states.
STATE_UPDATES = 231_211_008


@cache
def empty(**options):
    """A network whose tensors have shapes but no values."""
    with torch.device("meta"):
        return FusionMamba(**options).eval()


def trainable(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count(model, convention):
    return round(1e9 * gmacs(model, PAIR, convention))


def operations(model):
    """Multiply-adds without the scan, and operations of the scan."""
    half_scan, whole_scan = count(model, "macs"), count(model, "true")
    return 2 * half_scan - whole_scan, 2 * (whole_scan - half_scan)


@pytest.mark.parametrize(
    ("options", "every", "learned"),
    [
        ({"mode": "official"}, 225_419_541, 164_538_645),
        ({"mode": "official", "size": "ct_code"}, 141_934_037, 102_286_805),
        ({"mode": "official", "size": "tiny"}, 2_510_746, 1_857_562),
        ({"size": "tiny"}, 1_349_938, 1_349_938),
        ({"size": "tiny", "stored_ones": True}, 2_003_122, 1_349_938),
    ],
)
def test_parameters_of_each_size(options, every, learned):
    assert parameters(empty(**options)) == every
    assert trainable(empty(**options)) == learned


# Of the official network: its place, all parameters, those that are learned.
PARTS = [
    *(("embed1", 1_824, 1_824), ("embed2", 1_824, 1_824)),
    *(("encoder", 92_994_804, 69_604_596), ("decoder", 92_990_772, 69_600_564), ("fusion", 39_393_380, 25_292_900)),
    *(("encoder.0", 789_536, 623_648), ("encoder.1", 2_989_112, 2_325_560)),
    *(("encoder.2", 48_143_316, 36_199_380), ("encoder.3", 41_072_840, 30_456_008)),
    *(("encoder.0.blocks.0", 357_520, 274_576), ("encoder.1.blocks.0", 1_346_332, 1_014_556)),
    *(("encoder.2.blocks.0", 5_217_844, 3_890_740), ("encoder.3.blocks.0", 20_536_420, 15_228_004)),
    *((f"encoder.{i}.after", n, n) for i, n in enumerate((74_496, 296_448, 1_182_720))),
    *(("fusion.0", 497_333, 331_445), ("fusion.1", 1_907_045, 1_243_493)),
    *(("fusion.2", 7_463_621, 4_809_413), ("fusion.3", 29_525_381, 18_908_549)),
    *((f"fusion.{i}.cmfm", n, n) for i, n in enumerate((142_080, 486_912, 1_784_832, 6_813_696))),
    *(("decoder.0", 41_072_840, 30_456_008), ("decoder.1", 48_141_012, 36_197_076)),
    *(("decoder.2", 2_987_960, 2_324_408), ("decoder.3", 788_960, 623_072)),
    *((f"decoder.{i}.before", n, n) for i, n in enumerate((1_180_416, 295_296, 73_920), 1)),
    *(("expand", 36_912, 36_912), ("head", 25, 25)),
]


@pytest.mark.parametrize(("part", "every", "learned"), PARTS, ids=[part for part, *_ in PARTS])
def test_parameters_of_each_part(part, every, learned):
    module = empty(mode="official").get_submodule(part)
    assert parameters(module) == every
    assert trainable(module) == learned


@pytest.mark.parametrize(
    ("level", "every", "learned"),
    [(0, 354_866, 188_978), (1, 1_419_362, 755_810), (2, 5_677_250, 3_023_042), (3, 22_708_610, 12_091_778)],
)
def test_parameters_of_enhancement_with_its_unused_convolution(level, every, learned):
    fusion = empty(mode="official").fusion[level]
    assert parameters(fusion.dfem) + parameters(fusion.unused) == every
    assert trainable(fusion.dfem) + trainable(fusion.unused) == learned


def test_operations_of_the_official_network_to_the_last_digit():
    model = empty(mode="official")
    assert operations(model) == (45_214_552_224, 9 * STATE_UPDATES)
    assert count(model, "thop") == 26_477_486_784


@pytest.mark.parametrize(
    ("options", "parameters_m", "thop_g"),
    [
        ({"size": "ct_code"}, 141.93, 13.69),
        ({"size": "table6"}, 152.37, 15.29),
        ({"fusion_mlp": True}, 231.70, 27.69),
        ({"size": "table6", "fusion_mlp": True}, 158.65, 16.4999),
    ],
)
def test_candidates_for_the_printed_cost(options, parameters_m, thop_g):
    model = empty(mode="official", **options)
    digits = len(str(thop_g).partition(".")[2])
    assert round(gmacs(model, PAIR, "thop"), digits) == thop_g
    assert round(parameters(model) / 1e6, 2) == parameters_m


@pytest.mark.parametrize(
    ("options", "parameters_m", "macs_g"),
    [
        ({}, 115.8, 30.7),
        ({"size": "tiny"}, 1.3, 0.904),
        ({"mode": "official", "size": "tiny"}, 2.5, 1.293),
        ({"mode": "official", "size": "table6", "fusion_mlp": True}, 158.6, 27.82),
    ],
)
def test_multiply_adds_of_other_networks(options, parameters_m, macs_g):
    model = empty(**options)
    digits = len(str(macs_g).partition(".")[2])
    assert round(operations(model)[0] / 1e9, digits) == macs_g
    assert round(parameters(model) / 1e6, 1) == parameters_m


@pytest.fixture(scope="module")
def gradients():
    """Gradients of a network with the official one's parts but few channels."""
    torch.manual_seed(0)
    model = FusionMamba(mode="official", **TWIN).train()
    model.reconstruct(*torch.rand(2, 1, 1, 64, 64)).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def test_parameters_of_the_official_network_that_receive_a_gradient(gradients):
    full = dict(empty(mode="official").named_parameters())
    without = [name for name, gradient in gradients.items() if gradient is None]
    assert all(name.startswith("fusion.0.") or ".unused." in name for name in without)
    assert trainable(empty(mode="official")) - sum(full[name].numel() for name in without) == 163_819_456


def test_half_of_a_projection_of_the_official_network_gets_zero_gradient(gradients):
    full = dict(empty(mode="official").named_parameters())
    dead = [f"fusion.{level}.cmfm.in_proj2.weight" for level in (1, 2, 3)]
    for name in dead:
        used, unused = gradients[name].chunk(2)
        assert used.abs().sum() > 0
        assert unused.abs().sum() == 0
    assert sum(full[name].numel() for name in dead) / 2 == 1_548_288
