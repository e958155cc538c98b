"""The pre-norm block (Xiong et al. 2020, On Layer Normalization in the Transformer, fig. 1b)."""

from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.layers.attention import Attention, AttentionRule, Cache
from lmwright.models.layers.feed_forward import SwiGLU
from lmwright.models.layers.norms import RMSNorm


class Block(nn.Module):
    """Attention and feed-forward, each normalised before and added to the stream after.

    Args:
        config: the model's shape.
        layer: index of this block, by which a cache tells layers apart.
    """

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, rule: AttentionRule, cache: Cache | None = None
    ) -> Tensor:
        """Map the stream (B, T, D) to (B, T, D); see `Attention.forward` for the rest."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, rule, cache)
        output: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return output
