"""SDNet (Zhang and Ma, IJCV 129, 2021): squeeze two images into one from which both can be decomposed."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline, from_tensorflow
from fusionkit.models.baselines.published import Published, Release

WIDTH = 16
SLOPE = 0.2


class SDNet(Baseline):
    """Two densely connected streams that do not share weights, one convolution over all their features.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "two dense streams squeezed into one image, trained to be decomposed again"
    source = "Zhang and Ma, IJCV 129, 2021"
    published: ClassVar = Published(
        task="infrared-visible; medical",
        repository="HaoZhang1018/SDNet",
        commit="bf6a2eeed1f7",
        licence="MIT",
        form="checkpoints of TensorFlow 1, step 10 for infrared-visible and step 29 for medical images",
        releases={
            "ir_vis": Release("sdnet_ivf", "2f0a3c74af80bfaf479ca42b137d9aa5e6eeb40691f33cbc63157f0d1454d94f"),
            "medical": Release("sdnet_med", "cbe4e8a39a026564f4b3ea755acda530e13cced05d20f7e0c03c29348a546abc"),
        },
    )
    names = (
        (r"^(?:decomposition\.)?(ir|vi)\.layer(\d)\.", r"fusion_model/layer\2_\1/\2_\1."),
        (r"^squeeze\.", "fusion_model/layer5_fuse/5_fuse."),
        (r"^decomposition\.shared\.", "fusion_model/layer6_sept/6_sept."),
        (r"/(\w+)\.weight$", r"/w\1"),
        (r"/(\w+)\.bias$", r"/b\1"),
    )
    idle = ("decomposition.",)
    ours = staticmethod(from_tensorflow)

    def __init__(self, post: str = "minmax") -> None:
        super().__init__(post)
        self.ir, self.vi = _stream(), _stream()
        self.squeeze = nn.Conv2d(8 * WIDTH, 1, 1)
        shared = nn.Conv2d(1, 8 * WIDTH, 1)
        self.decomposition = nn.ModuleDict({"shared": shared, "ir": _way_back(), "vi": _way_back()})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        streams = (_features(stream, 2 * image - 1) for stream, image in ((self.ir, a), (self.vi, b)))
        levels = [features for level in zip(*streams, strict=True) for features in level]
        return torch.tanh(self.squeeze(torch.cat(levels, 1)))

    def decompose(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return both sources, (B, 1, H, W) in (-1, 1), as the network finds them in a fused image of ``raw``."""
        shared = F.leaky_relu(self.decomposition["shared"](raw), SLOPE)
        found = []
        for stream in ("ir", "vi"):
            features = shared
            *hidden, last = self.decomposition[stream].values()
            for layer in hidden:
                features = F.leaky_relu(layer(features), SLOPE)
            found.append(torch.tanh(last(features)))
        return found[0], found[1]

    def image(self, raw: Tensor) -> Tensor:
        """Map (-1, 1) to (0, 1)."""
        return (raw + 1) / 2


def _stream() -> nn.ModuleDict:
    first = nn.Conv2d(1, WIDTH, 5, padding=2)
    dense = {f"layer{i + 1}": nn.Conv2d(WIDTH * i, WIDTH, 3, padding=1) for i in (1, 2, 3)}
    return nn.ModuleDict({"layer1": first} | dense)


def _way_back() -> nn.ModuleDict:
    sizes = {"layer7": (8 * WIDTH, WIDTH), "layer8": (WIDTH, 4), "layer9": (4, 1)}
    return nn.ModuleDict({name: nn.Conv2d(*size, 3, padding=1) for name, size in sizes.items()})


def _features(stream: nn.ModuleDict, image: Tensor) -> list[Tensor]:
    """Return the features (B, 16, H, W) of the four layers, each of which sees those of all before it."""
    first, *dense = stream.values()
    found = [F.leaky_relu(first(image), SLOPE)]
    for layer in dense:
        found.append(F.leaky_relu(layer(torch.cat(found, 1)), SLOPE))
    return found
