"""The transformer block of DATFuse, MATR, ITFuse and YDTR, whose tokens are not pixels.

Their code hands the buffer of features (B, C, H, W) to layers that expect (B, H, W, C), without transposing it. So a
token is C values that follow each other in memory, mostly C neighbours of a row of one channel. Its window holds one
token only: the softmax is 1, attention is a linear map of the token, and queries, keys and the table of relative
positions have no effect.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HEADS = 8
# Values of a group of tokens that goes through all blocks before the next one: what a core's cache holds.
GROUP = 2**16


class TokenBlock(nn.Module):
    """Attention of a token to itself, then an MLP, each behind a norm and added to the token.

    Args:
        channels: Length C of a token.
        qkv_passes: How many times the authors compute queries, keys and values; 0 computes the values only.
    """

    def __init__(self, channels: int, qkv_passes: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(channels, 3 * channels), "proj": nn.Linear(channels, channels)})
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(channels, 4 * channels), "fc2": nn.Linear(4 * channels, channels)})
        self.softmax = nn.Softmax(-1)
        self.qkv_passes = qkv_passes

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (N, C)."""
        tokens = tokens + self.attn["proj"](self._attend(self.norm1(tokens)))
        return tokens + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))

    def _attend(self, tokens: Tensor) -> Tensor:
        if not self.qkv_passes:
            channels = tokens.shape[1]
            return F.linear(tokens, self.attn["qkv"].weight[2 * channels :], self.attn["qkv"].bias[2 * channels :])
        for _ in range(self.qkv_passes):
            heads = self.attn["qkv"](tokens).unflatten(1, (3, HEADS, 1, -1))
        query, key, value = heads.unbind(1)
        return (self.softmax(query @ key.mT) @ value).flatten(1)


class TokenBlocks(nn.Module):
    """Several blocks on features whose buffer is read as tokens of C values.

    Args:
        channels: Channels C of the features.
        depth: Number of blocks.
        qkv_passes: See :class:`TokenBlock`.
    """

    def __init__(self, channels: int, depth: int, qkv_passes: int = 0) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(TokenBlock(channels, qkv_passes) for _ in range(depth)))

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, C, H, W)."""
        channels = features.shape[1]
        tokens = features.contiguous().view(-1, channels)
        size = len(tokens) if tokens.is_meta else GROUP // channels  # what has no values fits any cache
        done = [self.blocks(group) for group in tokens.split(size)]
        return torch.cat(done).view(features.shape)


def unused_parts(depth: int) -> dict[str, nn.Module]:
    """Return what the authors' code holds around these blocks and never uses: a norm, and tables of positions."""
    tables = {str(i): nn.ParameterDict({"relative_position_bias_table": torch.zeros(1, HEADS)}) for i in range(depth)}
    return {
        "patch_embed": nn.ModuleDict({"norm": nn.LayerNorm(96)}),
        "tables": nn.ModuleDict(tables),
    }


NAMES = (
    (r"^transformer\.", "basicLayer."),
    (r"^unused\.tables\.(\d+)\.", r"basicLayer.blocks.\1.attn."),
)
