"""DenseFuse (Li and Wu, IEEE TIP 28, 2019), the authors' release in PyTorch: dense encoder, mean, decoder."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.convolution import grow, mirrored
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release

WHITE = 255
GROWTH = 16


class DenseFuse(Baseline):
    """Auto-encoder whose codes are averaged.

    The repository also has a rule that weighs codes by their activity, which its network class never reaches.

    Args:
        channels: 1 for grey images, 3 for colour; each has weights of its own.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "auto-encoder with dense blocks, codes averaged"
    source = "Li and Wu, IEEE TIP 28, 2019"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="hli1221/densefuse-pytorch",
        commit="4394b63e9295",
        licence="none stated",
        form="state dicts of PyTorch",
        releases={
            "grey": Release(
                "densefuse_gray", "10262ba5e85889d59f4f43c001d9598ea85680f1d2df428fc357e87e2dba2d3c", {"channels": 1}
            ),
            "rgb": Release(
                "densefuse_rgb", "090630b4e624ce33091616ad635c33f375b4f0ed8718b0fbf5d261fe4b18836b", {"channels": 3}
            ),
        },
    )
    names = (
        (r"^first\.", "conv1.conv2d."),
        (r"^dense\.(\d)\.", r"DB1.denseblock.\1.dense_conv.conv2d."),
        (r"^decoder\.(conv\d)\.", r"\1.conv2d."),
    )

    def __init__(self, channels: int = 1, post: str = "clip_truncate") -> None:
        super().__init__(post)
        self.channels = channels
        self.first = mirrored(channels, GROWTH)
        self.dense = nn.ModuleList(nn.Conv2d(GROWTH * i, GROWTH, 3) for i in (1, 2, 3))
        self.decoder = nn.ModuleDict(
            {"conv2": nn.Conv2d(64, 64, 3), "conv3": mirrored(64, 32), "conv4": mirrored(32, 16)}
        )
        self.decoder["conv5"] = mirrored(16, channels)

    def encode(self, image: Tensor) -> Tensor:
        """Return the code (B, 64, H + 2, W + 2), mirrored at its edges, of an image (B, channels, H, W) in 0..255."""
        return grow(F.relu(self.first(image)), self.dense, F.relu)

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, channels, H, W), from 0 to about 255; sources have one channel or as many."""
        first, second = (self.encode(WHITE * x.expand(-1, self.channels, -1, -1)) for x in (a, b))
        fused = (first + second) / 2
        for layer in self.decoder.values():
            fused = F.relu(layer(fused))
        return fused

    def image(self, raw: Tensor) -> Tensor:
        """Divide by 255."""
        return raw / WHITE
