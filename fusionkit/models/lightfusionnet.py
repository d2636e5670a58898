"""LightFusionNet (Sagar, PMLR 317, 2026): two small encoders, predictive context attention, mean, decoder.

The paper leaves the exact layout open. This one matches 12 of the 14 printed cost cells (parameters and
GMACs of the network and of its variants) and is the best of a systematic search; `notebooks/audits` shows the
cells that no layout can give. All convolutions run at full resolution with zero padding.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fusionkit.errors import unknown


def depthwise(channels: int, kernel: int, bias: bool = False) -> nn.Conv2d:
    """Return a depthwise convolution that keeps the image size."""
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=bias)


def separable_block(inputs: int, outputs: int) -> nn.Sequential:
    """Return the paper's DSC: depthwise 3x3, norm, pointwise 1x1, norm, ReLU (Fig. 2C)."""
    return nn.Sequential(
        depthwise(inputs, 3),
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def dense_block(inputs: int, outputs: int) -> nn.Sequential:
    """Return the block of the ablation "D/W -> Conv": a full 3x3 convolution, norm, ReLU (Table 3)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class PredictiveContextAttention(nn.Module):
    """Weight features by how badly their neighbourhood predicts them, and add them to the input.

    ``x + x * sigmoid(gate(|predict(x) - x|))`` on features of shape (B, C, H, W). No loss trains the predictor
    by itself, so "prediction" is whatever the fusion loss makes of it.

    Source: the paper's "Predictive Context Attention"; where R enters is not stated, here it is the bottleneck
    of the gate, because Table 4B calls R the attention's reduction ratio.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.predict = nn.Sequential(depthwise(channels, 5), nn.Conv2d(channels, channels, 1, bias=False))
        self.gate = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )

    def surprise(self, x: Tensor) -> Tensor:
        """Return the absolute prediction error, (B, C, H, W), zero or larger."""
        return (self.predict(x) - x).abs()

    def attention(self, x: Tensor) -> Tensor:
        """Return the attention weights, (B, C, H, W), in (0, 1)."""
        return torch.sigmoid(self.gate(self.surprise(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted features added to the input, (B, C, H, W)."""
        return x + x * self.attention(x)


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation over channels: the ablation "PCA -> CA" (Table 3)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of (B, C, H, W) features by its weight."""
        return x * self.gate(x)


class SpatialAttention(nn.Module):
    """One attention map from the channel mean and maximum: the ablation "PCA -> SA" (Table 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each position of (B, C, H, W) features by its weight."""
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.gate(summary))


ATTENTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "pca": PredictiveContextAttention,
    "conv": lambda channels, _: depthwise(channels, 3, bias=True),
    "ca": ChannelAttention,
    "sa": lambda _channels, _reduction: SpatialAttention(),
}


class LightFusionNet(nn.Module):
    """The network of the paper and, through its options, every variant of Tables 3 and 4.

    Args:
        width: Base number of channels C (Table 4A); all widths scale with it.
        reduction: Reduction ratio R of the attention (Table 4B).
        attention: ``"pca"`` (the paper's), ``"conv"``, ``"ca"`` or ``"sa"`` (Table 3).
        separable: Use depthwise separable blocks; ``False`` is "D/W -> Conv" (Table 3).

    Raises:
        FusionkitError: ``attention`` is not one of the four.
    """

    def __init__(self, width: int = 16, reduction: int = 4, attention: str = "pca", separable: bool = True) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise unknown("attention of LightFusionNet", attention, ATTENTIONS)
        block = separable_block if separable else dense_block
        self.encoder_a = nn.Sequential(block(1, width), block(width, width))
        self.encoder_b = nn.Sequential(block(1, width), block(width, width))
        self.attention_a = ATTENTIONS[attention](width, reduction)
        self.attention_b = ATTENTIONS[attention](width, reduction)
        self.decoder = nn.Sequential(block(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse two images.

        Args:
            a: Functional image's luma or CT, (B, 1, H, W) in [0, 1].
            b: MRI, (B, 1, H, W) in [0, 1].

        Returns:
            The fused image, (B, 1, H, W) in (0, 1).
        """
        features_a = self.attention_a(encode(self.encoder_a, a))
        features_b = self.attention_b(encode(self.encoder_b, b))
        return torch.sigmoid(self.decoder((features_a + features_b) / 2))


def encode(encoder: nn.Sequential, image: Tensor) -> Tensor:
    """Return the features (B, C, H, W) of an image, stored channels last.

    The values do not depend on the storage; on a CPU depthwise convolutions are several times faster this way,
    and a one-channel image does not choose it by itself.
    """
    first, *others = encoder
    features = first(image).contiguous(memory_format=torch.channels_last)
    for block in others:
        features = block(features)
    return features
