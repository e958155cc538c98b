"""The block: attention and feed-forward, each with its norm and its way back into the stream.

Norms after the addition: Vaswani et al. 2017, section 3.1. Before each layer: Xiong et al. 2020,
On Layer Normalization in the Transformer, fig. 1b. Both in parallel: Wang and Komatsuzaki 2021,
GPT-J; Black et al. 2022, GPT-NeoX-20B, section 2.1.
"""

from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.layers.attention import Attention, AttentionRule, Cache, Rotary
from lmwright.models.layers.experts import Experts
from lmwright.models.layers.feed_forward import FeedForward
from lmwright.models.layers.norms import make_norm


class Block(nn.Module):
    """Attention and feed-forward, each normalised and added to the stream.

    Args:
        config: the model's shape.
        layer: index of this block, by which a cache tells layers apart.
        cross: whether it also looks at an encoder's output.
    """

    def __init__(self, config: TransformerConfig, layer: int, cross: bool = False) -> None:
        super().__init__()
        before = config.norm_placement in ("pre", "both")
        after = config.norm_placement in ("post", "both")

        def norm(wanted: bool) -> nn.Module | None:
            return make_norm(config) if wanted else None

        self.placement = config.norm_placement
        self.parallel = config.parallel_residual
        self.input_layernorm = norm(before and (layer > 0 or config.first_norm))
        self.self_attn = Attention(config, layer)
        self.attention_output_norm = norm(after)
        self.cross_attention_norm = norm(before and cross)
        self.cross_attn = Attention(config, layer) if cross else None
        self.cross_attention_output_norm = norm(after and cross)
        self.post_attention_layernorm = norm(before)
        self.mlp = Experts(config) if config.has_experts(layer) else FeedForward(config)
        self.feed_forward_output_norm = norm(after)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else None

    def forward(
        self,
        x: Tensor,
        rotary: Rotary | None,
        rule: AttentionRule,
        cache: Cache | None = None,
        memory: Tensor | None = None,
        memory_rule: AttentionRule | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Map the stream (B, T, D) to (B, T, D).

        Args:
            x: (B, T, D).
            rotary, rule, cache: see `Attention.forward`.
            memory, memory_rule: an encoder's output; see `Attention.look_at`.
            real: (B, T) bool, False on padding, which experts do not count; None: all are.
        """
        attended = self.self_attn(_normalized(self.input_layernorm, x), rotary, rule, cache)
        if self.parallel:
            change = self._feed_forward(_normalized(self.post_attention_layernorm, x), real)
            # In this order: in half precision it is that of the published models.
            return self._dropped(change) + self._dropped(attended) + x
        x = self._add(x, attended, self.attention_output_norm)
        if self.cross_attn is not None:
            assert memory is not None, "a block that looks at an encoder needs its output"
            assert memory_rule is not None
            looking = _normalized(self.cross_attention_norm, x)
            looked = self.cross_attn.look_at(looking, memory, memory_rule, cache)
            x = self._add(x, looked, self.cross_attention_output_norm)
        change = self._feed_forward(_normalized(self.post_attention_layernorm, x), real)
        return self._add(x, change, self.feed_forward_output_norm)

    def _feed_forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        output: Tensor = self.mlp(x, real) if isinstance(self.mlp, Experts) else self.mlp(x)
        return output

    def _add(self, x: Tensor, change: Tensor, norm: nn.Module | None) -> Tensor:
        if self.placement == "both":
            return x + self._dropped(_normalized(norm, change))
        return _normalized(norm, x + self._dropped(change))

    def _dropped(self, change: Tensor) -> Tensor:
        return change if self.dropout is None else self.dropout(change)


def _normalized(norm: nn.Module | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)
