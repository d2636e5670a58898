"""IFCNN (Zhang et al., Information Fusion 54, 2020): two convolutions per source, one rule, two convolutions."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.errors import unknown
from fusionkit.models.baselines.convolution import ConvNorm
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release

RULES = {
    "max": torch.maximum,
    "mean": lambda first, second: (first + second) / 2,
    "sum": torch.add,
}
# Mean and standard deviation of red, green and blue.
NORMALISATIONS = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
DIGESTS = {
    "max": "e96817d344bb65b645c9bd787bdfb55d9c5c783e1407a7e48a4c60ad1a55895d",
    "mean": "bf30bba8b4c658740412f55ed3f278f8a2bef9bcd229f1d73c2ade92ea3373af",
    "sum": "aed70366abf044c906c8b34c6390b4d8b80d5b1278844b9c82fb19a66226da99",
}


class IFCNN(Baseline):
    """Colour network for any pair of images; grey images go in as three equal channels.

    The authors' script normalises images of multi-focus pairs as ImageNet is and leaves infrared-visible and medical
    pairs as they are. Results of others on infrared-visible pairs that are widely reused have the former.

    Args:
        fusion: How features of the sources meet: ``"max"``, ``"mean"`` or ``"sum"``; each has weights of its own.
        normalisation: Of the input: ``"none"`` or ``"imagenet"``.
        post: How the image is written.

    Raises:
        FusionkitError: ``fusion``, ``normalisation`` or ``post`` is unknown.
    """

    about = "two convolutions per source, element-wise rule, two convolutions"
    source = "Zhang et al., Information Fusion 54, 2020"
    published: ClassVar = Published(
        task="any pair",
        repository="uzeful/IFCNN",
        commit="8fe59c2b1553",
        licence="none stated",
        form="state dicts of PyTorch",
        releases={
            name: Release(f"ifcnn_{rule}", DIGESTS[rule], {"fusion": rule, "normalisation": normalisation})
            for normalisation, ending in (("none", ""), ("imagenet", "-imagenet"))
            for rule, name in ((rule, f"{rule}{ending}") for rule in RULES)
        },
    )

    def __init__(self, fusion: str = "max", normalisation: str = "none", post: str = "clip_truncate") -> None:
        super().__init__(post)
        if fusion not in RULES:
            raise unknown("fusion rule of IFCNN", fusion, RULES)
        if normalisation not in NORMALISATIONS:
            raise unknown("normalisation of IFCNN", normalisation, NORMALISATIONS)
        self.fusion = RULES[fusion]
        for name, values in zip(("mean", "std"), NORMALISATIONS[normalisation], strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 64, 7, padding=3, padding_mode="replicate", bias=False)
        self.conv2 = ConvNorm(64, 64, bias=False)
        self.conv3 = ConvNorm(64, 64, bias=False)
        self.conv4 = nn.Conv2d(64, 3, 1)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 3, H, W), as it is normalised; sources have one or three channels."""
        sources = ((x.expand(-1, 3, -1, -1) - self.mean) / self.std for x in (b, a))
        features = self.fusion(*(self.conv2(self.conv1(x)) for x in sources))
        return self.conv4(self.conv3(features))

    def image(self, raw: Tensor) -> Tensor:
        """Undo the normalisation."""
        return raw * self.std + self.mean
