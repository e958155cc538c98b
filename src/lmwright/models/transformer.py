"""The decoder: embedding, blocks, final norm, output projection; and the stack all models share."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.initialization import initialize
from lmwright.models.inputs import check_ids, check_kinds, check_mask, check_positions
from lmwright.models.layers.attention import (
    AttentionRule,
    Cache,
    PositionBias,
    Rotary,
    combined_rule,
)
from lmwright.models.layers.block import Block
from lmwright.models.layers.norms import make_norm
from lmwright.models.layers.positions import (
    AlibiBias,
    RelativeBias,
    position_ids_from_mask,
    rotary_table,
    sinusoids,
)
from lmwright.models.layers.rope_scaling import scaled_frequencies
from lmwright.models.layers.table import embedding_table


@dataclass
class Output:
    """What a model returns."""

    logits: Tensor
    """(B, T, V) unnormalised log-probabilities of the next token; a classifier's (B, classes); a
    tagger's (B, T, tags); a span finder's (B, T, 2); an embedder's vectors (B, D); a backbone's
    last hidden states (B, T, D)."""


class Stack(nn.Module):
    """Embeddings, positions, blocks and final norm: what decoders and encoders are made of.

    Modules carry the names that published LLaMA-like weights have, so that adapters and tools
    that address layers by name work unchanged.

    Args:
        config: the model's shape.
        layers: number of blocks.
        causal: whether a token sees only what comes before it.
        cross: whether blocks also look at an encoder's output.
        embeds: whether it has an embedding of its own; else `hidden_states` is given one.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layers: int,
        *,
        causal: bool,
        cross: bool = False,
        embeds: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.causal = causal
        width = config.hidden_size
        self.embed_tokens = embedding_table(config.vocab_size, width) if embeds else None
        self.embed_positions: nn.Embedding | None = None
        if config.positions == "learned":
            rows = config.max_position_embeddings + config.position_offset
            self.embed_positions = embedding_table(rows, width)
        self.embed_token_types: nn.Embedding | None = None
        if config.token_type_vocab_size:
            self.embed_token_types = embedding_table(config.token_type_vocab_size, width)
        self.embed_norm = make_norm(config) if config.embedding_norm else None
        self.dropout = nn.Dropout(config.dropout) if config.dropout else None
        self.position_bias = self._position_bias()
        self.layers = nn.ModuleList(Block(config, i, cross) for i in range(layers))
        self.norm = make_norm(config) if config.final_norm else None

    def initialize(self, seed: int) -> None:
        """Draw fresh weights, the same for the same seed; see `initialization.initialize`."""
        initialize(self, torch.Generator().manual_seed(seed))

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        document_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        embedding: nn.Embedding | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """The normalised stream after the last block.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, S), 1 where a token is real and 0 where it is padding, on either
                side; S counts cached positions too.
            position_ids: (B or 1, T); None: by the config's `position_rule`, which is that of the
                family's reference. Must be given with a cache.
            cache: keys and values of earlier positions.
            document_ids: (B, T), 0 for padding; no token sees another document's.
            token_type_ids: (B, T), segment of each token; None: all 0.
            embedding: in place of an own one.
            memory: (B, S', D), an encoder's output.
            memory_mask: (B, S'), 0 where it is padding.

        Returns:
            (B, T, D).

        Raises:
            LmwrightError: if shapes do not fit each other, or (looked at on the CPU only) a token,
                a segment or a learned position does not exist.
        """
        check_mask(input_ids, attention_mask, cached=cache is not None)
        if position_ids is None:
            if cache is not None:
                raise ValueError("with a cache, position_ids must say where the new tokens stand")
            position_ids = self._position_ids(input_ids, attention_mask)
        x = self._embed(input_ids, position_ids, token_type_ids, embedding)
        rotary = self._rotary(position_ids, x.dtype)
        rules = self._rules(attention_mask, document_ids, position_ids, cache is not None)
        memory_rule = None
        if memory is not None:
            seen = None if memory_mask is None else memory_mask.bool()[:, None, None, :]
            memory_rule = AttentionRule(
                mask=seen,
                causal=False,
                scale=self.config.attention_scale,
                dropout=self.config.attention_dropout if self.training else 0.0,
            )
        real = self._real(attention_mask, document_ids, input_ids)
        for index, block in enumerate(self.layers):
            window = self.config.window(index)
            angles = rotary[window is not None]
            x = block(x, angles, rules[window], cache, memory, memory_rule, real)
        return x if self.norm is None else self.norm(x)

    def _real(
        self, attention_mask: Tensor | None, document_ids: Tensor | None, input_ids: Tensor
    ) -> Tensor | None:
        """(B, T) which tokens are no padding, for experts alone: nobody else counts tokens."""
        if self.config.experts is None:
            return None
        if document_ids is not None:
            return document_ids != 0
        if attention_mask is None:
            return None
        return attention_mask[:, -input_ids.shape[1] :].bool().expand_as(input_ids)

    def _position_bias(self) -> AlibiBias | RelativeBias | None:
        config = self.config
        if config.positions == "alibi":
            return AlibiBias(config.num_attention_heads)
        if config.positions == "relative":
            return RelativeBias(
                config.relative_buckets,
                config.relative_max_distance,
                config.num_attention_heads,
                bidirectional=not self.causal,
            )
        return None

    def _position_ids(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B or 1, T) by the rule of the family's reference."""
        rule = self.config.position_rule
        if rule == "non_padding" and self.config.pad_token_id is not None:
            # Padding itself gets -1: with the offset, the table's row for padding.
            real = input_ids != self.config.pad_token_id
            return (real.long().cumsum(dim=-1) * real) - 1
        if rule == "attention_mask" and attention_mask is not None:
            return position_ids_from_mask(attention_mask)
        return torch.arange(input_ids.shape[1], device=input_ids.device)[None]

    def _embed(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        token_type_ids: Tensor | None,
        embedding: nn.Embedding | None,
    ) -> Tensor:
        config, table = self.config, embedding or self.embed_tokens
        assert table is not None, "a stack without an embedding must be given one"
        check_ids(input_ids, config)
        x: Tensor = table(input_ids)
        if config.embedding_scale != 1.0:
            # Made on the device: a copy from the CPU would wait for it, and cannot be recorded.
            scale = torch.full((), config.embedding_scale, device=x.device)
            x = x * (scale.to(x.dtype) if config.round_embedding_scale else scale)
        if self.embed_token_types is not None:
            kinds = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            check_kinds(kinds, config)
            x = x + self.embed_token_types(kinds)
        if self.embed_positions is not None:
            rows = position_ids + config.position_offset
            check_positions(rows, config)
            x = x + self.embed_positions(rows)
        elif config.positions == "sinusoidal":
            x = x + sinusoids(position_ids + config.position_offset, x.shape[-1]).to(x.dtype)
        if self.embed_norm is not None:
            x = self.embed_norm(x)
        return x if self.dropout is None else self.dropout(x)

    def _rotary(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Rotary | None, ...]:
        """Angles for layers that see everything, and for those with a window."""
        config = self.config
        if config.positions != "rotary":
            return (None, None)

        def table(local: bool) -> Rotary:
            frequencies, factor = scaled_frequencies(config, position_ids, local=local)
            cos, sin = rotary_table(position_ids, frequencies, factor)
            cos, sin = cos.to(dtype), sin.to(dtype)
            return (cos.float(), sin.float()) if config.rotary_in_float32 else (cos, sin)

        full = table(local=False)
        return (full, full if config.rope_local_theta is None else table(local=True))

    def _rules(
        self,
        attention_mask: Tensor | None,
        document_ids: Tensor | None,
        position_ids: Tensor,
        cached: bool,
    ) -> dict[int | None, AttentionRule]:
        """One rule per kind of layer, so that masks are built once and not in every layer."""
        config = self.config
        mask = None
        if attention_mask is not None:
            mask = attention_mask.bool()[:, None, None, :]
        if document_ids is not None:
            same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
            same = same & (document_ids != 0)[:, None, None, :]
            mask = same if mask is None else mask & same
        bias: Tensor | PositionBias | None = self.position_bias
        if self.position_bias is not None and not cached:
            bias = self.position_bias(position_ids, position_ids)
        rules = {}
        for window in {config.window(index) for index in range(len(self.layers))}:
            rule = AttentionRule(
                mask=mask,
                causal=self.causal,
                window=window,
                soft_cap=config.attention_soft_cap,
                bias=bias,
                positions=position_ids if callable(bias) else None,
                bias_in_product=config.positions == "alibi",
                scale=config.attention_scale,
                dropout=config.attention_dropout if self.training else 0.0,
            )
            # A cache alone knows which positions its keys have.
            rules[window] = rule if cached else combined_rule(rule, position_ids.shape[1])
        return rules


class Decoder(Stack):
    """A causal language model.

    Args:
        config: the model's shape.
        output: whether it has an output projection, tied or not; else it is a backbone.
    """

    def __init__(self, config: TransformerConfig, *, output: bool = True) -> None:
        super().__init__(config, config.num_hidden_layers, causal=True)
        self.has_output = output
        self.lm_head: nn.Module | None = None
        if output and not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.output_bias)

    @property
    def output_weight(self) -> Tensor:
        """(V, D) of the output projection: the embedding where they are tied."""
        module = self.embed_tokens if self.lm_head is None else self.lm_head
        assert module is not None
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def output_bias(self) -> Tensor | None:
        """(V,) of the output projection, where it has one."""
        return getattr(self.lm_head, "bias", None)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        document_ids: Tensor | None = None,
    ) -> Output:
        """Score the next token after every position; see `hidden_states` for the arguments."""
        hidden = self.hidden_states(input_ids, attention_mask, position_ids, cache, document_ids)
        return Output(logits=self.project(hidden) if self.has_output else hidden)

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of normalised states (..., D)."""
        assert self.embed_tokens is not None
        if self.lm_head is None:
            logits = F.linear(hidden, self.embed_tokens.weight)
        else:
            logits = self.lm_head(hidden)
        cap = self.config.final_logit_soft_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)
