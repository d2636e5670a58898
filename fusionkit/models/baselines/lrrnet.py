"""LRRNet (Li et al., IEEE TPAMI 45, 2023): layers that are steps of an iteration for low-rank and sparse parts."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.convolution import mirrored
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release
from fusionkit.models.baselines.writing import unit_range

WIDTH = 128
STEPS = 4
STRIP = 512


class Decomposition(nn.Module):
    """Split an image into a low-rank and a sparse part, 128 channels each, by four unrolled iterations.

    The iterations go back and forth between one channel and 256. Written as matrix products over strips of pixels,
    both ways need a fraction of the time of a convolution, and all steps of a strip stay in a core's cache.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lamj = nn.Parameter(torch.rand(1, 2 * WIDTH))
        self.lamz = nn.Parameter(torch.rand(1, 1))
        self.start = mirrored(1, 2 * WIDTH)
        self.steps = nn.ModuleList(
            nn.ModuleDict({"back": mirrored(2 * WIDTH, 1), "forth": mirrored(1, 2 * WIDTH)}) for _ in range(STEPS)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return both parts of an image (B, 1, H, W) as strips (B, 256, pixels): channels of low rank, then sparse."""
        strips = [self._soft(_to_many(self.start, part)) for part in _neighbours(image)]
        for step in self.steps:
            rest = image - _to_one(step["back"], strips, image.shape)
            strips = [
                self._soft(self.lamz * strip + _to_many(step["forth"], part))
                for strip, part in zip(strips, _neighbours(rest), strict=True)
            ]
        return strips

    def _soft(self, z: Tensor) -> Tensor:
        """Shrink values (B, 256, pixels) towards zero; some of the learned thresholds are negative."""
        return z.sign() * (z.abs() - self.lamj.mT).relu()


def _neighbours(image: Tensor) -> tuple[Tensor, ...]:
    """Return the 3x3 neighbourhoods of an image (B, 1, H, W), mirrored at its edges, as strips (B, 9, pixels)."""
    columns = F.unfold(F.pad(image, (1, 1, 1, 1), "reflect"), 3)
    return columns.split(columns.shape[-1] if image.is_meta else STRIP, -1)  # what has no values fits any cache


def _to_many(layer: nn.Conv2d, neighbours: Tensor) -> Tensor:
    """Convolve one channel, given as neighbourhoods (B, 9, pixels), to (B, outputs, pixels)."""
    return layer.weight.flatten(1) @ neighbours + layer.bias[:, None]


def _to_one(layer: nn.Conv2d, strips: Iterable[Tensor], shape: Sequence[int]) -> Tensor:
    """Convolve strips (B, inputs, pixels) of an image to one channel (B, 1, H, W).

    One matrix product gives what every pixel adds to each of its nine neighbours; the nine images are then shifted and
    added.
    """
    batch, _, height, width = shape
    taps = layer.weight[0].flatten(1).mT
    planes = torch.cat([taps @ strip for strip in strips], -1).view(batch, 9, height, width)
    padded = F.pad(planes, (1, 1, 1, 1), "reflect")
    shifted = (padded[:, tap, tap // 3 :, tap % 3 :][:, :height, :width] for tap in range(9))
    return (sum(shifted) + layer.bias[0]).unsqueeze(1)


class LRRNet(Baseline):
    """Low-rank and sparse parts of the sources are fused by one small convolution each, and added.

    Args:
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "unrolled iterations for low-rank and sparse parts"
    source = "Li et al., IEEE TPAMI 45, 2023"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="hli1221/imagefusion-LRRNet",
        commit="e489fc325ea6",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={"authors": Release("lrrnet", "9918ad18309999a34fac0c9bf3224fe9cebd37dd829ca129ccb80d21905781c8")},
    )
    names = (
        (r"^infrared\.", "get_ls1."),
        (r"^visible\.", "get_ls2."),
        (r"\.start\.", ".conv_W00.conv2d."),
        (r"\.steps\.(\d)\.back\.", r".lrrblock\1.conv_Wdz.conv2d."),
        (r"\.steps\.(\d)\.forth\.", r".lrrblock\1.conv_Wdtz.conv2d."),
        (r"^decoder\.(\w+)\.", r"decoder.conv_\1.conv2d."),
    )

    def __init__(self, post: str = "minmax_truncate") -> None:
        super().__init__(post)
        self.infrared = Decomposition()
        self.visible = Decomposition()
        layers = {name: mirrored(WIDTH, 1) for name in ("ReZx", "ReUx", "ReZy", "ReUy")}
        self.decoder = nn.ModuleDict(layers | {"ReL": mirrored(2, 1), "ReH": mirrored(2, 1)})

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W), of no fixed range."""
        low, sparse = [], []
        for decompose, image, ending in ((self.infrared, a, "x"), (self.visible, b, "y")):
            strips = decompose(unit_range(image))
            low.append(_to_one(self.decoder[f"ReZ{ending}"], (x[:, :WIDTH] for x in strips), image.shape))
            sparse.append(_to_one(self.decoder[f"ReU{ending}"], (x[:, WIDTH:] for x in strips), image.shape))
        return self.decoder["ReL"](torch.cat(low, 1)) + self.decoder["ReH"](torch.cat(sparse, 1))
