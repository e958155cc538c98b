"""The encoder-decoder (Vaswani et al. 2017, section 3.1; Raffel et al. 2019, T5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.initialization import initialize
from lmwright.models.layers.attention import Cache
from lmwright.models.layers.table import embedding_table
from lmwright.models.transformer import Output, Stack


class EncoderDecoder(nn.Module):
    """Reads one sequence whole, writes another token by token.

    Both stacks share one embedding.

    Args:
        config: the model's shape.
        output: whether it has an output projection; else it is a backbone.
    """

    def __init__(self, config: TransformerConfig, *, output: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = embedding_table(config.vocab_size, config.hidden_size)
        self.encoder = Stack(config, config.num_hidden_layers, causal=False, embeds=False)
        self.decoder = Stack(config, config.decoder_layers, causal=True, cross=True, embeds=False)
        self.has_output = output
        self.lm_head: nn.Linear | None = None
        if output and not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.output_bias: nn.Parameter | None = None
        if output and config.output_bias:
            self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))

    def initialize(self, seed: int) -> None:
        """Draw fresh weights, the same for the same seed; see `initialization.initialize`."""
        initialize(self, torch.Generator().manual_seed(seed))

    @property
    def output_weight(self) -> Tensor:
        """(V, D) of the output projection: the embedding where they are tied."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        *,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Output:
        """Score the next token after every position of the output.

        Args:
            input_ids: (B, S) integers, what is read.
            attention_mask: (B, S), 0 where it is padding.
            position_ids: (B or 1, U) of `decoder_input_ids`; must be given with a cache.
            cache: the decoder's keys and values.
            decoder_input_ids: (B, U) integers, what is written so far, begun by
                `decoder_start_token_id`.
            decoder_attention_mask: (B, U), 0 where it is padding.

        Raises:
            LmwrightError: if `decoder_input_ids` is not given, or has other rows than `input_ids`.
        """
        if decoder_input_ids is None:
            raise LmwrightError(
                "an encoder-decoder needs decoder_input_ids",
                hint="they are the labels, shifted right and begun by decoder_start_token_id",
            )
        if len(decoder_input_ids) != len(input_ids):
            raise LmwrightError(
                f"input_ids has {len(input_ids)} rows, decoder_input_ids {len(decoder_input_ids)}"
            )
        memory = self.encode(input_ids, attention_mask)
        hidden = self.decoder_states(
            decoder_input_ids, memory, attention_mask, decoder_attention_mask, position_ids, cache
        )
        return Output(logits=self.project(hidden) if self.has_output else hidden)

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The encoder's last hidden states (B, S, D)."""
        return self.encoder.hidden_states(input_ids, attention_mask, embedding=self.embed_tokens)

    def decoder_states(
        self,
        decoder_input_ids: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The decoder's stream (B, U, D), scaled for `project`, which turns it into logits."""
        hidden = self.decode(
            decoder_input_ids, memory, memory_mask, decoder_attention_mask, position_ids, cache
        )
        scale = self.config.output_scale
        return hidden if scale == 1.0 else hidden * scale

    def decode(
        self,
        decoder_input_ids: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The decoder's last hidden states (B, U, D)."""
        return self.decoder.hidden_states(
            decoder_input_ids,
            decoder_attention_mask,
            position_ids,
            cache,
            embedding=self.embed_tokens,
            memory=memory,
            memory_mask=memory_mask,
        )

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of normalised states (..., D)."""
        return F.linear(hidden, self.output_weight, self.output_bias)
