"""The block: attention and feed-forward, each with its norm and its way back into the stream.

Norms after the addition: Vaswani et al. 2017, section 3.1. Before each layer: Xiong et al. 2020,
On Layer Normalization in the Transformer, fig. 1b. Both in parallel: Wang and Komatsuzaki 2021,
GPT-J; Black et al. 2022, GPT-NeoX-20B, section 2.1.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.layers.attention import Attention, AttentionRule, Cache, Rotary
from lmwright.models.layers.experts import Experts
from lmwright.models.layers.feed_forward import FeedForward
from lmwright.models.layers.norms import make_norm

Change = Callable[[Tensor], Tensor]
"""(B, T, D) -> (B, T, D)."""

Placement = Literal["pre", "post", "both"]
"""Where norms stand: before a sublayer, after the addition, or around the sublayer."""


class Sublayer(NamedTuple):
    """Attention or feed-forward, and the norms that belong to it."""

    compute: Change
    """What it makes of the stream."""
    before: Change
    """The norm of what it reads; `unchanged` where there is none."""
    after: Change
    """The norm after the addition, or of its output; `unchanged` where there is none."""


def unchanged(x: Tensor) -> Tensor:
    """`x` itself: no norm, no dropout."""
    return x


def residual_stream(
    x: Tensor, sublayers: Sequence[Sublayer], placement: Placement, parallel: bool, drop: Change
) -> Tensor:
    """Send the stream through sublayers, each of which reads it and adds to it.

    Args:
        x: (B, T, D).
        sublayers: in their order.
        placement: of their norms; with "pre" no norm stands after, with "post" none before.
        parallel: whether all of them read the same stream ("pre" alone).
        drop: dropout of what is added.

    Returns:
        (B, T, D).
    """
    if parallel:
        changes = [layer.compute(layer.before(x)) for layer in sublayers]
        total = drop(changes[-1])
        # In this order: in half precision it is that of the published models.
        for change in reversed(changes[:-1]):
            total = total + drop(change)
        return total + x
    for layer in sublayers:
        change = layer.compute(layer.before(x))
        if placement == "pre":
            x = x + drop(change)
        elif placement == "post":
            x = layer.after(x + drop(change))
        else:
            x = x + drop(layer.after(change))
    return x


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

        def attend(x: Tensor) -> Tensor:
            output: Tensor = self.self_attn(x, rotary, rule, cache)
            return output

        def look(x: Tensor) -> Tensor:
            assert self.cross_attn is not None
            assert memory is not None, "a block that looks at an encoder needs its output"
            assert memory_rule is not None
            return self.cross_attn.look_at(x, memory, memory_rule, cache)

        def feed_forward(x: Tensor) -> Tensor:
            output: Tensor = self.mlp(x, real) if isinstance(self.mlp, Experts) else self.mlp(x)
            return output

        sublayers = [_sublayer(attend, self.input_layernorm, self.attention_output_norm)]
        if self.cross_attn is not None:
            norms = self.cross_attention_norm, self.cross_attention_output_norm
            sublayers.append(_sublayer(look, *norms))
        norms = self.post_attention_layernorm, self.feed_forward_output_norm
        sublayers.append(_sublayer(feed_forward, *norms))
        drop = unchanged if self.dropout is None else self.dropout
        return residual_stream(x, sublayers, self.placement, self.parallel, drop)


def _sublayer(compute: Change, before: nn.Module | None, after: nn.Module | None) -> Sublayer:
    return Sublayer(
        compute,
        unchanged if before is None else before,
        unchanged if after is None else after,
    )
