"""U2Fusion (Xu et al., IEEE TPAMI 44, 2022): one densely connected network for every task."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.convolution import grow, mirrored
from fusionkit.models.baselines.network import Baseline, from_tensorflow, grey
from fusionkit.models.baselines.published import Published, Release
from fusionkit.models.baselines.writing import POSTS

GROWTH, LAYERS = 44, 5
WIDTHS = (264, 128, 64, 32, 1)
SLOPE = 0.2
# Weights of red, green and blue in both chroma images, whose middle is 0 here.
CHROMA = ((-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))
FILE, DIGEST = "u2fusion", "775f9ff2b204cf810863e61272bcb16254794d56f4647c0d37614133b5f04e46"


class U2Fusion(Baseline):
    """The two orders of the sources give images that correlate by 0.94 to 0.99 only.

    The authors' script feeds the visible image first, or the functional one; widely reused results of others on
    infrared-visible pairs have the infrared image first, and are stretched at both ends.

    Args:
        a_first: Whether the first source of ``forward`` (infrared, functional) is the network's first.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "densely connected network, any task"
    source = "Xu et al., IEEE TPAMI 44, 2022"
    published: ClassVar = Published(
        task="any pair",
        repository="hanna-xu/U2Fusion",
        commit="0a5882140df6",
        licence="none stated",
        form="a checkpoint of TensorFlow 1",
        releases={
            "ir_vis": Release(FILE, DIGEST),
            "medical": Release(FILE, DIGEST, {"a_first": True}),
            "third_party": Release(FILE, DIGEST, {"a_first": True, "post": "minmax"}),
        },
    )
    names = (
        (r"^encoder\.", "Generator/encoder/"),
        (r"^decoder\.", "Generator_1/decoder/"),
        (r"\.weight$", "/kernel"),
        (r"\.bias$", "/bias"),
    )
    ours = staticmethod(from_tensorflow)

    def __init__(self, a_first: bool = False, post: str = "maximum") -> None:
        super().__init__(post)
        self.a_first = a_first
        dense = {f"dense_block_conv{i}": nn.Conv2d(GROWTH * i, GROWTH, 3) for i in range(1, LAYERS + 1)}
        self.encoder = nn.ModuleDict({"conv1_1": mirrored(2, GROWTH)} | dense)
        (inputs, outputs), *sizes = pairwise(WIDTHS)
        decoder = {"conv2_1": nn.Conv2d(inputs, outputs, 3)}
        self.decoder = nn.ModuleDict(decoder | {f"conv2_{i}": mirrored(*size) for i, size in enumerate(sizes, 2)})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        first, *dense = self.encoder.values()
        features = _activate(first(torch.cat([a, b] if self.a_first else [b, a], 1)))
        features = grow(features, dense, _activate, newest_first=True)
        *hidden, last = self.decoder.values()
        for layer in hidden:
            features = _activate(layer(features))
        return torch.tanh(last(features)) / 2 + 0.5

    def in_colour(self, colour: Tensor, grey_source: Tensor) -> Tensor:
        """Fuse a colour image with a grey one as the authors' script does; the stretch sees the colours.

        Args:
            colour: (B, 3, H, W) in [0, 1], the network's first source.
            grey_source: (B, 1, H, W) in [0, 1].

        Returns:
            The fused image as it is written, (B, 3, H, W).
        """
        luma = grey(colour)
        cb, cr = (sum(w * x for w, x in zip(weights, colour.split(1, 1), strict=True)) for weights in CHROMA)
        fused = self.raw(luma, grey_source) if self.a_first else self.raw(grey_source, luma)
        green = fused - 0.34414 * cb - 0.71414 * cr
        return POSTS[self.post](torch.cat([fused + 1.402 * cr, green, fused + 1.772 * cb], 1))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)
