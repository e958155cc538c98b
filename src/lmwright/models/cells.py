"""Recurrent cells written from their equations, and torch.nn's networks made of them.

Slow, to be read: training uses torch.nn's fused networks, to which these are equal, until the road
puts a learner's cell in place of one. Weights lie as in torch.nn, the matrices of a cell's gates
above one another, so that one state dict serves both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.classic_config import CellKind

State = tuple[Tensor, ...]
"""(h,) or, for an LSTM, (h, c), each (B, D)."""


class CellWeights(NamedTuple):
    """One cell's weights for G gates."""

    input_weight: Tensor
    """(G * D, X), W of every gate."""
    recurrent_weight: Tensor
    """(G * D, D), U of every gate."""
    input_bias: Tensor | None = None
    """(G * D,)."""
    recurrent_bias: Tensor | None = None
    """(G * D,); beside the other one it only matters to a GRU."""


Step = Callable[[Tensor, State, CellWeights], State]
"""A cell: input (B, X), state before, weights -> state after."""


def elman_step(x: Tensor, state: State, weights: CellWeights) -> State:
    """h' = tanh(W x + U h + b) (Elman 1990)."""
    (h,) = state
    input_weight, recurrent_weight, input_bias, recurrent_bias = weights
    from_input = F.linear(x, input_weight, input_bias)
    from_state = F.linear(h, recurrent_weight, recurrent_bias)
    return (torch.tanh(from_input + from_state),)


def lstm_step(x: Tensor, state: State, weights: CellWeights) -> State:
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(W x + U h + b), each with its own W, U, b
    g = tanh(W x + U h + b)
    c' = f * c + i * g
    h' = o * tanh(c')
    """
    h, c = state
    input_weight, recurrent_weight, input_bias, recurrent_bias = weights
    from_input = F.linear(x, input_weight, input_bias)
    from_state = F.linear(h, recurrent_weight, recurrent_bias)
    i, f, g, o = (from_input + from_state).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(x: Tensor, state: State, weights: CellWeights) -> State:
    """Gated recurrent unit (Cho et al. 2014, section 2.3, as torch and cuDNN compute it).

    r, z = sigmoid(W x + U h + b), each with its own W, U, b
    n = tanh(W x + b + r * (U h + b'))
    h' = (1 - z) * n + z * h

    The paper resets before the recurrent product, U (r * h); after it, all three products of h
    are one.
    """
    (h,) = state
    input_weight, recurrent_weight, input_bias, recurrent_bias = weights
    from_input = F.linear(x, input_weight, input_bias)
    from_state = F.linear(h, recurrent_weight, recurrent_bias)
    input_reset, input_update, input_new = from_input.chunk(3, dim=-1)
    state_reset, state_update, state_new = from_state.chunk(3, dim=-1)
    r = torch.sigmoid(input_reset + state_reset)
    z = torch.sigmoid(input_update + state_update)
    n = torch.tanh(input_new + r * state_new)
    return ((1 - z) * n + z * h,)


GATES: dict[CellKind, int] = {"rnn": 1, "lstm": 4, "gru": 3}


def step_of(kind: CellKind) -> Step:
    """The cell of that kind, looked up now: `--use` may have put another in its place."""
    if kind == "lstm":
        return lstm_step
    return gru_step if kind == "gru" else elman_step


def run_cell(
    step: Step,
    inputs: Tensor,
    state: State,
    weights: CellWeights,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Run a cell over sequences.

    Args:
        step: one of this module's.
        inputs: (B, T, X).
        state: before the first step, each tensor (B, D).
        weights: the cell's.
        lengths: (B,) int64, tokens of each row, at its left; None: T. Behind them nothing
            happens: outputs are 0 and the state stays.
        reverse: begin at each row's last token and go left.

    Returns:
        Outputs (B, T, D), h after each step at the step's own place; the state after all steps.
    """
    length = inputs.shape[1]
    outputs: list[Tensor] = []
    for t in reversed(range(length)) if reverse else range(length):
        after = step(inputs[:, t], state, weights)
        if lengths is None:
            state = after
            outputs.append(state[0])
        else:
            there = (t < lengths)[:, None]
            pairs = zip(after, state, strict=True)
            state = tuple(torch.where(there, new, old) for new, old in pairs)
            outputs.append(torch.where(there, state[0], 0.0))
    return torch.stack(outputs[::-1] if reverse else outputs, dim=1), state


def run_layers(
    kind: CellKind,
    layers: Sequence[Sequence[CellWeights]],
    inputs: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    between: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, State]:
    """Run layers of cells, each reading the outputs of the one below, both directions side by side.

    Args:
        kind: which cell.
        layers: of each layer the weights of its directions: from the left, and perhaps from the
            right.
        inputs: (B, T, X).
        state: h, and c of an LSTM, each (layers * directions, B, D).
        lengths: see `run_cell`.
        between: what happens to the outputs of a layer below another: dropout; None: nothing.

    Returns:
        The top layer's outputs (B, T, D * directions), and the state after all steps.
    """
    ends: list[State] = []
    for number, directions in enumerate(layers):
        if number and between is not None:
            inputs = between(inputs)
        sides: list[Tensor] = []
        for side, weights in enumerate(directions):
            start = tuple(part[len(ends)] for part in state)
            outputs, end = run_cell(
                step_of(kind), inputs, start, weights, lengths=lengths, reverse=side == 1
            )
            sides.append(outputs)
            ends.append(end)
        inputs = torch.cat(sides, dim=-1)
    return inputs, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))


def weights_of(network: nn.Module, name: str) -> CellWeights:
    """One cell's weights in a network of torch's names, such as those of `l0_reverse`."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return CellWeights(*(getattr(network, f"{part}_{name}") for part in names))


class CellNetwork(nn.Module):
    """Layers of cells: what `nn.RNN`, `nn.LSTM` and `nn.GRU` compute, batch first.

    Args:
        kind: which cell.
        input_size: X.
        hidden_size: D.
        num_layers: each layer above the first reads the one below, both directions side by side.
        bidirectional: whether each layer also has a cell that runs from the end.
    """

    def __init__(
        self,
        kind: CellKind,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        rows = GATES[kind] * hidden_size
        bound = hidden_size**-0.5  # torch.nn's own start
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * len(self.suffixes)
            for suffix in self.suffixes:
                shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}  # type: ignore[dict-item]
                for name, shape in shapes.items():
                    weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
                    self.register_parameter(f"{name}_l{layer}{suffix}", weight)

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run all layers.

        Args:
            inputs: (B, T, X).
            state: h, and c of an LSTM, each (layers * directions, B, D); None: zeros.
            lengths: (B,) int64, tokens of each row, at its left; None: T.

        Returns:
            The top layer's outputs (B, T, D * directions), and the state after all steps, each
            tensor (layers * directions, B, D).
        """
        if state is None:
            rows = self.num_layers * len(self.suffixes)
            zeros = inputs.new_zeros(rows, inputs.shape[0], self.hidden_size)
            state = (zeros, zeros) if self.kind == "lstm" else (zeros,)
        layers = [
            [weights_of(self, f"l{layer}{suffix}") for suffix in self.suffixes]
            for layer in range(self.num_layers)
        ]
        return run_layers(self.kind, layers, inputs, state, lengths=lengths)
