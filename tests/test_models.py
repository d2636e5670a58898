"""Every registered model keeps one contract; LightFusionNet also has the counts of its specification."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit import FusionkitError, create_model, list_models
from fusionkit.models import MODELS
from fusionkit.models.baselines import BASELINES
from fusionkit.models.lightfusionnet import LightFusionNet, PredictiveContextAttention

VARIANTS = [
    ({}, 4119),
    ({"reduction": 2}, 5399),
    ({"reduction": 8}, 3479),
    ({"width": 8}, 1431),
    ({"width": 32}, 13335),
    ({"attention": "conv"}, 1847),
    ({"attention": "ca"}, 1783),
    ({"attention": "sa"}, 1563),
    ({"separable": False}, 9969),
]


# What keeps the contract's tests short. Rounding to grey levels makes large steps of small differences.
CHEAP = {
    **{name: {"post": "clip"} for name in BASELINES},
    **{name: {"steps": 3} for name in MODELS if name.startswith("oracle_")},
    "ift": {"post": "clip", "side": 64},
    "fusionmamba": {"size": "tiny"},
    "s4fusion": {"size": "micro", "use_scale1": True},  # without it, a whole module is unread, too
    "diffmf": {"size": "tiny", "stem_stride": 4},
}


# Parameters that the authors' network has and never uses.
UNREAD = {"s4fusion": ["head.norm.weight", "head.norm.bias"]}
# Seed 0 draws negative biases only for a ReLU behind pooled features whose mean is 0.
SEEDS = {"datfuse": 1}


def build(name):
    return create_model(name, **CHEAP.get(name, {}))


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (40, 24)])
def test_output_has_the_input_size_and_range(name, size):
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, *size), torch.rand(2, 1, *size)
    fused = build(name)(a, b)
    assert fused.shape == a.shape
    assert torch.isfinite(fused).all()
    assert fused.min() >= 0
    assert fused.max() <= 1


@pytest.mark.parametrize("name", list_models())
def test_images_of_a_batch_do_not_touch_each_other(name):
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, 24, 24), torch.rand(2, 1, 24, 24)
    model = build(name)
    alone = torch.cat([model(a[i : i + 1], b[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(model(a, b), alone, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", [n for n in list_models() if MODELS[n].trained])
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(SEEDS.get(name, 0))
    model = build(name).train()
    model(*torch.rand(2, 2, 1, 64, 64)).square().mean().backward()
    needed = {key: p for key, p in model.named_parameters() if not key.startswith(getattr(model, "idle", ()))}
    without = [key for key, p in needed.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == UNREAD.get(name, [])


@pytest.mark.parametrize(("options", "count"), VARIANTS)
def test_lightfusionnet_parameter_counts(options, count):
    assert sum(p.numel() for p in LightFusionNet(**options).parameters()) == count


def test_attention_with_zero_gate_adds_half_the_input():
    block = PredictiveContextAttention(8, 4)
    torch.nn.init.zeros_(block.gate[-1].weight)
    x = torch.rand(1, 8, 12, 12)
    torch.testing.assert_close(block(x), 1.5 * x)


def test_surprise_is_zero_where_the_predictor_is_the_identity():
    block = PredictiveContextAttention(8, 4)
    depthwise, pointwise = block.predict
    torch.nn.init.dirac_(depthwise.weight, groups=8)
    torch.nn.init.dirac_(pointwise.weight)
    assert block.surprise(torch.rand(1, 8, 12, 12)).abs().max() < 1e-6


def test_swapping_inputs_and_branches_changes_nothing():
    torch.manual_seed(1)
    model, swapped = LightFusionNet().eval(), LightFusionNet().eval()
    other = {"_a.": "_b.", "_b.": "_a."}
    state = {}
    for key, value in model.state_dict().items():
        for old, new in other.items():
            if old in key:
                key = key.replace(old, new)
                break
        state[key] = value
    swapped.load_state_dict(state)
    a, b = torch.rand(1, 1, 20, 20), torch.rand(1, 1, 20, 20)
    torch.testing.assert_close(model(a, b), swapped(b, a))


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40))
def test_output_lies_strictly_inside_the_unit_interval(height, width):
    fused = LightFusionNet().eval()(torch.rand(1, 1, height, width), torch.rand(1, 1, height, width))
    assert fused.shape == (1, 1, height, width)
    assert 0 < fused.min() <= fused.max() < 1


def test_oracle_lowers_the_loss_below_the_maximum():
    from fusionkit import losses

    torch.manual_seed(0)
    a, b = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    loss = losses.preset("lightfusionnet")
    floor = create_model("oracle_lightfusionnet", steps=50)(a, b)
    assert loss(floor, a, b)["total"] < loss(torch.maximum(a, b), a, b)["total"]


def test_oracle_works_under_inference_mode():
    with torch.inference_mode():
        fused = create_model("oracle_lightfusionnet", steps=2)(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16))
    assert fused.shape == (1, 1, 16, 16)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lightfusionet", {}, "did you mean lightfusionnet"),
        ("lightfusionnet", {"attention": "pcaa"}, "did you mean"),
        ("lightfusionnet", {"depth": 3}, "depth"),
        ("lightfusionnet", {"weights": "nowhere.safetensors"}, "not found: nowhere.safetensors"),
    ],
)
def test_bad_requests_say_what_is_wrong(name, options, message):
    with pytest.raises(FusionkitError, match=message):
        create_model(name, **options)
