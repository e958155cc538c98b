"""The writing half of a recurrent encoder-decoder: a recurrence that looks at the source.

Bahdanau et al. 2014: the state before a step looks, and what it sees enters the step. Luong et al.
2015: the state after the step looks; nothing it sees enters a step, unless it is fed to the next
one as input (section 3.3). Without input feeding all steps therefore run fused, and look at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmwright.models.classic_config import RecurrentEncoderDecoderConfig
from lmwright.models.layers import recurrence, sequences, soft_attention
from lmwright.models.layers.recurrence import RecurrentState


@dataclass
class DecoderState:
    """What the decoder remembers of the target so far."""

    recurrent: RecurrentState
    """Of its recurrent layers."""
    feed: Tensor | None = None
    """(B, O), the attentional vector of the step before, where it is an input of the next."""

    def select(self, rows: Tensor) -> "DecoderState":
        """The state of other rows, (R,) int64 indices: for beams that are dropped or doubled."""
        feed = None if self.feed is None else self.feed.index_select(0, rows)
        return DecoderState(self.recurrent.select(rows), feed)


@dataclass
class Memory:
    """The source as the decoder sees it."""

    values: Tensor
    """(B, S, M), the encoder's states; 0 on padding."""
    keys: Tensor
    """(B, S, D), the share of the attention's scores that they decide; (B, S, M) without one."""
    mask: Tensor
    """(B, S) bool, True where a source token is real."""
    state: DecoderState
    """With which the decoder begins."""

    def select(self, rows: Tensor) -> "Memory":
        """The memory of other rows, (R,) int64 indices: one source for many beams."""
        return Memory(
            self.values.index_select(0, rows),
            self.keys.index_select(0, rows),
            self.mask.index_select(0, rows),
            self.state.select(rows),
        )


class RecurrentDecoder(nn.Module):
    """From embedded target tokens and the source's memory to what the output projection reads.

    Dropout is on the embeddings, between recurrent layers and on the result.

    Args:
        config: the model's shape.
    """

    def __init__(self, config: RecurrentEncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        width, memory, output = config.hidden_size, config.memory_size, config.output_size
        embedding = config.embedding_size
        looks_before = config.attention == "bahdanau"
        extra = memory if looks_before else output if config.input_feeding else 0
        self.recurrent = recurrence.fused(
            config.cell, embedding + extra, width, config.num_layers, dropout=config.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.attention: soft_attention.Additive | soft_attention.Multiplicative | None = None
        self.combine: nn.Linear | None = None
        if looks_before:
            self.attention = soft_attention.Additive(width, memory)
            # Maxout of pairs: two candidates for each output.
            self.combine = nn.Linear(width + memory + embedding, 2 * output)
        elif config.attention != "none":
            general = config.attention == "luong_general"
            self.attention = soft_attention.Multiplicative(width, memory, general=general)
            self.combine = nn.Linear(width + memory, output, bias=False)
        elif width != output:
            self.combine = nn.Linear(width, output, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """The attention's share of (B, S, M) that no query changes."""
        return memory if self.attention is None else self.attention.keys(memory)

    def forward(self, embedded: Tensor, memory: Memory) -> Tensor:
        """All steps of a given target: (B, U, E) -> (B, U, O)."""
        embedded = self.dropout(embedded)
        if self.config.input_feeding:
            return self._fed(embedded, memory)
        if self.config.attention == "bahdanau":
            output = self._combined(*self._looking_before(embedded, memory), embedded)
        else:
            states, _ = self._run(embedded, memory.state.recurrent)
            context, _ = self._look(states, memory)
            output = self._combined(states, context, embedded)
        dropped: Tensor = self.dropout(output)
        return dropped

    def step(
        self, embedded: Tensor, memory: Memory, state: DecoderState
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """One step.

        Args:
            embedded: (B, E), the token before.
            memory: the source.
            state: of the steps before.

        Returns:
            (B, O) for the output projection; the state after; attention weights (B, S), None
            where there is no attention.
        """
        x = self.dropout(embedded)[:, None]
        if self.config.attention == "bahdanau":
            context, weights = self._look(_top(state), memory)
            assert context is not None
            hidden, recurrent = self._one(torch.cat((x, context), -1), state.recurrent)
        else:
            inputs = x if state.feed is None else torch.cat((x, state.feed[:, None]), -1)
            hidden, recurrent = self._one(inputs, state.recurrent)
            context, weights = self._look(hidden, memory)
        output = self._combined(hidden, context, x)[:, 0]
        output = self.dropout(output)
        after = DecoderState(recurrent, None if state.feed is None else output)
        return output, after, None if weights is None else weights[:, 0]

    def _fed(self, embedded: Tensor, memory: Memory) -> Tensor:
        """Input feeding: each step needs the output of the one before."""
        state, outputs = memory.state, []
        recurrent, feed = state.recurrent, state.feed
        assert feed is not None
        for x in embedded.chunk(embedded.shape[1], dim=1):
            hidden, recurrent = self._one(torch.cat((x, feed[:, None]), -1), recurrent)
            context, _ = self._look(hidden, memory)
            feed = self.dropout(self._combined(hidden, context, x))[:, 0]
            outputs.append(feed)
        return torch.stack(outputs, dim=1)

    def _looking_before(self, embedded: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """States (B, U, D) and the contexts (B, U, M) that led to them."""
        recurrent, states, contexts = memory.state.recurrent, [], []
        query = _top(memory.state)
        for x in embedded.chunk(embedded.shape[1], dim=1):
            context, _ = self._look(query, memory)
            assert context is not None
            query, recurrent = self._one(torch.cat((x, context), -1), recurrent)
            states.append(query)
            contexts.append(context)
        return torch.cat(states, dim=1), torch.cat(contexts, dim=1)

    def _run(self, inputs: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        rows, length = inputs.shape[:2]
        lengths = torch.full((rows,), length, device=inputs.device)
        whole = sequences.Sequences(None, lengths, (rows, length), full=True)
        return recurrence.run(self.recurrent, inputs, whole, state)

    def _one(self, inputs: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """A step: (B, 1, X) -> (B, 1, D)."""
        hidden, after = recurrence.step(self.recurrent, inputs[:, 0], state)
        return hidden[:, None], after

    def _look(self, queries: Tensor, memory: Memory) -> tuple[Tensor | None, Tensor | None]:
        """Contexts (B, U, M) and weights (B, U, S) of queries (B, U, D); None without attention."""
        if self.attention is None:
            return None, None
        scores = self.attention.scores(queries, memory.keys)
        return soft_attention.look(scores, memory.values, memory.mask)

    def _combined(self, states: Tensor, contexts: Tensor | None, embedded: Tensor) -> Tensor:
        """(B, U, O): maxout over state, context and word (Bahdanau, appendix A.2.2), or
        tanh(W [context; state]) (Luong, equation 5), or the state alone."""
        if self.combine is None:
            return states
        if contexts is None:
            projected: Tensor = self.combine(states)
            return projected
        if self.config.attention == "bahdanau":
            pairs = self.combine(torch.cat((states, contexts, embedded), -1))
            largest: Tensor = pairs.view(*pairs.shape[:-1], -1, 2).amax(-1)
            return largest
        return torch.tanh(self.combine(torch.cat((contexts, states), -1)))


def _top(state: DecoderState) -> Tensor:
    """(B, 1, D), the state of the highest layer."""
    assert state.recurrent.hidden is not None
    return state.recurrent.hidden[-1][:, None]
