"""The convolution most baselines are made of: edge pixels repeated or mirrored around the image, batch norm, ReLU."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class ConvNorm(nn.Module):
    """Convolution with edge pixels repeated around the image, batch norm, and ReLU where wanted.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Side of the kernel.
        bias: Whether the convolution has one.
        relu: Whether ReLU follows.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, bias: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="replicate", bias=bias)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H, W)."""
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


def mirrored(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution on the image mirrored at its edges, edge pixels not repeated."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")


def mirror(x: Tensor) -> Tensor:
    """Mirror features (B, C, H, W) by one pixel at every edge, edge pixels not repeated."""
    return F.pad(x, (1, 1, 1, 1), "reflect")


def grow(
    x: Tensor, layers: Iterable[nn.Module], activation: Callable[[Tensor], Tensor], newest_first: bool = False
) -> Tensor:
    """Pass features through densely connected 3x3 convolutions, each of which sees the results of all before it.

    Args:
        x: Features (B, C, H, W).
        layers: Convolutions without padding; the image is mirrored once here, not before each of them.
        activation: Follows each convolution.
        newest_first: Whether a result is put before what is there, and not behind it.

    Returns:
        All features, mirrored, (B, C + outputs, H + 2, W + 2).
    """
    padded = mirror(x)
    for layer in layers:
        new = mirror(activation(layer(padded)))
        padded = torch.cat([new, padded] if newest_first else [padded, new], 1)
    return padded
