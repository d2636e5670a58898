"""MATR (Tang et al., IEEE TIP 31, 2022): convolutions whose kernels follow the image, at three depths."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.published import Published, Release
from fusionkit.models.baselines.transformer import NAMES, TokenBlocks, unused_parts
from fusionkit.models.inputs import pad_to_multiple

WIDTH, DEPTH, DEPTHS = 16, 3, 3
SIDE, CODE = 3, 5
TAPS = SIDE**2


class ContextConv(nn.Module):
    """3x3 convolution, each weight of which is scaled by what the whole image looks like; batch norm, ReLU.

    Args:
        inputs: Channels that come in.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(SIDE)
        self.weight = nn.Parameter(torch.empty(WIDTH, inputs, SIDE, SIDE))
        nn.init.kaiming_normal_(self.weight)
        self.ce = nn.Linear(TAPS, CODE, bias=False)
        self.ce_bn = nn.BatchNorm1d(inputs)
        self.gd = nn.Linear(CODE, TAPS, bias=False)
        self.ci_bn2 = nn.BatchNorm1d(inputs)
        self.ci = nn.Linear(inputs, WIDTH, bias=False)
        self.ci_bn = nn.BatchNorm1d(WIDTH)
        self.gd2 = nn.Linear(CODE, TAPS, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)

    def kernels(self, x: Tensor) -> Tensor:
        """Return the kernels (B, 16, C, 3, 3) for features (B, C, H, W)."""
        code = self.ce(self.pool(x).flatten(2))
        of_inputs = self.gd(F.relu(self.ce_bn(code)))
        mixed = self.ci(F.relu(self.ci_bn2(code)).mT).mT
        of_outputs = self.gd2(F.relu(self.ci_bn(mixed)))
        gates = torch.sigmoid(of_inputs.unsqueeze(1) + of_outputs.unsqueeze(2))
        return self.weight * gates.unflatten(-1, (SIDE, SIDE))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 16, H, W)."""
        kernels = self.kernels(x).flatten(0, 1)
        y = F.conv2d(x.flatten(0, 1)[None], kernels, padding=1, groups=len(x)).view(len(x), WIDTH, *x.shape[2:])
        return F.relu(self.norm(y))


class MATR(Baseline):
    """The same convolution and token blocks after one, two and three convolutions, added up.

    The authors' code runs on square images only. Others are mirrored at the right or lower edge until they are
    square, and the fused image is cut to their size: the authors' network of that square image.

    Args:
        complete: Also compute the queries and keys that have no effect, and each depth from the start, as the authors'
            code does; only costs change.
        post: How the image is written.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about = "kernels that follow the image, three depths, token blocks"
    source = "Tang et al., IEEE TIP 31, 2022"
    published: ClassVar = Published(
        task="medical",
        repository="tthinking/MATR",
        commit="b427644d4dab",
        licence="none stated",
        form="a state dict of PyTorch",
        releases={"authors": Release("matr", "0be6a00b9ddb88c4ce4bd33da7f69886da32dc6e0fd16251c3040cbc30e88d0f")},
    )
    names = (
        (r"^first\.norm\.", "convInput.bn1."),
        (r"^first\.", "convInput.conv1."),
        (r"^conv\.norm\.", "conv.bn1."),
        (r"^conv\.(?!bn1)", "conv.conv1."),
        (r"^last\.", "convolutional_out.conv1."),
        *NAMES,
    )
    idle = ("unused.",)

    def __init__(self, complete: bool = False, post: str = "truncate") -> None:
        super().__init__(post)
        self.complete = complete
        self.first = ContextConv(2)
        self.conv = ContextConv(WIDTH)
        self.transformer = TokenBlocks(WIDTH, DEPTH, int(complete))
        self.last = nn.Conv2d(WIDTH, 1, 1, bias=False)
        self.unused = nn.ModuleDict(unused_parts(DEPTH))

    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the fused image, (B, 1, H, W) in (-1, 1)."""
        height, width = a.shape[-2:]
        start = features = self.first(pad_to_multiple(torch.cat([a, b], 1), max(height, width)))
        total = torch.zeros_like(features)
        for depth in range(1, DEPTHS + 1):
            features, steps = (start, depth) if self.complete else (features, 1)
            for _ in range(steps):
                features = self.conv(features)
            total = total + self.conv(self.transformer(features))
        return torch.tanh(self.last(total))[..., :height, :width]
