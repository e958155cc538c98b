"""torch's fused recurrent networks over sequences of unequal length, and their first weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmwright.models.classic_config import CellKind
from lmwright.models.layers.sequences import Sequences

_FUSED: dict[CellKind, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@dataclass
class RecurrentState:
    """What a recurrent network remembers of the tokens so far; an empty one: nothing yet."""

    hidden: Tensor | None = None
    """(layers * directions, B, D)."""
    cell: Tensor | None = None
    """The same shape, an LSTM's second memory."""

    def select(self, rows: Tensor) -> "RecurrentState":
        """The state of other rows, (R,) int64 indices: for beams that are dropped or doubled."""
        return RecurrentState(
            *(None if x is None else x.index_select(1, rows) for x in (self.hidden, self.cell))
        )

    def detach(self) -> "RecurrentState":
        """The same values, behind which no gradient flows: truncated back-propagation."""
        return RecurrentState(
            *(None if x is None else x.detach() for x in (self.hidden, self.cell))
        )


def fused(
    kind: CellKind,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> nn.RNNBase:
    """torch's network of `kind`, batch first; dropout stands between its layers."""
    return _FUSED[kind](
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=dropout if num_layers > 1 else 0.0,
    )


def run(
    network: nn.RNNBase, inputs: Tensor, sequences: Sequences, state: RecurrentState | None = None
) -> tuple[Tensor, RecurrentState]:
    """Run a network over every sequence, to its own end and not further.

    Args:
        network: batch first.
        inputs: (N, L, X), what the network reads.
        sequences: which of it is there.
        state: where it begins; None or an empty one: at zeros.

    Returns:
        Outputs (N, L, D * directions), anything behind a sequence's end; the states after each
        sequence's last token (in reverse: after its first), unchanged where there is none.
    """
    start = _start(network, inputs, state)
    if sequences.full:
        outputs, end = network(inputs, start)
        return outputs, _state(end)
    # A network that reads from the left does not care what comes after; one that reads from the
    # right begins there. Only packing serves both and gives each sequence's last state.
    lengths = sequences.lengths.clamp_min(1).cpu()
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    packed_outputs, end = network(packed, start)
    outputs, _ = pad_packed_sequence(
        packed_outputs, batch_first=True, total_length=sequences.longest
    )
    finished = _state(end)
    if bool((sequences.lengths == 0).any()):
        finished = _unless_empty(finished, _state(start), sequences.lengths)
    return outputs, finished


def initialize_recurrence(network: nn.RNNBase, generator: torch.Generator) -> None:
    """Draw first weights in place, gate by gate.

    Input weights uniform with variance 2 / (fan in + fan out) (Glorot and Bengio 2010, equation
    16); recurrent weights orthogonal, so that what is remembered neither grows nor fades (Saxe et
    al. 2014, section 3); biases 0, but 1 for an LSTM's forget gate, so that it remembers until it
    has learnt what to forget (Gers et al. 2000; Jozefowicz et al. 2015, section 2.2).
    """
    size = network.hidden_size
    forget = slice(size, 2 * size)  # torch's order of an LSTM's gates: input, forget, cell, output
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("weight_hh"):
                for gate in weight.chunk(len(weight) // size):
                    nn.init.orthogonal_(gate, generator=generator)
            elif name.startswith("weight_ih"):
                for gate in weight.chunk(len(weight) // size):
                    nn.init.xavier_uniform_(gate, generator=generator)
            else:
                weight.zero_()
                if isinstance(network, nn.LSTM) and name.startswith("bias_ih"):
                    weight[forget] = 1.0


def _start(
    network: nn.RNNBase, inputs: Tensor, state: RecurrentState | None
) -> Tensor | tuple[Tensor, Tensor]:
    """The state in torch's form."""
    hidden, cell = (None, None) if state is None else (state.hidden, state.cell)
    directions = 2 if network.bidirectional else 1
    if hidden is None:
        shape = (network.num_layers * directions, inputs.shape[0], network.hidden_size)
        hidden = inputs.new_zeros(shape)
    if not isinstance(network, nn.LSTM):
        return hidden
    return hidden, torch.zeros_like(hidden) if cell is None else cell


def _state(torch_state: Tensor | tuple[Tensor, Tensor]) -> RecurrentState:
    if isinstance(torch_state, Tensor):
        return RecurrentState(torch_state)
    return RecurrentState(*torch_state)


def _unless_empty(after: RecurrentState, before: RecurrentState, lengths: Tensor) -> RecurrentState:
    there = (lengths > 0)[None, :, None]
    pairs = ((after.hidden, before.hidden), (after.cell, before.cell))
    return RecurrentState(
        *(None if x is None or y is None else torch.where(there, x, y) for x, y in pairs)
    )
