"""Baselines whose weights cannot be had: the authors' networks with weights from a formula, and their costs."""

import json

import numpy as np
import pytest
import torch
from formula_weights import formula

from fusionkit import FusionkitError
from fusionkit.cost import gmacs, parameters
from fusionkit.cost.probe import using_threads
from fusionkit.models.baselines.aitfuse import AITFuse
from fusionkit.models.baselines.atfuse import ATFuse
from fusionkit.models.baselines.cddfuse import CDDFuse
from fusionkit.models.baselines.cmtfusion import CMTFusion
from fusionkit.models.baselines.defusion import DeFusion
from fusionkit.models.baselines.emma import EMMA
from fusionkit.models.baselines.fusiongan import FusionGAN
from fusionkit.models.baselines.ift import IFT
from fusionkit.models.baselines.mbhfuse import MBHFuse
from fusionkit.models.baselines.piafusion import PIAFusion, with_difference
from fusionkit.models.baselines.pmkfuse import PMKFuse
from fusionkit.models.baselines.rfn_nest import RFNNest
from fusionkit.models.baselines.swinfusion import SwinFusion
from fusionkit.models.baselines.tardal import TarDAL

# Golden file: the network, its parameters, and those that decide the fused image.
NETWORKS = {
    "aitfuse": (AITFuse, 6_894_433, 6_893_665),
    "atfuse": (ATFuse, 1_050_555, 262_939),
    "cddfuse": (CDDFuse, 1_188_272, 1_188_272),
    "cmtfusion": (CMTFusion, 623_989, 464_521 - 2 * 8_289),  # the two coarser images have their own parameters
    "defusion": (DeFusion, 7_874_473, 7_873_603),
    "emma": (EMMA, 1_517_657, 1_517_657 - 4 * 8),  # scales of a softmax over one value
    "fusiongan": (FusionGAN, 924_673, 924_673),
    "ift": (IFT, 5_068_489, 5_068_489),
    "mbhfuse": (MBHFuse, 299_081, 299_081 - 8),
    "piafusion": (PIAFusion, 1_076_785, 1_076_785),
    "pmkfuse": (PMKFuse, 48_803, 48_803 - 2 * 40 - 9),
    "rfn_nest": (RFNNest, 7_524_249, 7_524_249),
    "swinfusion": (SwinFusion, 973_681, 965_251),
    "tardal": (TarDAL, 296_577, 296_577),
}
# Options, and operations in 10^9 at 256x256: multiply-adds, and thop's count, which is that of the authors' layers.
COSTS = {
    "aitfuse": ({}, 32.760, 30.213),
    "atfuse": ({"complete": True}, 5.476, 5.405),
    "cddfuse": ({}, 117.858, 116.851),
    "cmtfusion": ({"complete": True}, 11.103, 13.102),
    "defusion": ({"complete": True}, 15.051, 15.265),
    "emma": ({}, 8.623, 8.862),
    "fusiongan": ({}, 62.388, 62.388),  # the authors' batch norms, 0.131 by thop, are no layers here
    "ift": ({}, 103.132, 93.636),
    "mbhfuse": ({}, 106.268, 28.923),
    "piafusion": ({}, 77.012, 77.012),
    "rfn_nest": ({}, 111.078, 111.106),
    "swinfusion": ({}, 74.683, 63.731),
    "tardal": ({}, 19.384, 19.443),
}
# From what stands in the files to images in [0, 1]; ATFuse was run on [0, 1] where it expects grey levels.
SCALES = {name: lambda x: x / 255 for name in ("atfuse", "fusiongan", "ift", "rfn_nest")}
SCALES["cmtfusion"] = lambda x: (x + 1) / 2
# The authors' code of these was not run: MBHFuse gives another image each time, the others need what was not there.
WITHOUT_VALUES = ("mbhfuse", "piafusion", "pmkfuse")
TOLERANCE = 1e-4


def read(golden, name):
    with np.load(golden / "baselines" / f"arch_{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def shapes(golden):
    file = golden.parent / "specs" / "baselines_state_dicts.json"
    if not file.is_file():
        pytest.skip("list of the authors' tensors absent: it belongs beside the reference values")
    return json.loads(file.read_text())


def load(golden, shapes, name):
    """The network with the formula's weights, and its golden values."""
    values = read(golden, name)
    tensors = shapes["architecture_only"][name].items()
    state = {key: formula(key, shape, float(values["gain"]), float(values["offset"])) for key, shape in tensors}
    return NETWORKS[name][0].from_authors(state, "formula"), values


@pytest.mark.parametrize("pair", ["a", "b"])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in WITHOUT_VALUES])
def test_network_equals_the_authors(golden, shapes, name, pair):
    network, values = load(golden, shapes, name)
    if f"{pair}_raw" not in values:
        pytest.skip("one pair only in the reference values")
    keys = ("u1", "u2") if f"{pair}_u1" in values else ("in1", "in2")
    images = [torch.from_numpy(np.float32(values[f"{pair}_{key}"])) for key in keys]
    images = [SCALES.get(name, torch.clone)(x.reshape(1, 1, *x.shape[-2:])) for x in images]
    a, b = images if str(values["order"]) == "ir,vi" else images[::-1]
    theirs = torch.from_numpy(values[f"{pair}_raw"])
    # As the reference values were made; in IFT some softmax is so near to a tie that the order of sums decides it.
    with torch.no_grad(), using_threads(1):
        ours = network.raw(a, b)
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * max(1, theirs.abs().max()))


def empty(name, **options):
    """The network with shapes instead of values."""
    with torch.device("meta"):
        return NETWORKS[name][0](**options).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_of_theirs_is_there_and_decides_what_it_should(name):
    network, (_, count, used) = empty(name), NETWORKS[name]
    assert parameters(network) == count
    assert count - sum(p.numel() for key, p in network.named_parameters() if key.startswith(network.idle)) == used


@pytest.mark.parametrize("name", COSTS)
def test_operations(name):
    options, macs, thop = COSTS[name]
    network = empty(name, **options)
    assert gmacs(network, (256, 256)) == pytest.approx(macs, abs=5.1e-4)
    assert gmacs(network, (256, 256), "thop") == pytest.approx(thop, abs=5.1e-4)


def test_operations_of_pmkfuse_besides_its_scans():
    """All are per pixel, so that a small image tells; half of a scan's operations count as multiply-adds."""
    half, whole = (gmacs(PMKFuse().eval(), (64, 64), convention) for convention in ("macs", "true"))
    assert 16 * (2 * half - whole) == pytest.approx(3.999, abs=1e-3)


@pytest.mark.parametrize("name", [name for name, (options, *_) in COSTS.items() if options])
def test_what_the_authors_compute_besides_changes_no_image(name):
    network = NETWORKS[name][0](post="clip").eval()
    a, b = torch.rand(2, 1, 1, 64, 64)
    with torch.no_grad():
        fused = network(a, b)
        complete = NETWORKS[name][0](complete=True, post="clip").eval()
        complete.load_state_dict(network.state_dict())
        assert torch.equal(complete(a, b), fused)


def test_coarser_images_of_cmtfusion_equal_the_authors(golden, shapes):
    network, values = load(golden, shapes, "cmtfusion")
    network.complete = True
    b, a = ((torch.from_numpy(values[f"a_{key}"]) + 1) / 2 for key in ("in1", "in2"))
    with torch.no_grad():
        coarsest, middle, _ = network.levels(a, b)
    for ours, level in ((middle, "level2"), (coarsest, "level3")):
        torch.testing.assert_close(ours, torch.from_numpy(values[f"a_raw_{level}"]), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("network", "size"),
    [(EMMA, (70, 97)), (EMMA, (64, 33)), (EMMA, (20, 40)), (RFNNest, (45, 60)), (RFNNest, (30, 41))],
)
def test_parts_of_an_image_are_put_together_without_gap_or_seam(monkeypatch, network, size):
    monkeypatch.setattr("fusionkit.models.baselines.rfn_nest.LARGEST", 40)
    monkeypatch.setattr(network, "fuse", lambda self, a, b: (a + b) / 2)
    a, b = torch.rand(2, 1, 1, *size)
    torch.testing.assert_close(network().raw(a, b), (a + b) / 2)


def test_a_seam_of_emma_follows_the_crop_of_its_corner(monkeypatch):
    """Each crop is given its own value: the first one stays whole, strips of the others stand beside it."""
    crops = iter((4.0, 3.0, 2.0, 1.0))
    monkeypatch.setattr(EMMA, "fuse", lambda self, a, b: torch.full_like(a, next(crops)))
    fused = EMMA().raw(*torch.rand(2, 1, 1, 40, 36))[0, 0]
    assert (fused[:32, :32] == 1).all()
    assert [part.unique().tolist() for part in (fused[:32, 32:], fused[32:, :32], fused[32:, 32:])] == [[2], [3], [4]]


def test_ift_refuses_what_its_tables_do_not_reach():
    with pytest.raises(FusionkitError, match="at most 64x64 pixels.*got 64x65"):
        IFT(side=64).eval()(*torch.rand(2, 1, 1, 64, 65))
    with pytest.raises(FusionkitError, match="side = 40"):
        IFT(side=40)


def test_cddfuse_adds_the_image_that_it_is_told_to():
    network = CDDFuse(post="clip").eval()
    torch.nn.init.zeros_(network.decoder.output[2].weight)
    a, b = torch.rand(2, 1, 1, 16, 16)
    with torch.no_grad():
        for added, image in (("visible", b), ("both", a + b), ("none", 0 * a)):
            network.added = added
            torch.testing.assert_close(network(a, b), torch.sigmoid(image))
    with pytest.raises(FusionkitError, match="did you mean both"):
        CDDFuse(added="botth")


def test_cddfuse_loads_what_a_parallel_wrapper_saved():
    network = CDDFuse()
    state = {network.theirs(key).replace(".", ".module.", 1): x for key, x in network.state_dict().items()}
    loaded = CDDFuse.from_authors(state, "cddfuse.pth")
    assert all(torch.equal(x, network.state_dict()[key]) for key, x in loaded.state_dict().items())


def test_piafusion_has_the_authors_names_and_equal_images_nothing_to_exchange():
    network = PIAFusion(post="clip").eval()
    names = {network.theirs(key) for key in network.state_dict()}
    assert {"PIAFusion/encoder/conv5x5_ir/kernel", "PIAFusion/encoder/Conv4/conv3x3/bias"} < names
    assert {"PIAFusion/decoder/conv4/kernel", "PIAFusion/decoder/conv1x1/bias"} < names
    x, y = torch.rand(2, 1, 3, 8, 8)
    assert torch.equal(with_difference(x, x), x)
    weight = torch.sigmoid((y - x).mean((2, 3), keepdim=True))
    torch.testing.assert_close(with_difference(x, y), x + weight * (x - y))


def test_mbhfuse_repeats_itself_although_its_layers_are_drawn_anew():
    network, images = MBHFuse().eval(), torch.rand(2, 1, 1, 24, 24)
    with torch.no_grad():
        assert torch.equal(network(*images), network(*images))
    names = {network.theirs(key) for key in network.state_dict()}
    assert {"low_freq_encoder.vi_conv2.conv.1.weight", "high_freq_encoder.transformer_block1.attn.temperature"} < names
    assert {"decoder.transformer_block3.ffn.dwconv.weight", "decoder_transformer.conv1.bias"} < names


def test_pmkfuse_has_the_authors_names_and_reads_backwards_only():
    network = PMKFuse().eval()
    names = {network.theirs(key) for key in network.state_dict()}
    assert {"global_encoder.ir_pcvm4.mamba.A_log", "local_decoder.kagn3.branches.3.beta_weights"} < names
    assert {"global_encoder.ir_conv1.weight", "global_decoder.conv4.bias", "local_encoder.vi_conv1.bias"} < names
    tokens = torch.rand(1, 30, 2)
    mamba, changed = network.overall.vi["2"].mamba, tokens.clone()
    changed[:, 20:] = 0
    with torch.no_grad():
        torch.testing.assert_close(mamba(tokens)[:, :20], mamba(changed)[:, :20])
        assert not torch.equal(mamba(tokens)[:, 20:], mamba(changed)[:, 20:])


def test_missing_and_unexpected_names_are_listed():
    state = {"encoder.0.weight": torch.zeros(32, 2, 3, 3), "surprise": torch.zeros(1)}
    with pytest.raises(FusionkitError, match=r"(?s)missing: .*fuse\.3\.0\.bias.*unexpected: .*surprise"):
        TarDAL.from_authors(state, "somewhere.pth")
