"""DIFF-MF's parameters and operations: every count that its specification knows, and how near Table VII they come."""

from functools import cache

import pytest
import torch

from fusionkit.audits.diffmf_cost import operations
from fusionkit.cost import parameters
from fusionkit.models.diffmf import DiffMF

SIDE = 512
PRINTED = 393.871


@cache
def empty(size="base", **options):
    """A network whose tensors have shapes but no values."""
    with torch.device("meta"):
        return DiffMF(size, **options).eval()


@pytest.mark.parametrize(
    ("size", "options", "count"),
    [
        ("base", {}, 649_601),
        ("tiny", {}, 331_137),
        ("base", {"stages": 0}, 649_601 - 4 * 80_896),
        ("base", {"channel_exchange": False}, 649_601 - 48_960),
        ("base", {"spatial_exchange": False}, 649_601 - 3 * 67_584 - 36_992 - 2_080 - 1_024),
        ("base", {"guidance": "added"}, 649_601),
        ("base", {"exchange": "from_visible"}, 649_601),
        ("base", {"reweighting": False}, 649_601 - 7_360),
        ("base", {"residual": "none"}, 649_601 - 2 * 1_056),
        ("base", {"residual": "static"}, 649_601 - 2 * 1_056 + 2 * 32),
        ("base", {"reading": "tokens"}, 649_601 + 4 * 64 * 96),
        ("base", {"merge": "five"}, 649_601 + 3 * 2 * 32 * 32),
        ("base", {"depth": 2}, 649_601 + 4 * 3 * 20_800),
        ("base", {"stem_stride": 4}, 649_601),
        ("base", {"block": "restormer"}, 649_601 - 2 * 20_800 - 21 * 20_800 + 23 * 14_794),
    ],
)
def test_parameters_of_each_size_and_ablation(size, options, count):
    assert parameters(empty(size, **options)) == count


PARTS = [
    *(("stem_infrared", 9_568), ("stem_visible", 9_568), ("stages.3", 80_896), ("stages.0.shared", 20_800)),
    *(("stages.0.infrared", 20_800), ("stages.0.shared_convolutions", 18_496), ("channel_exchange", 48_960)),
    *(("channel_exchange.exchange", 41_600), ("channel_exchange.reweight", 7_360), ("spatial_exchange.middle", 2_080)),
    *(("spatial_exchange.fusion.0", 67_584), ("spatial_exchange.down_infrared", 18_496), ("decoder", 16_097)),
]


@pytest.mark.parametrize(("part", "count"), PARTS, ids=[part for part, _ in PARTS])
def test_parameters_of_each_part(part, count):
    assert parameters(empty().get_submodule(part)) == count


def test_operations_come_near_the_printed_ones():
    scan, others = operations(empty())
    assert scan + others == pytest.approx(393.40, rel=1e-4)
    assert scan == pytest.approx(239.0, rel=1e-3)
    assert abs(scan + others - PRINTED) / PRINTED < 0.0013


def test_the_scans_are_those_of_24_and_9_sixteenths_blocks_at_full_size():
    """16 in the stages, 2 in the channel exchange, 5 at each scale of the spatial exchange."""
    blocks = 16 + 2 + 5 * (1 + 1 / 4 + 1 / 16)
    scan, _ = operations(empty())
    assert scan == pytest.approx(blocks * 4 * 64 * (9 * 16 + 1) * SIDE**2 / 1e9)


def test_operations_of_the_tiny_network():
    assert sum(operations(empty("tiny"))) == pytest.approx(32.2, abs=0.05)


def test_operations_with_restormers_blocks():
    """14,778 per place of a block, as many blocks as scans, and what lies around the blocks."""
    scan, others = operations(empty(block="restormer"))
    blocks = (16 + 2 + 5 * (1 + 1 / 4 + 1 / 16)) * SIDE**2 / 1e9
    around = sum(operations(empty())) - 53_056 * blocks
    assert scan == 0
    assert others == pytest.approx(14_778 * blocks + around)
    assert others == pytest.approx(146.9, rel=1e-3)
