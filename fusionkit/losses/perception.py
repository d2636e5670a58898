"""S4Fusion's perception: what a ResNet50 that knows ImageNet makes of the images.

Its weights are not part of this project. ``$FUSIONKIT_RESNET50`` names a file of them (torchvision's or transformers'
names, safetensors or a state dict in ``.pth``); without it these terms raise an error, and training takes the preset
``s4fusion_no_perception``. A network with random weights never stands in: its entropy says nothing of an image.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.data.pairs import load_pair
from fusionkit.data.registry import split_names
from fusionkit.errors import FusionkitError
from fusionkit.files import sha256
from fusionkit.losses.information import (
    Weights,
    information,
    modality_weights,
    weighted_dissimilarity,
    weighted_intensity,
)
from fusionkit.tensors import read_tensors

VARIABLE = "FUSIONKIT_RESNET50"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALIBRATION = ("roadscene", "train_s4fusion147")
SMALLEST_TEMPERATURE = 1e-8
# What transformers calls the parts that torchvision names on the left.
NAMES = (
    (r"^conv1\.", "resnet.embedder.embedder.convolution."),
    (r"^bn1\.", "resnet.embedder.embedder.normalization."),
    (r"^layer(\d)\.(\d)\.", lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}."),
    (r"\.conv(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.convolution."),
    (r"\.bn(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.normalization."),
    (r"\.downsample\.0\.", ".shortcut.convolution."),
    (r"\.downsample\.1\.", ".shortcut.normalization."),
    (r"^fc\.", "classifier.1."),
)


class Perception(nn.Module):
    """A frozen ResNet50 (v1.5, 25,557,032 parameters) that gives four feature maps and a thousand logits.

    Args:
        path: File of its weights.

    Raises:
        FusionkitError: transformers is not installed, or the file holds another network.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.network = _build()
        self.network.load_state_dict(_renamed(path, self.network.state_dict()))
        self.requires_grad_(False)
        self.eval()
        self._last: tuple[Tensor, Tensor, Weights] | None = None
        self._temperature: float | None = None

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the four stages' features and the logits (B, 1000) of images (B, 1, H, W) in [0, 1].

        Grey is repeated to three channels and normalised as for ImageNet; the authors' code does not show theirs.
        """
        colour = images.clamp(0, 1).expand(-1, 3, -1, -1)
        mean, deviation = (colour.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        found = self.network.to(images)((colour - mean) / deviation, output_hidden_states=True)
        return list(found.hidden_states[1:]), found.logits

    def weights(self, a: Tensor, b: Tensor) -> Weights:
        """Return the weights of both modalities, (B,) each; two terms ask for those of one pair."""
        if self._last is None or self._last[0] is not a or self._last[1] is not b:
            with torch.no_grad():
                infos = [information(self(x)[0]) for x in (a, b)]
            self._last = (a, b, modality_weights(*infos, self.temperature))
        return self._last[2]

    @property
    def temperature(self) -> float:
        """Median over RoadScene's training pairs of how much the modalities' information differs.

        The paper's constant is not known; this one makes a usual difference count as one. Found at first use.

        Raises:
            FusionkitError: These pairs are not here.
        """
        if self._temperature is None:
            pairs = [load_pair(*CALIBRATION, name) for name in split_names(*CALIBRATION)]
            device = next(self.parameters()).device
            with torch.no_grad():
                gaps = [
                    float(
                        (information(self(p.a[None].to(device))[0]) - information(self(p.b[None].to(device))[0])).abs()
                    )
                    for p in pairs
                ]
            self._temperature = max(float(torch.tensor(gaps).median()), SMALLEST_TEMPERATURE)
        return self._temperature

    def provenance(self) -> dict[str, Any]:
        """Return which weights and which temperature were at work."""
        return {"resnet50_sha256": sha256(self.path), "temperature": self.temperature}


@cache
def load_perception() -> Perception:
    """Return the network of the weights that ``$FUSIONKIT_RESNET50`` names, read once.

    Raises:
        FusionkitError: It names no file, transformers is not installed, or the file holds another network.
    """
    path = os.environ.get(VARIABLE)
    if not path or not Path(path).is_file():
        what = f"is {path!r}, which is no file" if path else "is not set"
        raise FusionkitError(
            f"S4Fusion's perception needs a ResNet50 trained on ImageNet: {VARIABLE} {what}; set it to the weights "
            "(IMAGENET1K_V1 of torchvision), or take the loss s4fusion_no_perception"
        )
    return Perception(Path(path))


def perceived_intensity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return :func:`~fusionkit.losses.information.weighted_intensity` under weights from ResNet50's features."""
    return weighted_intensity(fused, a, b, load_perception().weights(a, b))


def perceived_dissimilarity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return :func:`~fusionkit.losses.information.weighted_dissimilarity` under weights from ResNet50's features."""
    return weighted_dissimilarity(fused, a, b, load_perception().weights(a, b))


def entropy(fused: Tensor, _a: Tensor, _b: Tensor) -> Tensor:
    """Return how undecided a ResNet50 is about the fused image, in nats: 0 to ln 1000 (S4Fusion, L_per)."""
    return entropy_of(load_perception()(fused)[1])


def entropy_of(logits: Tensor) -> Tensor:
    """Return the mean entropy of distributions given as logits (B, classes), in nats."""
    shares = logits.softmax(-1) + 1e-9
    return -(shares * shares.log()).sum(-1).mean()


def _build() -> nn.Module:
    try:
        from transformers import ResNetConfig, ResNetForImageClassification
    except ImportError as error:
        raise FusionkitError("S4Fusion's perception needs transformers: pip install 'fusionkit[perception]'") from error
    return ResNetForImageClassification(ResNetConfig(num_labels=1000))


def _renamed(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file under transformers' names, all of them fitting."""
    _, tensors = read_tensors(path)
    for theirs, ours in NAMES:
        tensors = {re.sub(theirs, ours, name): x for name, x in tensors.items()}
    counters = {name: x for name, x in expected.items() if name.endswith("num_batches_tracked")}
    tensors = counters | tensors  # old files lack them, and evaluation does not use them
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape)
    if missing or extra or wrong:
        raise FusionkitError(
            f"{path}: no ResNet50 of 1000 classes: missing {missing[:5]} ({len(missing)}), "
            f"unexpected {extra[:5]} ({len(extra)}), other shape {wrong[:5]} ({len(wrong)})"
        )
    return tensors
