"""The decoder: embedding, blocks, final norm, output projection."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.initialization import initialize
from lmwright.models.layers.attention import AttentionRule, Cache
from lmwright.models.layers.block import Block
from lmwright.models.layers.norms import RMSNorm
from lmwright.models.layers.positions import rotary_frequencies, rotary_table


@dataclass
class Output:
    """What a model returns."""

    logits: Tensor
    """(B, T, V) unnormalised log-probabilities of the next token."""


class Decoder(nn.Module):
    """A causal language model.

    Modules carry the names that published LLaMA-like weights have, so that adapters and tools
    that address layers by name work unchanged.

    Args:
        config: the model's shape.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head: nn.Module | None = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def initialize(self, seed: int) -> None:
        """Draw fresh weights, the same for the same seed; see `initialization.initialize`."""
        initialize(self, torch.Generator().manual_seed(seed))

    @property
    def output_weight(self) -> Tensor:
        """(V, D) of the output projection: the embedding where they are tied."""
        module = self.embed_tokens if self.lm_head is None else self.lm_head
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        document_ids: Tensor | None = None,
    ) -> Output:
        """Score the next token after every position.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, S), 1 where a token is real and 0 where it is padding, on either
                side; S counts cached positions too.
            position_ids: (B or 1, T); None: 0, 1, ... from the left, also under padding on the
                left, as the reference does. Must be given with a cache.
            cache: keys and values of earlier positions.
            document_ids: (B, T), 0 for padding; no token sees another document's.
        """
        hidden = self.hidden_states(input_ids, attention_mask, position_ids, cache, document_ids)
        return Output(logits=self.project(hidden))

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """The normalised stream (B, T, D) that `project` turns into logits; see `forward`."""
        if position_ids is None:
            if cache is not None:
                raise ValueError("with a cache, position_ids must say where the new tokens stand")
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x = self.embed_tokens(input_ids)
        config = self.config
        frequencies = rotary_frequencies(config.head_dim, config.rope_theta, x.device)
        cos, sin = (table.to(x.dtype) for table in rotary_table(position_ids, frequencies))
        rules = self._rules(attention_mask, document_ids, cache is not None)
        for index, block in enumerate(self.layers):
            x = block(x, cos, sin, rules[config.window(index)], cache)
        hidden: Tensor = self.norm(x)
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of normalised states (..., D)."""
        if self.lm_head is None:
            return F.linear(hidden, self.embed_tokens.weight)
        logits: Tensor = self.lm_head(hidden)
        return logits

    def _rules(
        self, attention_mask: Tensor | None, document_ids: Tensor | None, cached: bool
    ) -> dict[int | None, AttentionRule]:
        """One rule per kind of layer, so that the mask is built once and not in every layer."""
        windows = {self.config.window(index) for index in range(self.config.num_hidden_layers)}
        return {w: attention_rule(attention_mask, document_ids, w, cached) for w in windows}


def attention_rule(
    attention_mask: Tensor | None,
    document_ids: Tensor | None,
    window: int | None = None,
    cached: bool = False,
) -> AttentionRule:
    """Causal attention within documents that skips padding.

    Args:
        attention_mask: (B, S), 0 where a token is padding.
        document_ids: (B, T), 0 where a token is padding.
        window: positions a query sees, itself included.
        cached: whether a cache will add the causal condition.
    """
    mask = None
    if attention_mask is not None:
        mask = attention_mask.bool()[:, None, None, :]
    if document_ids is not None:
        same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
        same = same & (document_ids != 0)[:, None, None, :]
        mask = same if mask is None else mask & same
    if mask is None or cached:  # a cache alone knows which positions the queries have
        return AttentionRule(mask=mask, window=window)
    length = mask.shape[-1]
    position = torch.arange(length, device=mask.device)
    distance = position[:, None] - position[None, :]
    seen = distance >= 0
    if window is not None:
        seen = seen & (distance < window)
    # Added to the scores by every layer, forward and backward: three times cheaper than a bool.
    additive = torch.zeros(mask.shape, device=mask.device).masked_fill(~(mask & seen), -torch.inf)
    return AttentionRule(mask=additive, causal=False)
