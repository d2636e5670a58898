"""FusionMamba's network: any size, every variant, what bad input gets. Its blocks: test_fusionmamba_blocks."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit import FusionkitError, create_model
from fusionkit.models.fusionmamba import FusionMamba, load_official
from fusionkit.models.fusionmamba.blocks import DropPath
from fusionkit.models.fusionmamba.official import official_name

SMALL = {"dims": (8, 16), "depths": (1, 1), "states": 2, "drop_path": 0.0}
STRIDE = 8
VARIANTS = {
    "paper": {},
    "evss": {"block": "evss"},
    "transformer": {"block": "transformer", "depths": (2, 2)},
    "dvss for dffm": {"fusion": "dvss"},
    "no dfem": {"enhance": False},
    "no cmfm": {"mix": False},
    "neither": {"enhance": False, "mix": False},
    "serial": {"placement": "serial"},
    "identity": {"identity": True},
    "features": {"difference": "features"},
    "residual": {"residual": 2.0},
    "no level 0": {"level0": False},
    "official": {"mode": "official"},
    "official, own gate": {"mode": "official", "own_gate": True},
    "official, mlp": {"mode": "official", "fusion_mlp": True},
    "official, level 0": {"mode": "official", "level0": True},
}
SAME_PARAMETERS = ("serial", "identity", "features", "residual", "no level 0")
BLOCK_CHILDREN = {
    "dvss": "norm essm norm2 eca ldc drop_path",
    "dvss_code": "norm essm eca ldc se norm2 mlp drop_path",
    "evss": "norm essm conv se drop_path",
    "transformer": "norm qkv proj norm2 mlp drop_path",
}
FUSION_CHILDREN = [
    ({}, "dfem cmfm"),
    ({"enhance": False}, "cmfm"),
    ({"mix": False}, "dfem"),
    ({"enhance": False, "mix": False}, ""),
    ({"fusion": "dvss"}, "block"),
    ({"fusion": "dffm_code"}, "dfem unused norm1 norm2 cmfm eca"),
    ({"fusion": "dffm_code", "fusion_mlp": True}, "dfem unused norm1 norm2 cmfm eca mlp"),
]


def small(**options):
    torch.manual_seed(0)
    return FusionMamba(**{**SMALL, **options}).eval()


def pair(height=24, width=24, batch=1):
    generator = torch.Generator().manual_seed(height * width)
    return torch.rand(2, batch, 1, height, width, generator=generator)


def children(module):
    return " ".join(name for name, child in module.named_children() if child is not None)


def shapes(model, leave_out):
    return {name: p.shape for name, p in model.named_parameters() if leave_out not in name}


# Any size


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40), st.sampled_from(["paper", "official"]))
def test_any_size_from_16_on_is_kept_and_the_range_too(height, width, mode):
    with torch.no_grad():
        fused = small(mode=mode)(*pair(height, width))
    assert fused.shape == (1, 1, height, width)
    assert 0 <= fused.min() <= fused.max() <= 1


@settings(max_examples=10, deadline=None)
@given(st.integers(16, 32), st.integers(16, 32))
def test_sizes_between_strides_are_mirrored_and_cut_back(height, width):
    model, (a, b) = small(), pair(height, width)
    missing = [(0, 0), (0, 0), (0, -height % STRIDE), (0, -width % STRIDE)]
    larger = [torch.from_numpy(np.pad(x.numpy(), missing, "reflect")) for x in (a, b)]
    with torch.no_grad():
        torch.testing.assert_close(model(a, b), model(*larger)[..., :height, :width], rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_images_of_a_batch_do_not_touch_each_other(options):
    model, (a, b) = small(**options), pair(24, 17, batch=2)
    with torch.no_grad():
        alone = torch.cat([model(a[i : i + 1], b[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(model(a, b), alone, rtol=0, atol=1e-5)


def test_the_second_image_is_the_papers_first_modality():
    model, (infrared, visible) = small(), pair()
    with torch.no_grad():
        assert torch.equal(model(infrared, visible), model.reconstruct(visible, infrared).clamp(0, 1))


def test_sides_are_multiples_of_32_at_full_size_and_of_16_in_tiny():
    with torch.device("meta"):
        assert (FusionMamba("base").stride, FusionMamba("tiny").stride) == (32, 16)


# Variants


def receives_nothing(options):
    """Parts of a variant that the loss cannot reach."""
    official = options.get("mode") == "official"
    unused = ["fusion.0.unused.", "fusion.1.unused."] if official else []
    return tuple(unused if options.get("level0", not official) else [*unused, "fusion.0."])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_learns_with_all_parameters_that_it_uses(options):
    model, (a, b) = small(**options).train(), pair(64, 64, batch=2)
    target = torch.maximum(a, b)
    learned = [p for p in model.parameters() if p.requires_grad]
    before = (model(a, b) - target).square().mean()
    before.backward()
    for name, p in model.named_parameters():
        reached = p.grad is not None and bool(p.grad.abs().sum() > 0)
        assert reached == (p.requires_grad and not name.startswith(receives_nothing(options))), name
    torch.optim.SGD(learned, lr=1e-3).step()
    assert (model(a, b) - target).square().mean() < before


@pytest.mark.parametrize("block", BLOCK_CHILDREN)
def test_another_block_changes_the_blocks_alone(block):
    model = small(block=block)
    found = {children(stage.blocks[0]) for part in (model.encoder, model.decoder) for stage in part}
    assert found == {BLOCK_CHILDREN[block]}
    assert shapes(model, ".blocks.") == shapes(small(), ".blocks.")


@pytest.mark.parametrize(("options", "expected"), FUSION_CHILDREN, ids=[str(options) for options, _ in FUSION_CHILDREN])
def test_another_fusion_changes_the_fusion_alone(options, expected):
    model = small(**options)
    assert {children(module) for module in model.fusion} == {expected}
    assert shapes(model, "fusion.") == shapes(small(), "fusion.")


@pytest.mark.parametrize("name", SAME_PARAMETERS)
def test_variants_with_the_same_parameters_compute_something_else(name):
    paper, model, (a, b) = small(), small(**VARIANTS[name]), pair(32, 32)
    model.load_state_dict(paper.state_dict())
    with torch.no_grad():
        assert (model.reconstruct(a, b) - paper.reconstruct(a, b)).abs().max() > 1e-4


def test_the_residual_is_twice_the_sum_of_both_images():
    plain, model, (a, b) = small(), small(residual=2.0), pair(32, 32)
    model.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model.reconstruct(a, b), plain.reconstruct(a, b) + 2 * (a + b))


@pytest.mark.parametrize("own_gate", [False, True])
def test_only_an_own_gate_lets_the_second_modality_learn_its_gate(own_gate):
    model = small(mode="official", own_gate=own_gate).train()
    model.reconstruct(*pair(64, 64)).sum().backward()
    features, gate = model.fusion[1].cmfm.in_proj2.weight.grad.chunk(2)
    assert features.abs().sum() > 0
    assert bool(gate.abs().sum() > 0) == own_gate


@pytest.mark.parametrize("clamp", [False, True])
def test_training_is_limited_to_the_range_only_where_asked(clamp):
    model, (a, b) = small(residual=2.0, clamp=clamp), pair(32, 32)
    assert (model.train()(a, b).max() > 1) == (not clamp)
    assert model.eval()(a, b).max() <= 1


def test_skipping_grows_through_the_encoder_and_falls_through_the_decoder():
    with torch.device("meta"):
        model = FusionMamba("base")

    def rates(part):
        return [module.probability for module in part.modules() if isinstance(module, DropPath)]

    np.testing.assert_allclose(rates(model.encoder), np.linspace(0, 0.1, 15))
    assert rates(model.decoder) == rates(model.encoder)[::-1]
    assert not any(rates(model.fusion))


def test_options_survive_json():
    model = small(mode="official", own_gate=True)
    again = create_model("fusionmamba", **json.loads(json.dumps(model.config.to_dict())))
    assert again.config == model.config


# Bad input


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.rand(1, 1, 15, 16), torch.rand(1, 1, 15, 16), "at least 16x16 pixels; got 15x16"),
        (torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), r"first image: .*one channel; got \(1, 3, 16, 16\)"),
        (torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 17), "must be alike"),
        (torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.uint8), "second image: .*floating point"),
        (torch.full((1, 1, 16, 16), 255.0), torch.rand(1, 1, 16, 16), r"first image: .*in \[0, 1\]; got 255 to 255"),
        (torch.rand(1, 1, 16, 16), torch.full((1, 1, 16, 16), torch.nan), r"second image: .*in \[0, 1\]; got nan"),
    ],
)
def test_bad_images_are_named(a, b, message):
    with pytest.raises(FusionkitError, match=message):
        small()(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "tinny"}, "unknown size of FusionMamba 'tinny'; did you mean tiny"),
        ({"mode": "offical"}, "unknown mode of FusionMamba 'offical'; did you mean official"),
        ({"plaecment": "serial"}, "unknown option of FusionMamba 'plaecment'; did you mean placement"),
        ({"block": "dvs"}, "unknown block of FusionMamba 'dvs'; did you mean dvss"),
        ({"fusion": "ffm"}, "unknown fusion of FusionMamba 'ffm'; did you mean dffm"),
        ({"placement": "behind"}, "unknown placement of FusionMamba 'behind'; known: parallel, serial"),
        ({"difference": "feature"}, "unknown difference of FusionMamba 'feature'; did you mean features"),
        ({"dims": (8, 24)}, r"dims \(8, 24\): every stage has twice the channels"),
        ({"dims": (8, 16, 32)}, r"dims \(8, 16, 32\) and depths \(1, 1\) must name the same number of stages"),
        ({"dims": (), "depths": ()}, r"dims \(\) and depths \(\)"),
        ({"dims": (2, 4)}, r"dims \(2, 4\) must be 4 or more"),
        ({"dims": (4, 8), "mode": "official"}, r"dims \(4, 8\) must be 8 or more"),
        ({"depths": (1, -1)}, r"depths \(1, -1\) and states \d+ at least 1"),
        ({"states": 0}, "states 0 at least 1"),
        ({"drop_path": 1.0}, "drop_path 1.0 from 0 to below 1"),
        ({"fusion": "dvss", "mix": False}, "'dvss' has none"),
        ({"mode": "official", "enhance": False}, "'dffm_code' has none"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(FusionkitError, match=message):
        create_model("fusionmamba", **{**SMALL, **options})


# State dicts of the authors' code


def authors_state(**options):
    """A state dict under the authors' names; their encoder has 16 states."""
    model = small(**{"mode": "official", "states": 16, **options})
    return {official_name(name): tensor for name, tensor in model.state_dict().items()}, model


def test_the_authors_names_lead_back_to_the_same_network():
    state, model = authors_state(depths=(1, 2))
    read = load_official(state)
    assert len(state) == len(model.state_dict())
    assert (read.config.dims, read.config.depths) == ((8, 16), (1, 2))
    assert torch.equal(read(*pair()), model(*pair()))


def test_missing_unexpected_and_misshapen_keys_are_all_listed():
    state, _ = authors_state()
    del state["final_conv.bias"], state["patch_embed1.norm.weight"]
    state |= {"extra.weight": torch.ones(1), "layers.0.blocks.0.op.Ds": torch.ones(3)}
    with pytest.raises(FusionkitError) as error:
        load_official(state, "net.pth")
    text = str(error.value)
    assert "net.pth" in text
    assert "missing: ['final_conv.bias', 'patch_embed1.norm.weight']" in text
    assert "unexpected: ['extra.weight']" in text
    assert "other shape: ['layers.0.blocks.0.op.Ds (3,) for (64,)']" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion_mlp": True}, r"missing: \[\]\n  unexpected: \['Cross_block.0.mlp"),
        ({"states": 8}, r"missing: \[\]\n  unexpected: \[\]\n  other shape: .*A_logs"),
        ({"block": "dvss"}, r"missing: .*mlp.*unexpected: \[\]"),
        ({"stored_ones": False}, r"missing: .*base_mask.*unexpected: \[\]"),
    ],
)
def test_another_variant_is_refused(options, message):
    state, _ = authors_state(**options)
    with pytest.raises(FusionkitError, match=f"(?s){message}"):
        load_official(state)


@pytest.mark.parametrize("name", ["lightfusionnet", "fusionmamba"])
def test_the_state_of_another_network_and_our_own_names_are_refused(name):
    options = SMALL if name == "fusionmamba" else {}
    with pytest.raises(FusionkitError, match="w: holds no encoder of FusionMamba .* it starts with"):
        load_official(create_model(name, **options).state_dict(), "w")
