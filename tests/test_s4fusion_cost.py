"""S4Fusion's parameters and operations: every count that its specification knows."""

from functools import cache

import pytest
import torch

from fusionkit.cost import gmacs, parameters
from fusionkit.models.s4fusion import S4Fusion

# Without the scan, as the authors' code computes it, and what the scans read: tokens times channels times states.
OPERATIONS = {
    61: (376_535_052, 31_104_000),
    229: (5_437_150_668, 449_141_760),
    265: (7_289_696_844, 602_173_440),
}


@cache
def empty(size="base", **options):
    """A network whose tensors have shapes but no values."""
    with torch.device("meta"):
        return S4Fusion(size, **options).eval()


@pytest.mark.parametrize(
    ("size", "options", "count"),
    [
        ("base", {}, 3_562_981),
        ("base", {"fusion": "add"}, 3_512_626),
        ("base", {"fusion": "add", "dims": (48, 96, 192)}, 1_518_757),
        ("base", {"fusion": "cnn"}, 3_501_002),
        ("base", {"fusion": "ca"}, 3_583_141),
        ("base", {"fusion": "fssm"}, 3_607_333),
        ("base", {"fusion": "fssm", "fusion_blocks": (3, 3, 3)}, 3_738_373 - 653_184),
        ("base", {"mark": "none"}, 2_909_797),
        ("tiny", {}, 979_555),
        ("tiny", {"fusion": "add"}, 1_022_911),
        ("tiny", {"fusion": "cnn"}, 909_872),
        ("tiny", {"fusion": "ca"}, 995_539),
        ("tiny", {"fusion": "fssm", "fusion_blocks": (3, 3, 3)}, 872_419),
        ("tiny", {"mark": "none"}, 816_259),
        ("micro", {}, 504_397),
    ],
)
def test_parameters_of_each_size_and_ablation(size, options, count):
    assert parameters(empty(size, **options)) == count


@pytest.mark.parametrize("size", ["base", "tiny", "micro"])
@pytest.mark.parametrize("fusion", ["add", "cnn", "ca", "fssm"])
def test_replacements_of_cmsa_have_about_its_size(size, fusion):
    assert parameters(empty(size, fusion=fusion)) == pytest.approx(parameters(empty(size)), rel=0.16)


PARTS = [
    *(("embed_infrared", 912), ("embed_visible", 912), ("head", 9_240 + 13), ("head.norm", 24), ("head.conv", 13)),
    *(("encoder_infrared", 502_848), ("encoder_visible", 502_848), ("decoder", 501_984), ("fusion", 2_044_224)),
    *((f"encoder_visible.{i}", n) for i, n in enumerate((42_816, 218_880, 241_152))),
    *((f"encoder_infrared.{i}.blocks.0", n) for i, n in enumerate((24_000, 72_192, 241_152))),
    *((f"encoder_infrared.{i}.merge", n) for i, n in enumerate((18_816, 74_496))),
    *((f"fusion.{i}", n) for i, n in enumerate((152_064, 444_096, 1_448_064))),
    *((f"fusion.{i}.blocks.2", n) for i, n in enumerate((50_688, 148_032, 482_688))),
    *((f"decoder.{i}", n) for i, n in enumerate((241_152, 218_304, 42_528))),
    *((f"decoder.{i}.expand", n) for i, n in enumerate((73_920, 18_528), 1)),
]


@pytest.mark.parametrize(("part", "count"), PARTS, ids=[part for part, _ in PARTS])
def test_parameters_of_each_part(part, count):
    assert parameters(empty().get_submodule(part)) == count


@pytest.mark.parametrize(("level", "count"), list(enumerate((10_368, 41_472, 165_888))))
def test_parameters_of_the_mark(level, count):
    assert empty().fusion[level].blocks[0].gated.scan.mark_proj.numel() == count


@pytest.mark.parametrize("side", OPERATIONS)
def test_operations_differ_from_the_code_by_marks_that_it_computes_four_times(side):
    macs, true = (round(1e9 * gmacs(empty(), (side, side), convention)) for convention in ("macs", "true"))
    patches = (side - 1) // 3
    tokens = [(patches // 2**level) ** 2 for level in range(3)]
    mark = sum(3 * length * 2 * inner**2 for length, inner in zip(tokens, (72, 144, 288), strict=True))
    theirs, states = OPERATIONS[side]
    assert 2 * macs - true == theirs - 3 * mark
    assert 2 * (true - macs) == 9 * states
