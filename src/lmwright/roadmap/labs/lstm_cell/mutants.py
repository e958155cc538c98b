"""Wrong LSTM cells, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.models.cells import CellWeights, State
from lmwright.roadmap.properties import Mutant


def _products(x: Tensor, h: Tensor, weights: CellWeights, wrong: str) -> Tensor:
    """(B, 4 D) of all gates."""
    both = x @ weights.input_weight.T
    if wrong != "no recurrence":
        both = both + h @ weights.recurrent_weight.T
    biases = (weights.input_bias, weights.recurrent_bias)
    if wrong == "biases wanted":
        return both + biases[0] + biases[1]  # type: ignore[operator]
    for number, bias in enumerate(biases):
        if bias is not None and wrong != "no bias" and not (number and wrong == "one bias"):
            both = both + bias
    return both


def _sigmoid(x: Tensor, wrong: str) -> Tensor:
    if wrong == "naive sigmoid":
        return x.exp() / (1 + x.exp())
    return torch.sigmoid(x)


def _mutant(wrong: str, says: str) -> Mutant:
    def lstm_step(x: Tensor, state: State, weights: CellWeights) -> State:
        h, c = state
        both = _products(x, c if wrong == "reads c" else h, weights, wrong)
        if wrong == "gates mixed":
            i, f, g, o = both.view(len(both), -1, 4).unbind(2)
        else:
            i, f, g, o = both.chunk(4, dim=-1)
        if wrong == "order i f o g":
            g, o = o, g
        if wrong == "order f i g o":
            i, f = f, i
        i, f, o = (_sigmoid(gate, wrong) for gate in (i, f, o))
        g = _sigmoid(g, wrong) if wrong == "candidate sigmoid" else torch.tanh(g)
        if wrong == "forgets nothing":
            f = torch.ones_like(f)
        if wrong == "forget turned":
            f = 1 - f
        if wrong == "coupled":
            f = 1 - i
        after = f * c + (g if wrong == "input open" else i * g)
        if wrong == "replaces":
            after = i * g
        if wrong == "c without gradient":
            after = f * c.detach() + i * g
        told = c if wrong == "old c" else after
        out = o * (told if wrong == "no tanh" else torch.tanh(told))
        if wrong == "c squashed":
            after = torch.tanh(after)
        if wrong == "float32 out":
            return out.float(), after.float()
        return (after, out) if wrong == "c before h" else (out, after)

    return Mutant(says, lstm_step)


MUTANTS = (
    _mutant("c before h", "a cell that returns c before h"),
    _mutant("no bias", "a cell without biases"),
    _mutant("one bias", "a cell that adds the input's bias alone"),
    _mutant("order i f o g", "a cell whose weights lie in the order i, f, o, g: it is i, f, g, o"),
    _mutant("order f i g o", "a cell with its input and forget gates swapped"),
    _mutant(
        "gates mixed", "a cell that deals the rows to the gates in turn: each has D rows together"
    ),
    _mutant("candidate sigmoid", "a cell whose candidate goes through a sigmoid: it is tanh"),
    _mutant("input open", "a cell without its input gate"),
    _mutant("no tanh", "a cell that gives o * c: it is o * tanh(c)"),
    _mutant("c squashed", "a cell that keeps tanh(c): c itself is kept, or it fades"),
    _mutant("old c", "a cell that tells the c of the step before"),
    _mutant("no recurrence", "a cell that does not look at h"),
    _mutant("reads c", "a cell whose gates look at c, not at h"),
    _mutant("forgets nothing", "the cell of 1997, which never forgets: f is missing"),
    _mutant(
        "forget turned", "a cell that keeps what it should forget: the share kept is f, not 1 - f"
    ),
    _mutant("coupled", "a cell whose forget gate is 1 - i: it has weights of its own"),
    _mutant("replaces", "a cell that keeps nothing of the c before"),
    _mutant("biases wanted", "a cell that needs biases: they may be None"),
    _mutant("c without gradient", "a cell from which no gradient reaches the c before"),
    _mutant("naive sigmoid", "a cell whose sigmoid overflows: use torch.sigmoid"),
    _mutant("float32 out", "a cell that gives float32 for bfloat16"),
)
