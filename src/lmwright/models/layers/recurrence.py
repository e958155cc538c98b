"""torch's fused recurrent networks over sequences of unequal length, and their first weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmwright.core import parts
from lmwright.models import cells
from lmwright.models.classic_config import CellKind
from lmwright.models.layers.sequences import Sequences

_FUSED: dict[CellKind, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

# Share of real tokens from which an LSTM over whole rows beats a packed one. Measured on one EPYC
# core, 32 rows of 30, D = 256, both directions, forward and backward, whole rows against packed:
# share 0.97: 93 and 221 ms; 0.64: 122 and 228; 0.27: 98 and 101.
_WHOLE_ROWS_FROM = 0.3


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
    if _written_out(network):
        return _by_equations(network, inputs, sequences, start)
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


def outputs(network: nn.RNNBase, inputs: Tensor, sequences: Sequences) -> Tensor:
    """`run` from zeros where only the outputs (N, L, D * directions) are wanted.

    An LSTM then need not be packed: torch's fast CPU kernel takes whole rows only, and what it does
    behind a sequence's end is thrown away.
    """
    real = int(sequences.lengths.sum()) / max(1, inputs.shape[0] * inputs.shape[1])
    whole_rows_pay = isinstance(network, nn.LSTM) and inputs.device.type == "cpu"
    if sequences.full or not whole_rows_pay or real < _WHOLE_ROWS_FROM or _written_out(network):
        return run(network, inputs, sequences)[0]
    position = torch.arange(inputs.shape[1])
    lengths = sequences.lengths[:, None]
    # Each row's own tokens from last to first, what is behind them where it was.
    mirrored = torch.where(position < lengths, lengths - 1 - position, position)
    rows = torch.arange(len(mirrored))[:, None]
    for layer in range(network.num_layers):
        if layer and network.dropout:
            inputs = F.dropout(inputs, network.dropout, network.training)
        sides = [_whole_rows(network, inputs, f"l{layer}")]
        if network.bidirectional:
            backward = _whole_rows(network, inputs[rows, mirrored], f"l{layer}_reverse")
            sides.append(backward[rows, mirrored])
        inputs = torch.cat(sides, dim=-1) if network.bidirectional else sides[0]
    return inputs


def step(network: nn.RNNBase, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
    """One step of a network that reads in one direction: what `run` does on a single token.

    By the equations of `cells`: a call of the fused network for every token prepares its weights
    anew each time (an LSTM of D = 256, 32 rows: 58 against 54 ms for 15 steps and back).

    Args:
        network: not bidirectional.
        x: (B, X).
        state: of the steps before, not empty.

    Returns:
        The top layer's output (B, D) and the state after.
    """
    assert state.hidden is not None
    is_lstm = isinstance(network, nn.LSTM)
    cell = cells.step_of("lstm" if is_lstm else "gru" if isinstance(network, nn.GRU) else "rnn")
    parts = (state.hidden, state.cell) if is_lstm else (state.hidden,)
    ends: list[cells.State] = []
    for layer in range(network.num_layers):
        if layer and network.dropout:
            x = F.dropout(x, network.dropout, network.training)
        before = tuple(part[layer] for part in parts if part is not None)
        ends.append(cell(x, before, cells.weights_of(network, f"l{layer}")))
        x = ends[-1][0]
    after = [torch.stack(part) for part in zip(*ends, strict=True)]
    return x, RecurrentState(*after)


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


def _written_out(network: nn.RNNBase) -> bool:
    """Whether its cell was chosen by `--use`: torch's fused networks cannot take another."""
    return isinstance(network, nn.LSTM) and parts.in_use("lmwright.models.cells:lstm_step")


def _by_equations(
    network: nn.RNNBase,
    inputs: Tensor,
    sequences: Sequences,
    start: Tensor | tuple[Tensor, Tensor],
) -> tuple[Tensor, RecurrentState]:
    """`run` of an LSTM by its cell, step by step."""
    suffixes = ("", "_reverse") if network.bidirectional else ("",)
    layers = [
        [cells.weights_of(network, f"l{layer}{suffix}") for suffix in suffixes]
        for layer in range(network.num_layers)
    ]
    outputs, end = cells.run_layers(
        "lstm",
        layers,
        inputs,
        tuple(start),
        lengths=None if sequences.full else sequences.lengths,
        between=lambda x: F.dropout(x, network.dropout, network.training),
    )
    return outputs, RecurrentState(*end)


def _whole_rows(network: nn.RNNBase, inputs: Tensor, suffix: str) -> Tensor:
    """An LSTM's layer in one direction over all positions, from zeros."""
    zeros = inputs.new_zeros(1, inputs.shape[0], network.hidden_size)
    result: Tensor = torch.lstm(
        inputs,
        (zeros, zeros),
        [w for w in cells.weights_of(network, suffix) if w is not None],
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=network.training,
        bidirectional=False,
        batch_first=True,
    )[0]
    return result


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
