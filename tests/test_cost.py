import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import register_flop_formula

from fusionkit import cost
from fusionkit.errors import FusionkitError

SIZE = (16, 20)
PIXELS = 16 * 20


class Twin(nn.Module):
    """Give the mean of two images to any one-input network."""

    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, a, b):
        return self.body((a + b) / 2)


class Attention(nn.Module):
    """Tokens are rows: softmax attention of every row of ``a`` over the rows of ``b``."""

    def forward(self, a, b):
        return nn.functional.scaled_dot_product_attention(a, b, b)


class AttentionNeedsValues(Attention):
    """Where tensors have values, torch's fused kernel would hide the products from its own counter."""

    def forward(self, a, b):
        return super().forward(a, b) + a.mean().item()


class NeedsValues(Twin):
    """Cannot run on tensors without values."""

    def forward(self, a, b):
        return super().forward(a, b) + a.mean().item()


class Filler(nn.Module):
    """Hold 40 planes of the image's size at once; nothing else takes memory."""

    def forward(self, a, b):
        return sum(a.expand(1, 40, -1, -1).contiguous().unbind(1)).unsqueeze(1)


@torch.library.custom_op("fusionkit_test::scan", mutates_args=())
def scan(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@scan.register_fake
def _(x):
    return torch.empty_like(x)


@register_flop_formula(torch.ops.fusionkit_test.scan)
def _scan_flops(shape, *args, **kwargs):
    return 9 * shape.numel()


class Scan(Twin):
    def forward(self, a, b):
        return scan(super().forward(a, b))


def lightfusionnet(**options):
    models = pytest.importorskip("fusionkit.models.lightfusionnet", reason="LightFusionNet is absent")
    return models.LightFusionNet(**options)


def as_written(*counts):
    return pytest.approx([count / 1e9 for count in counts])


def counts(model, size=SIZE):
    return [cost.gmacs(model, size, convention) for convention in ("macs", "flops", "thop")]


def test_parameters_counts_shared_ones_once_and_frozen_ones_too():
    layer = nn.Conv2d(1, 1, 3).requires_grad_(False)
    assert cost.parameters(Twin(layer, layer, nn.BatchNorm2d(1))) == 9 + 1 + 2


@pytest.mark.parametrize(
    ("layers", "macs", "thop"),
    [
        ([nn.Conv2d(1, 4, 3, padding=1)], 4 * 9 * PIXELS, 4 * 9 * PIXELS),
        ([nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 5, padding=2, groups=4)], 104 * PIXELS, 104 * PIXELS),
        ([nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 3, padding=1, groups=2)], 112 * PIXELS, 112 * PIXELS),
        ([nn.Conv2d(1, 2, 3, stride=2, padding=1)], 18 * PIXELS // 4, 18 * PIXELS // 4),
        ([nn.Linear(20, 7)], 16 * 20 * 7, 16 * 20 * 7),
        ([nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU()], 3 * PIXELS, 3 * PIXELS * 5),
        ([nn.BatchNorm2d(1, affine=False), nn.Sigmoid()], 0, 2 * PIXELS),
        ([nn.LayerNorm(20)], 0, 4 * PIXELS),
        ([nn.GroupNorm(1, 1)], 0, 0),
        ([nn.Softmax(dim=-1)], 0, 16 * (3 * 20 - 1)),
        ([nn.AdaptiveAvgPool2d(1)], 0, PIXELS + 1),
        ([nn.Upsample(scale_factor=2, mode="bilinear")], 0, 11 * 4 * PIXELS),
    ],
)
def test_layers_against_a_count_by_hand(layers, macs, thop):
    assert counts(Twin(*layers)) == as_written(macs, 2 * macs, thop)


def test_transposed_convolution_is_overcounted_by_thop_alone():
    layer = nn.ConvTranspose2d(1, 3, 2, stride=2)
    assert counts(Twin(layer)) == as_written(12 * PIXELS, 24 * PIXELS, 48 * PIXELS)


def test_thop_misses_subclasses_and_functional_calls():
    class Own(nn.Conv2d):
        pass

    assert counts(Twin(Own(1, 1, 1))) == as_written(PIXELS, 2 * PIXELS, 0)


@pytest.mark.parametrize("model", [Attention(), AttentionNeedsValues()])
def test_attention_is_counted_with_and_without_values(model):
    assert counts(model) == as_written(2 * 16 * 16 * 20, 4 * 16 * 16 * 20, 0)


def test_values_are_used_where_the_model_needs_them():
    assert counts(NeedsValues(nn.Conv2d(1, 1, 1))) == as_written(PIXELS, 2 * PIXELS, PIXELS)


def test_registered_operators_are_counted():
    model = Scan(nn.Conv2d(1, 1, 1))
    assert cost.flops(model, SIZE) == (2 + 9) * PIXELS
    assert cost.gmacs(model, SIZE) == pytest.approx((1 + 4.5) * PIXELS / 1e9)
    assert cost.gmacs(model, SIZE, "vmamba") == pytest.approx((1 + 9) * PIXELS / 1e9)


def test_measuring_leaves_the_model_as_it_was():
    model = Twin(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1).eval())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    counts(model)
    cost.latency(model, SIZE, repeats=1, warmup=0)
    assert [module.training for module in model.body] == [True, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.body[0]._forward_hooks


def test_lightfusionnet_costs_what_the_specification_says():
    model = lightfusionnet()
    assert cost.parameters(model) == 4119
    assert counts(model, (256, 256)) == pytest.approx([0.25284, 0.50568, 0.28692], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "parameters", "thop"),
    [
        ({"reduction": 2}, 5399, 0.3708),
        ({"reduction": 8}, 3479, 0.2450),
        ({"width": 8}, 1431, 0.1024),
        ({"width": 32}, 13335, 0.9077),
        ({"attention": "conv"}, 1847, 0.1359),
        ({"attention": "ca"}, 1783, 0.1191),  # 0.1170 without the pooling layers, which thop counts
        ({"attention": "sa"}, 1563, 0.1194),
        ({"separable": False}, 9969, 0.6637),
    ],
)
def test_lightfusionnet_variants(options, parameters, thop):
    model = lightfusionnet(**options)
    assert cost.parameters(model) == parameters
    assert cost.gmacs(model, (256, 256), "thop") == pytest.approx(thop, abs=6e-5)


def test_latency_states_its_conditions():
    threads = torch.get_num_threads()
    timed = cost.latency(Twin(nn.Conv2d(1, 1, 3)), SIZE, repeats=4, warmup=1, threads=1)
    assert timed.median_ms > 0 and timed.iqr_ms >= 0
    assert (timed.device, timed.threads, timed.repeats) == ("cpu", 1, 4)
    assert torch.get_num_threads() == threads


def test_peak_memory_is_that_of_the_forward_pass_alone():
    held = torch.ones(50_000_000)  # what this process holds must not matter
    planes = cost.peak_memory(Filler(), (512, 512), threads=1) / (512 * 512 * 4)
    assert 40 <= planes <= 46
    assert held.numel() == 50_000_000


def test_peak_memory_says_why_it_cannot_measure():
    class Local(Twin):
        pass

    with pytest.raises(FusionkitError, match="cannot measure the memory of Local: .*can be imported") as error:
        cost.peak_memory(Local(), SIZE)
    assert "\n" not in str(error.value)
    with pytest.raises(FusionkitError, match="expected input.* to have 3 channels"):
        cost.peak_memory(Twin(nn.Conv2d(3, 1, 1)), SIZE)


def test_measure_cost_is_complete_and_fits_into_json():
    measured = cost.measure_cost(Twin(nn.Conv2d(1, 1, 1)), SIZE, repeats=2, warmup=0, threads=1)
    plain = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert plain["name"] == "Twin" and plain["size"] == [16, 20] and plain["parameters"] == 2
    assert plain["operations_g"]["macs"] == pytest.approx(PIXELS / 1e9)
    assert plain["operations_g"].keys() == plain["conventions"].keys() == cost.CONVENTIONS.keys()
    assert plain["latency"]["threads"] == 1 and plain["torch_version"] == torch.__version__
    assert plain["peak_memory_bytes"] >= 0


@pytest.mark.parametrize("size", [(15, 20), (16,), (16, 16, 16), (16.0, 16), (True, 16), 16, "ab", (-16, 16), None])
def test_bad_size(size):
    with pytest.raises(FusionkitError, match="is not a height and a width"):
        cost.flops(Twin(), size)


@pytest.mark.parametrize("measure", [cost.parameters, lambda model: cost.peak_memory(model, SIZE), cost.measure_cost])
def test_bad_model(measure):
    with pytest.raises(FusionkitError, match="pass a torch.nn.Module"):
        measure(3)


def test_other_bad_arguments():
    model = Twin()
    with pytest.raises(FusionkitError, match="did you mean macs"):
        cost.gmacs(model, SIZE, "mac")
    with pytest.raises(FusionkitError, match="repeats"):
        cost.latency(model, SIZE, repeats=0)
    with pytest.raises(FusionkitError, match="threads = 0"):
        cost.latency(model, SIZE, threads=0)
    with pytest.raises(FusionkitError, match="width cannot be set"):
        cost.measure_cost(model, SIZE, width=8)
