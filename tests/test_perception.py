"""S4Fusion's perception with a ResNet50 of seeded random weights, which tests the plumbing and nothing else."""

import pytest
import torch
from torch import nn

from fusionkit import FusionkitError, losses
from fusionkit.files import sha256
from fusionkit.losses import perception as perception_module
from fusionkit.losses.perception import VARIABLE, Perception, load_perception

transformers = pytest.importorskip("transformers", reason="the optional extra `perception` is not installed")


class Bottleneck(nn.Module):
    """A residual block with torchvision's names, the stride at the 3x3 convolution (v1.5)."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        kept = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return (self.bn3(self.conv3(x)) + kept).relu()


class ResNet50(nn.Module):
    """The network as torchvision names it; returns the four stages and the logits."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, 2 if stage > 1 and block == 0 else 1))
                inputs = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        features = []
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            features.append(x)
        return features, self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = ResNet50().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet50.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def ours(weights):
    found = Perception(weights)
    found._temperature = 1.0
    return found


def test_it_is_torchvisions_network_under_other_names(network, ours):
    images = torch.rand(2, 1, 61, 61)
    mean, deviation = (torch.tensor(x)[:, None, None] for x in (perception_module.MEAN, perception_module.DEVIATION))
    with torch.no_grad():
        features, logits = ours(images)
        expected_features, expected_logits = network((images.expand(-1, 3, -1, -1) - mean) / deviation)
    assert [tuple(x.shape[1:]) for x in features] == [(256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]
    for found, expected in zip([*features, logits], [*expected_features, expected_logits], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_network_is_frozen_and_the_gradient_reaches_the_image(ours, monkeypatch):
    monkeypatch.setattr(perception_module, "load_perception", lambda: ours)
    a, b = torch.rand(2, 1, 1, 61, 61)
    fused = ((a + b) / 2).requires_grad_()
    found = losses.preset("s4fusion")(fused, a, b)
    assert sorted(found) == ["entropy", "gradient_max", "perceived_dissimilarity", "perceived_intensity", "total"]
    found["entropy"].backward()
    assert fused.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_a_loss_names_the_weights_that_it_looks_through(ours, monkeypatch):
    monkeypatch.setattr(losses, "load_perception", lambda: ours)
    found = losses.preset("s4fusion").provenance()["perception"]
    assert found == {"resnet50_sha256": sha256(ours.path), "temperature": 1.0}
    assert losses.preset("s4fusion_no_perception").provenance() == {}


def test_weights_of_a_pair_are_found_once(ours, monkeypatch):
    a, b = torch.rand(2, 1, 1, 61, 61)
    first = ours.weights(a, b)
    assert ours.weights(a, b) is first
    assert ours.weights(b, a) is not first
    torch.testing.assert_close(first[0] + first[1], torch.ones(1))


def test_weights_of_another_network_are_refused(network, tmp_path):
    state = {key: x for key, x in network.state_dict().items() if not key.startswith("layer4.2")}
    path = tmp_path / "resnet.pth"
    torch.save(state | {"fc.weight": torch.zeros(10, 2048)}, path)
    with pytest.raises(
        FusionkitError, match=r"resnet.pth: no ResNet50 of 1000 classes: missing .*stages\.3.*other shape"
    ):
        Perception(path)


@pytest.mark.parametrize(
    ("value", "message"), [(None, "is not set"), ("nowhere.pth", "is 'nowhere.pth', which is no file")]
)
def test_without_weights_there_is_no_perception(monkeypatch, value, message):
    monkeypatch.delenv(VARIABLE, raising=False)
    if value:
        monkeypatch.setenv(VARIABLE, value)
    load_perception.cache_clear()
    images = torch.rand(3, 1, 1, 32, 32)
    with pytest.raises(FusionkitError, match=f"{VARIABLE} {message}.*s4fusion_no_perception"):
        losses.preset("s4fusion")(*images)


def test_named_weights_are_read_once(monkeypatch, weights):
    monkeypatch.setenv(VARIABLE, str(weights))
    load_perception.cache_clear()
    assert load_perception() is load_perception()
    assert load_perception().path == weights
    load_perception.cache_clear()
