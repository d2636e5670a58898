"""FusionMamba's tiny network with attention over all tokens: what the scan is there to replace."""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fusionkit.models import build_model
from fusionkit.models.fusionmamba.blocks import WindowTransformerBlock


class GlobalBlock(WindowTransformerBlock):
    """The Transformer block with one window: the whole map. It has no position bias."""

    def attend(self, x: Tensor) -> Tensor:
        """Let every token of (B, H, W, C) look at all others."""
        tokens = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.heads, -1))
        query, key, value = tokens.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2)).unflatten(1, x.shape[1:3])


def global_attention() -> nn.Module:
    """Return the tiny network with these blocks in encoder and decoder; its fusion modules are FusionMamba's."""
    model = build_model("fusionmamba", size="tiny", block="transformer")
    for stage in (*model.encoder, *model.decoder):
        channels = stage.blocks[0].norm.normalized_shape[0]
        stage.blocks = nn.ModuleList(GlobalBlock(channels, model.config, drop=0.0) for _ in stage.blocks)
    return model
