import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import register_flop_formula

from fusionkit import cost
from fusionkit.cost.probe import example_pair
from fusionkit.errors import FusionkitError
from fusionkit.ops import selective_scan

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


class Apply(nn.Module):
    """Call a function of two images, which holds no layers."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, a, b):
        return self.function(a, b)


class ScanOfLayers(Twin):
    """A scan (D = 4, N = 3) whose inputs come from standard layers, then a layer norm."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 1))
        self.to_step = nn.Linear(4, 4)
        self.to_matrices = nn.Linear(4, 2 * 3, bias=False)
        self.head = nn.Sequential(nn.LayerNorm(4), nn.SiLU(), nn.Linear(4, 1))
        self.rate = nn.Parameter(-torch.ones(4, 3))
        self.skip = nn.Parameter(torch.ones(4))

    def forward(self, a, b):
        tokens = super().forward(a, b).flatten(2).mT
        B, C = self.to_matrices(tokens).mT.chunk(2, 1)
        step = self.to_step(tokens).mT
        y = selective_scan(tokens.mT, step, self.rate, B, C, self.skip, delta_softplus=True, backend="reference")
        return self.head(y.mT)


class ScanOfFunctions(nn.Module):
    """A scan in two directions (D = 2 x 3, N = 2, two groups) between functional calls, then a batch norm."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Parameter(torch.ones(3, 1, 1, 1))
        self.depthwise = nn.Parameter(torch.ones(3, 1, 3, 3))
        self.projection = nn.Parameter(torch.ones(2, 3 + 2 + 2, 3))
        self.rate = nn.Parameter(-torch.ones(6, 2))
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Parameter(torch.ones(3, 1))

    def forward(self, a, b):
        x = F.conv2d(F.conv2d((a + b) / 2, self.stem), self.depthwise, padding=1, groups=3).flatten(2)
        x = torch.stack([x, x.flip(-1)], 1)
        step, B, C = torch.einsum("bkdl,kcd->bkcl", x, self.projection).split([3, 2, 2], 2)
        step = F.softplus(step.flatten(1, 2))
        y = selective_scan(x.flatten(1, 2), step, self.rate, B, C, backend="reference")
        return self.norm(y.unflatten(1, (2, 3)).sum(1)).mT @ self.head


def lightfusionnet(**options):
    models = pytest.importorskip("fusionkit.models.lightfusionnet", reason="LightFusionNet is absent")
    return models.LightFusionNet(**options)


def as_written(*counts):
    return pytest.approx([count / 1e9 for count in counts])


def counts(model, size=SIZE):
    return [cost.gmacs(model, size, convention) for convention in ("macs", "flops", "thop", "fvcore", "true")]


def without_scan(macs, thop, fvcore):
    return as_written(macs, 2 * macs, thop, fvcore, macs)


def count_by_fvcore(model, size=SIZE):
    tool = pytest.importorskip("fvcore.nn", reason="fvcore, the tool to compare with, is not installed")
    analysis = tool.FlopCountAnalysis(model.eval(), example_pair(size, "cpu"))
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none").total()


def test_parameters_counts_shared_ones_once_and_frozen_ones_too():
    layer = nn.Conv2d(1, 1, 3).requires_grad_(False)
    assert cost.parameters(Twin(layer, layer, nn.BatchNorm2d(1))) == 9 + 1 + 2


LAYERS = [  # layers, then operations by hand: macs, thop, fvcore
    ([nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()], 36 * PIXELS, 36 * PIXELS, 36 * PIXELS),
    ([nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 5, padding=2, groups=4)], 104 * PIXELS, 104 * PIXELS, 104 * PIXELS),
    ([nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 3, padding=1, groups=2)], 112 * PIXELS, 112 * PIXELS, 112 * PIXELS),
    ([nn.Conv2d(1, 2, 3, stride=2, padding=1)], 18 * PIXELS // 4, 18 * PIXELS // 4, 18 * PIXELS // 4),
    ([nn.Linear(20, 7), nn.GELU()], 7 * PIXELS, 7 * PIXELS, 7 * PIXELS),
    ([nn.ConvTranspose2d(1, 3, 2, stride=2)], 12 * PIXELS, 48 * PIXELS, 12 * PIXELS),  # thop counts too many
    ([nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU()], 3 * PIXELS, 15 * PIXELS, 9 * PIXELS),
    ([nn.BatchNorm2d(1, affine=False), nn.Sigmoid()], 0, 2 * PIXELS, PIXELS),
    ([nn.BatchNorm2d(1, track_running_stats=False)], 0, 4 * PIXELS, 5 * PIXELS),
    ([nn.BatchNorm2d(1, affine=False, track_running_stats=False)], 0, 2 * PIXELS, 4 * PIXELS),
    ([nn.LayerNorm(20)], 0, 4 * PIXELS, 5 * PIXELS),
    ([nn.LayerNorm(20, elementwise_affine=False)], 0, 2 * PIXELS, 4 * PIXELS),
    ([nn.GroupNorm(1, 1)], 0, 0, 5 * PIXELS),
    ([nn.InstanceNorm2d(1, affine=True), nn.InstanceNorm2d(1)], 0, 6 * PIXELS, 9 * PIXELS),
    ([nn.Softmax(dim=-1)], 0, 16 * (3 * 20 - 1), 0),
    ([nn.AdaptiveAvgPool2d(1)], 0, PIXELS + 1, PIXELS),
    ([nn.AvgPool2d(2)], 0, PIXELS // 4, 0),
    ([nn.Upsample(scale_factor=2, mode="bilinear")], 0, 44 * PIXELS, 16 * PIXELS),
    ([nn.Upsample(scale_factor=2)], 0, 4 * PIXELS, 4 * PIXELS),
    ([nn.Upsample(scale_factor=2, mode="bicubic")], 0, 259 * 4 * PIXELS, 0),
]
ROWS, COLUMNS = 16, 20
FUNCTIONS = [  # a function of two images, then macs and fvcore by hand; thop sees no layer
    (lambda a, b: F.conv1d(a[:, 0], a.new_ones(4, ROWS, 3)), 3456, 3456),
    (lambda a, b: F.conv_transpose1d(a[:, 0], a.new_ones(ROWS, 4, 3)), 3840, 3840),
    (lambda a, b: F.conv3d(a[None], a.new_ones(4, 1, 1, 3, 3)), 9072, 9072),
    (lambda a, b: a @ b.mT, PIXELS * ROWS, PIXELS * ROWS),
    (lambda a, b: a.expand(3, 2, ROWS, COLUMNS) @ a.new_ones(COLUMNS, 5), 6 * 5 * PIXELS, 6 * 5 * PIXELS),
    (lambda a, b: a.new_ones(7, ROWS) @ a.expand(3, 2, ROWS, COLUMNS), 6 * 7 * PIXELS, 7 * PIXELS),
    (lambda a, b: torch.addmm(a.new_ones(ROWS, ROWS), a[0, 0], b[0, 0].T), PIXELS * ROWS, PIXELS * ROWS),
    (lambda a, b: torch.baddbmm(a.new_ones(1, ROWS, ROWS), a[0], b[0].mT), PIXELS * ROWS, 0),
    (lambda a, b: torch.einsum("b k d l, k c d -> b k c l", a, a.new_ones(1, 7, ROWS)), 7 * PIXELS, 7 * PIXELS),
    (lambda a, b: torch.einsum("bil,bjl->bij", a[0], b[0]), PIXELS * ROWS, PIXELS * ROWS),
    (lambda a, b: torch.einsum("ij,ik->ijk", a[0, 0], b[0, 0]), 0, 10 * PIXELS),  # no sum: torch multiplies elements
    (lambda a, b: F.interpolate(a, size=(8, 10), mode="bilinear"), 0, 4 * 80),
    (lambda a, b: F.grid_sample(a, a.new_zeros(1, 5, 6, 2), align_corners=False), 0, 4 * 30),
    (lambda a, b: F.layer_norm(a, (COLUMNS,), bias=None, weight=a.new_ones(COLUMNS)), 0, 5 * PIXELS),
    (lambda a, b: F.scaled_dot_product_attention(a, b, b), 2 * PIXELS * ROWS, 0),
    (lambda a, b: a.mean((2, 3)) * torch.exp(b).sum() / 3, 0, 0),
]
SCANS = [  # networks, then every convention by hand
    # conv 4, to_step 16, to_matrices 24, head 4; the scan 9 x 4 x 3 = 108; layer norm of 4 elements
    (ScanOfLayers, [48 + 54, 2 * (48 + 54), 48 + 4 * 4, 48 + 5 * 4, 48 + 108]),
    # stem 3, depthwise 27, projection 2 x 7 x 3, head 3; the scan 9 x 6 x 2 = 108; batch norm of 3 elements
    (ScanOfFunctions, [75 + 54, 2 * (75 + 54), 4 * 3, 75 + 2 * 3, 75 + 108]),
]


@pytest.mark.parametrize(("layers", "macs", "thop", "fvcore"), LAYERS)
def test_layers_against_a_count_by_hand(layers, macs, thop, fvcore):
    assert counts(Twin(*layers)) == without_scan(macs, thop, fvcore)


@pytest.mark.parametrize(("function", "macs", "fvcore"), FUNCTIONS)
def test_functions_against_a_count_by_hand(function, macs, fvcore):
    assert counts(Apply(function)) == without_scan(macs, 0, fvcore)


@pytest.mark.parametrize(("network", "per_pixel"), SCANS)
def test_scans_against_a_count_by_hand(network, per_pixel):
    assert counts(network()) == as_written(*(PIXELS * count for count in per_pixel))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "model",
    [Twin(*layers) for layers, *_ in LAYERS]
    + [Apply(function) for function, *_ in FUNCTIONS]
    + [network() for network, _ in SCANS],
)
def test_fvcore_counts_as_fvcore_does(model):
    assert 1e9 * cost.gmacs(model, SIZE, "fvcore") == pytest.approx(count_by_fvcore(model), rel=1e-12)


def test_whole_networks_are_counted_as_fvcore_does():
    mixed = Twin(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(20, 12), nn.LayerNorm(12)),
        *(nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(4)),
    )
    transformer = Twin(nn.Flatten(0, 1), nn.TransformerEncoderLayer(20, 2, 32, batch_first=True))
    for model in (mixed, transformer, lightfusionnet()):
        assert 1e9 * cost.gmacs(model, (64, 20), "fvcore") == pytest.approx(count_by_fvcore(model, (64, 20)), rel=1e-12)


def test_fvcore_keeps_four_digits_of_an_einsum():
    model = Apply(lambda a, b: torch.einsum("bkdl,kcd->bkcl", a, a.new_ones(1, 7, 17)))
    exact = 17 * 229 * 7
    assert cost.gmacs(model, (17, 229)) == pytest.approx(exact / 1e9)
    assert cost.gmacs(model, (17, 229), "fvcore") == pytest.approx(27250 / 1e9)  # 2 x 27251 = 5.450e4
    assert count_by_fvcore(model, (17, 229)) == 27250


def test_matrix_times_vector_which_fvcore_itself_cannot_count():
    assert cost.gmacs(Apply(lambda a, b: a @ b[0, 0, 0]), SIZE, "fvcore") == pytest.approx(PIXELS / 1e9)


def test_thop_misses_subclasses_and_functional_calls():
    class Own(nn.Conv2d):
        pass

    assert counts(Twin(Own(1, 1, 1))) == without_scan(PIXELS, 0, PIXELS)


@pytest.mark.parametrize("model", [Attention(), AttentionNeedsValues()])
def test_attention_is_counted_with_and_without_values(model):
    assert counts(model) == without_scan(2 * 16 * 16 * 20, 0, 0)


def test_values_are_used_where_the_model_needs_them():
    assert counts(NeedsValues(nn.Conv2d(1, 1, 1))) == without_scan(PIXELS, PIXELS, PIXELS)


def test_registered_operators_are_counted():
    model = Scan(nn.Conv2d(1, 1, 1))
    assert cost.flops(model, SIZE) == (2 + 9) * PIXELS
    assert counts(model) == as_written(5.5 * PIXELS, 11 * PIXELS, PIXELS, PIXELS, 10 * PIXELS)


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
    macs, flops, thop, fvcore, true = counts(model, (256, 256))
    assert [macs, flops, thop, true] == pytest.approx([0.25284, 0.50568, 0.28692, 0.25284], abs=1e-5)
    assert fvcore == pytest.approx(0.2699, abs=5e-5)


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


def test_measure_cost_is_complete_and_fits_into_json_and_text():
    measured = cost.measure_cost(Twin(nn.Conv2d(1, 1, 1)), SIZE, repeats=2, warmup=0, threads=1)
    plain = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert plain["name"] == "Twin" and plain["size"] == [16, 20] and plain["parameters"] == 2
    assert plain["operations_g"]["macs"] == pytest.approx(PIXELS / 1e9)
    assert plain["operations_g"].keys() == plain["conventions"].keys() == cost.CONVENTIONS.keys()
    assert plain["latency"]["threads"] == 1 and plain["torch_version"] == torch.__version__
    assert plain["peak_memory_bytes"] >= 0
    assert max(map(len, measured.to_text().splitlines())) <= 100
    words = " ".join(measured.to_text().split())
    for name, convention in cost.CONVENTIONS.items():
        assert f" {name} {measured.operations_g[name]:.6f} {convention.statement}" in words


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
