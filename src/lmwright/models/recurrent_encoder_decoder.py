"""Sequence to sequence with recurrent networks: Sutskever et al. 2014 without attention, Bahdanau
et al. 2014 with additive, Luong et al. 2015 with multiplicative attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.classic_config import RecurrentEncoderDecoderConfig
from lmwright.models.classic_initialization import initialize_classic
from lmwright.models.layers import recurrence, sequences
from lmwright.models.layers.recurrence import RecurrentState
from lmwright.models.layers.recurrent_decoder import DecoderState, Memory, RecurrentDecoder
from lmwright.models.transformer import Output


class RecurrentEncoderDecoder(nn.Module):
    """Reads a source, writes a target.

    The decoder's first state is tanh(W s) of the encoder's last states s in both directions, layer
    by layer with one W (Bahdanau, appendix A.2.2, from the backward state alone). Dropout is on
    embeddings, between layers and before the output projection.

    Args:
        config: the model's shape.
    """

    def __init__(self, config: RecurrentEncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embed_tokens.weight.requires_grad_(not config.freeze_embeddings)
        self.target_embed_tokens: nn.Embedding | None = None
        if not config.share_embeddings:
            size = config.output_vocab_size
            self.target_embed_tokens = nn.Embedding(size, config.embedding_size)
        self.encoder = recurrence.fused(
            config.cell,
            config.embedding_size,
            config.source_size,
            config.num_layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.bridge = nn.Linear(config.memory_size, config.hidden_size)
        self.cell_bridge: nn.Linear | None = None
        if config.cell == "lstm":
            self.cell_bridge = nn.Linear(config.memory_size, config.hidden_size)
        self.decoder = RecurrentDecoder(config)
        self.lm_head: nn.Linear | None = None
        if not config.tie_word_embeddings:
            size = config.output_vocab_size
            self.lm_head = nn.Linear(config.output_size, size, bias=False)

    def initialize(self, seed: int, embedding_weight: Tensor | None = None) -> None:
        """Draw fresh weights, the same for the same seed; see `initialize_classic`.

        Args:
            seed: of the random numbers.
            embedding_weight: (V, E) word vectors of the source to begin with.
        """
        generator = torch.Generator().manual_seed(seed)
        std = self.config.initializer_range
        initialize_classic(self, generator, std, embedding_weight)

    @property
    def output_weight(self) -> Tensor:
        """(V, O) of the output projection: the decoder's embedding where they are tied."""
        return self._target_embedding().weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Output:
        """Score the next target token after every target position.

        Args:
            input_ids: (B, S) integers, the source.
            attention_mask: (B, S), 0 where a source token is padding, on either side; None: none.
            decoder_input_ids: (B, U) integers, the start token and the target up to its last but
                one; padding stands at the right and changes nothing before it.
            decoder_attention_mask: not used; see above.
            token_type_ids: not used; tokenizers give them.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        memory = self.encode(input_ids, attention_mask)
        return Output(logits=self.project(self.decoder_states(decoder_input_ids, memory)))

    def decoder_states(
        self,
        decoder_input_ids: Tensor,
        memory: Memory,
        memory_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """What `project` turns into logits, (B, U, O), with the given target as input.

        Args:
            decoder_input_ids: (B, U) integers; see `forward`.
            memory: from `encode`; it knows the source's padding.
            memory_mask: not used.
            decoder_attention_mask: not used.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        rows, _ = sequences.check_ids(decoder_input_ids, None, "decoder_input_ids")
        if rows != len(memory.mask):
            raise LmwrightError(f"input_ids has {len(memory.mask)} rows, decoder_input_ids {rows}")
        hidden: Tensor = self.decoder(self._target_embedding()(decoder_input_ids), memory)
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of what `decoder_states` or the decoder's step gives."""
        return F.linear(hidden, self.output_weight)

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Memory:
        """Read the source.

        Args:
            input_ids: (B, S) integers.
            attention_mask: (B, S), 0 where a token is padding, on either side; None: none is.

        Returns:
            The memory; `memory.state` is what `step` begins with.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        layout = sequences.of_rows(input_ids, attention_mask)
        x = self.dropout(self.embed_tokens(layout.gather(input_ids)))
        states, end = recurrence.run(self.encoder, x, layout)
        values = layout.scatter(states)
        if attention_mask is None:
            mask = torch.ones_like(input_ids, dtype=torch.bool)
        else:
            mask = attention_mask.bool()
        return Memory(values, self.decoder.keys(values), mask, self._first_state(end))

    def step(
        self, memory: Memory, state: DecoderState, token_ids: Tensor
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """One step of generation.

        Args:
            memory: from `encode`; with `select`ed rows where there are more beams than sources.
            state: from the step before; `memory.state` for the first.
            token_ids: (B,) integers, the token before.

        Returns:
            Logits (B, V) of the next token; the state after; attention weights (B, S), None
            where there is no attention.
        """
        embedded = self._target_embedding()(token_ids)
        hidden, after, weights = self.decoder.step(embedded, memory, state)
        return self.project(hidden), after, weights

    def _target_embedding(self) -> nn.Embedding:
        if self.target_embed_tokens is None:
            return self.embed_tokens
        return self.target_embed_tokens

    def _first_state(self, end: RecurrentState) -> DecoderState:
        assert end.hidden is not None
        hidden = torch.tanh(self.bridge(self._side_by_side(end.hidden)))
        cell = None
        if self.cell_bridge is not None:
            assert end.cell is not None
            cell = self.cell_bridge(self._side_by_side(end.cell))
        feed = None
        if self.config.input_feeding:
            feed = hidden.new_zeros(hidden.shape[1], self.config.output_size)
        return DecoderState(RecurrentState(hidden, cell), feed)

    def _side_by_side(self, state: Tensor) -> Tensor:
        """(layers * directions, B, D_e) -> (layers, B, M)."""
        by_layer = state.view(self.config.num_layers, -1, *state.shape[1:])
        return by_layer.transpose(1, 2).flatten(2)
