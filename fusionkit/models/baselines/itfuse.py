"""ITFuse (Tang et al., Pattern Recognition 156, 2024): three branches that take turns in asking each other."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.convolution import ConvNorm
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release
from fusionkit.models.baselines.transformer import NAMES, TokenBlocks, unused_parts

WIDTH, SQUEEZED, DEPTH = 16, 4, 3
ROUNDS = 3


class CoordinateAttention(nn.Module):
    """Weigh features by their means over rows and over columns."""

    def __init__(self) -> None:
        super().__init__()
        self.of_rows = nn.AdaptiveAvgPool2d((None, 1))
        self.of_columns = nn.AdaptiveAvgPool2d((1, None))
        self.conv1 = nn.Conv2d(WIDTH, SQUEEZED, 1)
        self.bn1 = nn.BatchNorm2d(SQUEEZED)
        self.conv_h = nn.Conv2d(SQUEEZED, WIDTH, 1)
        self.conv_w = nn.Conv2d(SQUEEZED, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 16, H, W)."""
        height, width = x.shape[2:]
        profiles = torch.cat([self.of_rows(x), self.of_columns(x).mT], 2)
        rows, columns = F.hardswish(self.bn1(self.conv1(profiles))).split([height, width], 2)
        return x * torch.sigmoid(self.conv_w(columns.mT)) * torch.sigmoid(self.conv_h(rows))


class Exchange(nn.Module):
    """Weigh a value by one map that query and key decide."""

    def __init__(self) -> None:
        super().__init__()
        self.key_embed = ConvNorm(WIDTH, WIDTH)
        self.embed = nn.Sequential(
            nn.Conv2d(WIDTH, 2, 1, bias=False),
            nn.BatchNorm2d(2),
            nn.ReLU(),
            nn.Conv2d(2, 1, 1),
            nn.BatchNorm2d(1),
        )
        self.conv1x1 = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))

    def one_sided(self, value: Tensor, key: Tensor, query: Tensor) -> Tensor:
        """Return the weighted value plus the embedded key, (B, 16, H, W) like all three."""
        key = self.key_embed(key)
        return self.embed(query + key) * self.conv1x1(value) + key

    def balanced(self, value: Tensor, key: Tensor, query: Tensor) -> Tensor:
        """Return the weighted value, (B, 16, H, W) like all three."""
        return self.embed(self.key_embed(query) + self.key_embed(key)) * self.conv1x1(value)


class ITFuse(Baseline):
    """Both sources and their mixture are refined in rounds, then the mixture decides.

    Args:
        complete: Also compute what has no effect (queries and keys, and both twice), as the authors' code does; only
            costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "two sources and their mixture exchange features in rounds; token blocks"
    source = "Tang et al., Pattern Recognition 156, 2024"
    published: ClassVar = Published(
        task="infrared-visible",
        repository="tthinking/ITFuse",
        commit="26137effac7b",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={"authors": Release("itfuse", "c9c163be85e03df7d9b600ab241a1ea54e004930fac6a3f29a942dd27aed01a4")},
    )
    names = (
        (r"^of_source\.", "conv16."),
        (r"^of_both\.", "conv2_16."),
        (r"^refine\.", "conv16_16."),
        (r"^coordinate\.", "CoordAtt."),
        (r"^exchange\.", "TS_lv1."),
        (r"^decide\.", "equalAtt."),
        (r"^last\.", "convolutional_out.conv."),
        *NAMES,
    )
    idle = ("unused.",)

    def __init__(self, complete: bool = False, post: str = "truncate") -> None:
        super().__init__(post)
        self.of_source = ConvNorm(1, WIDTH)
        self.of_both = ConvNorm(2, WIDTH)
        self.refine = ConvNorm(WIDTH, WIDTH)
        self.coordinate = CoordinateAttention()
        self.exchange = Exchange()
        self.decide = Exchange()
        self.transformer = TokenBlocks(WIDTH, DEPTH, 2 * complete)
        self.last = nn.Conv2d(WIDTH, 1, 1)
        self.unused = _unused()

    def deepen(self, features: Tensor) -> Tensor:
        """Return the features of a source plus themselves refined twice."""
        return features + self.refine(self.refine(features))

    def locate(self, features: Tensor) -> Tensor:
        """Return the features of the mixture plus themselves weighted twice by rows and columns."""
        return features + self.coordinate(self.coordinate(features))

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (0, 1)."""
        first, second = (self.deepen(self.of_source(image)) for image in (a, b))
        value = self.locate(self.refine(self.of_both(torch.cat([a, b], 1))))
        for following in range(ROUNDS):
            if following:
                first, second = (self.deepen(self.refine(x)) for x in (first, second))
                value = self.locate(self.refine(self.refine(value)))
            first, second = self.exchange.one_sided(value, second, first), self.exchange.one_sided(value, first, second)
        fused = self.locate(self.decide.balanced(value, first, second))
        return torch.sigmoid(self.last(self.refine(self.transformer(fused))))


def _unused() -> nn.ModuleDict:
    """Return the layers of the authors' class that its forward pass never calls."""
    spare: dict[str, nn.Module] = {
        "norm": nn.LayerNorm(32),
        "conv1_32": ConvNorm(1, 32),
        "conv2_32": ConvNorm(2, 32),
        "conv16_32": ConvNorm(16, 32),
        "conv32": ConvNorm(32, 32),
        "layer2": ConvNorm(64, 64),
        "mlp": nn.ModuleDict({"fc1": nn.Linear(32, 128), "fc2": nn.Linear(128, 32)}),
    }
    for part in ("TS_lv1", "equalAtt"):
        gates = nn.Sequential(nn.Conv2d(WIDTH, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 1))
        spare[part] = nn.ModuleDict({"bn": nn.BatchNorm2d(WIDTH), "se": gates})
    return nn.ModuleDict(spare | unused_parts(DEPTH))
