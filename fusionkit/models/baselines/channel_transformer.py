"""What CDDFuse and EMMA share: a variant of Restormer's block, and the authors' names for the parts of both."""

from fusionkit.models.restormer import ChannelAttention, ChannelTransformer, GatedFeedForward


def base_block(channels: int, heads: int, padding_mode: str = "zeros") -> ChannelTransformer:
    """Return the variant with denser 3x3 convolutions and a narrower feed-forward.

    Args:
        channels: Channels C.
        heads: Number of heads; divides C.
        padding_mode: What lies outside the image for the feed-forward.
    """
    attention = ChannelAttention(channels, heads, dense=True)
    return ChannelTransformer(channels, attention, GatedFeedForward(channels, channels, channels, padding_mode))


# Restormer's own blocks stand in lists called ``blocks``, the variants elsewhere.
NAMES = (
    (r"\.(norm[12])\.", r".\1.body."),
    (r"\.feed_forward\.enter\.", ".feed_forward.project_in."),
    (r"\.feed_forward\.mix\.", ".feed_forward.dwconv."),
    (r"\.feed_forward\.project\.", ".feed_forward.project_out."),
    (r"(blocks\.\d+)\.feed_forward\.", r"\1.ffn."),
    (r"(blocks\.\d+)\.attention\.scale$", r"\1.attn.temperature"),
    (r"(blocks\.\d+)\.attention\.qkv\.", r"\1.attn.qkv."),
    (r"(blocks\.\d+)\.attention\.mix\.", r"\1.attn.qkv_dwconv."),
    (r"(blocks\.\d+)\.attention\.project\.", r"\1.attn.project_out."),
    (r"\.feed_forward\.", ".mlp."),
    (r"\.attention\.scale$", ".attn.scale"),
    (r"\.attention\.qkv\.", ".attn.qkv1."),
    (r"\.attention\.mix\.", ".attn.qkv2."),
    (r"\.attention\.project\.", ".attn.proj."),
)
