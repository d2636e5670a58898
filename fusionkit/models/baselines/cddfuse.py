"""CDDFuse (Zhao et al., CVPR 2023): what both images share and what each has alone, fused apart."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.errors import unknown
from fusionkit.models.baselines.channel_transformer import NAMES, base_block
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published
from fusionkit.models.restormer import restormer_block

WIDTH, HEADS, DEPTH, EXPANSION = 64, 8, 4, 2
NODES = 3
HALF = WIDTH // 2
SLOPE = 0.01
# What the decoder's image is added to.
ADDED = ("visible", "both", "none")


class CDDFuse(Baseline):
    """One encoder for both sources, base and detail features fused by layers of their own, one decoder.

    Args:
        added: What the decoder's image is added to: ``"visible"`` (infrared-visible weights), ``"both"`` (the same on
            medical images) or ``"none"`` (medical weights).
        post: How the image is written.

    Raises:
        FusionkitError: ``added`` or ``post`` is unknown.
    """

    about = "Restormer blocks; shared and own features fused apart"
    source = "Zhao et al., CVPR 2023"
    published: ClassVar = Published(
        task="infrared-visible; medical",
        repository="Zhaozixiang1228/MMIF-CDDFuse",
        commit="fd8da1f39d8d",
        licence="none stated",
        form="checkpoints of PyTorch with four state dicts",
        releases={},
    )
    names = (
        *NAMES,
        (r"^encoder\.embed\.", "DIDF_Encoder.patch_embed.proj."),
        (r"^encoder\.blocks\.", "DIDF_Encoder.encoder_level1."),
        (r"^encoder\.base\.", "DIDF_Encoder.baseFeature."),
        (r"^encoder\.detail\.", "DIDF_Encoder.detailFeature.net."),
        (r"^decoder\.blocks\.", "DIDF_Decoder.encoder_level2."),
        (r"^decoder\.reduce\.", "DIDF_Decoder.reduce_channel."),
        (r"^decoder\.output\.", "DIDF_Decoder.output."),
        (r"^fuse_base\.", "BaseFuseLayer."),
        (r"^fuse_detail\.", "DetailFuseLayer.net."),
        (r"\.(phi|rho|eta)\.", r".theta_\1.bottleneckBlock."),
        (r"\.shuffle\.", ".shffleconv."),
    )

    def __init__(self, added: str = "visible", post: str = "minmax") -> None:
        super().__init__(post)
        if added not in ADDED:
            raise unknown("image that CDDFuse adds", added, ADDED)
        self.added = added
        self.encoder = _Encoder()
        self.fuse_base = base_block(WIDTH, HEADS)
        self.fuse_detail = _CouplingNode.chain(1)
        self.decoder = _Decoder()

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        (base_a, detail_a), (base_b, detail_b) = self.encoder(a), self.encoder(b)
        base, detail = self.fuse_base(base_a + base_b), self.fuse_detail(detail_a + detail_b)
        fused = self.decoder(base, detail)
        if self.added == "both":
            fused = fused + a
        return torch.sigmoid(fused if self.added == "none" else fused + b)

    @staticmethod
    def ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' tensors without the name that torch's parallel wrapper puts into each."""
        return {name.replace(".module.", ".", 1): tensor for name, tensor in state.items()}


class _Encoder(nn.Module):
    """Shared features of one image, then base and detail features of these."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, WIDTH, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(WIDTH, HEADS, EXPANSION) for _ in range(DEPTH)))
        self.base = base_block(WIDTH, HEADS)
        self.detail = _CouplingNode.chain(NODES)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return base and detail features, (B, 64, H, W) each, of an image (B, 1, H, W)."""
        features = self.blocks(self.embed(image))
        return self.base(features), self.detail(features)


class _CouplingNode(nn.Module):
    """An invertible step: each half of the channels is changed by functions of the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.shuffle = nn.Conv2d(WIDTH, WIDTH, 1)
        self.phi, self.rho, self.eta = (_bottleneck() for _ in range(3))

    @classmethod
    def chain(cls, nodes: int) -> nn.Sequential:
        """Return several steps, one after the other."""
        return nn.Sequential(*(cls() for _ in range(nodes)))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 64, H, W)."""
        first, second = self.shuffle(x).chunk(2, 1)
        second = second + self.phi(first)
        return torch.cat([first * torch.exp(self.rho(second)) + self.eta(second), second], 1)


def _bottleneck() -> nn.Sequential:
    """Return the inverted residual of MobileNet V2, without the residual."""
    return nn.Sequential(
        nn.Conv2d(HALF, WIDTH, 1, bias=False),
        nn.ReLU6(),
        nn.ReflectionPad2d(1),
        nn.Conv2d(WIDTH, WIDTH, 3, groups=WIDTH, bias=False),
        nn.ReLU6(),
        nn.Conv2d(WIDTH, HALF, 1, bias=False),
    )


class _Decoder(nn.Module):
    """From base and detail features to what is added to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(2 * WIDTH, WIDTH, 1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(WIDTH, HEADS, EXPANSION) for _ in range(DEPTH)))
        self.output = nn.Sequential(
            nn.Conv2d(WIDTH, HALF, 3, padding=1, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(HALF, 1, 3, padding=1, bias=False),
        )

    def forward(self, base: Tensor, detail: Tensor) -> Tensor:
        """Return an image (B, 1, H, W) of any range."""
        return self.output(self.blocks(self.reduce(torch.cat([base, detail], 1))))
