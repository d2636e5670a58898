"""The auto-encoder of RFN-Nest and IFT: an encoder of four levels, a decoder whose levels are densely connected."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FIRST = 16
WIDTHS = (64, 112, 160, 208)
LEVELS = len(WIDTHS)
# Names in the authors' code.
NAMES = (
    (r"^nest\.blocks\.(\w+)\.(\d)\.", r"nest.DB\1.denseblock.\2."),
    (r"^nest\.first\.", "nest.conv0."),
    (r"^nest\.last\.", "nest.conv_out."),
    (r"\.0\.(weight|bias)$", r".conv2d.\1"),
)


def layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return a convolution on the image mirrored at its edges, and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")
    return nn.Sequential(conv, nn.ReLU())


class Nest(nn.Module):
    """The auto-encoder.

    The block of level i and step j sees what all earlier steps have found at its level, and enlarged, what step j - 1
    has found one level below; step 0 is the encoder.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = layer(1, FIRST, 1)
        blocks = {
            f"{level}_0": _block((FIRST, *WIDTHS)[level - 1], WIDTHS[level - 1]) for level in range(1, LEVELS + 1)
        }
        for step in range(1, LEVELS):
            for level in range(1, LEVELS + 1 - step):
                width = WIDTHS[level - 1]
                blocks[f"{level}_{step}"] = _block(step * width + WIDTHS[level], width)
        self.blocks = nn.ModuleDict(blocks)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.last = layer(WIDTHS[0], 1, 1)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features of an image (B, 1, H, W), each level half as large as the one before, rounded down."""
        found = [self.blocks["1_0"](self.first(image))]
        for level in range(2, LEVELS + 1):
            found.append(self.blocks[f"{level}_0"](F.max_pool2d(found[-1], 2)))
        return found

    def decode(self, features: list[Tensor]) -> Tensor:
        """Return the image (B, 1, H, W) of features as ``encode`` returns them."""
        found = [[x] for x in features]
        for step in range(1, LEVELS):
            for level in range(1, LEVELS + 1 - step):
                here, below = found[level - 1], found[level][step - 1]
                inputs = torch.cat([*here, self._enlarged(below, here[0])], 1)
                here.append(self.blocks[f"{level}_{step}"](inputs))
        return self.last(found[0][-1])

    def _enlarged(self, x: Tensor, like: Tensor) -> Tensor:
        """Return features twice as large; a row or column that is missing below or at the right is mirrored."""
        large = self.enlarge(x)
        down, right = (like.shape[axis] - large.shape[axis] for axis in (2, 3))
        return F.pad(large, (0, right, 0, down), "reflect")


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(layer(inputs, inputs // 2, 3), layer(inputs // 2, outputs, 1))
