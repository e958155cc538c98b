"""What an LSTM's cell must do, in the order in which it is learnt."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.models.cells import CellWeights, State, lstm_step, run_cell
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, gradients
from lmwright.roadmap.values import copied

ROUNDING = 5e-5
"""Relative: sums of ten products, in another order, before a sigmoid whose value may be small."""


def weights_of(draw: Draw, inputs: int, width: int, *, biases: bool = True) -> CellWeights:
    """Weights of four gates."""
    tensors = [draw.normal(4 * width, inputs), draw.normal(4 * width, width)]
    given = [draw.normal(4 * width), draw.normal(4 * width)] if biases else [None, None]
    return CellWeights(*tensors, *given)


def operands(
    draw: Draw, *, rows: int = 0, biases: bool = True
) -> tuple[Tensor, State, CellWeights]:
    """x (B, X), (h, c) each (B, D), weights; X is never D."""
    rows, width = rows or draw.size(1, 4), draw.size(2, 5)
    inputs = draw.choice([size for size in (1, 3, 6) if size != width])
    state = (draw.normal(rows, width), draw.normal(rows, width))
    return draw.normal(rows, inputs), state, weights_of(draw, inputs, width, biases=biases)


def from_nothing(draw: Draw) -> Case:
    x, (h, c), weights = operands(draw)
    state = (torch.zeros_like(h), torch.zeros_like(c))
    return Case((x, state, weights), note="the first step: h and c are 0")


def going_on(draw: Draw) -> Case:
    return Case(operands(draw))


def without_biases(draw: Draw) -> Case:
    return Case(operands(draw, biases=False), note="no biases")


def sequence(draw: Draw) -> Case:
    """Rows of unequal length, from the left or from the right."""
    _, state, weights = operands(draw)
    longest, inputs = draw.size(2, 9), weights.input_weight.shape[1]
    rows = len(state[0])
    lengths = draw.integers(0, longest, rows)
    lengths[0] = longest
    branches = {"short" if bool((lengths < longest).any()) else "whole"}
    kwargs = {"lengths": lengths, "reverse": draw.chance(0.5)}
    branches.add("reverse" if kwargs["reverse"] else "forward")
    args = (draw.normal(rows, longest, inputs), state, weights)
    return Case(args, kwargs, frozenset(branches), note="rows of unequal length, step by step")


def large(draw: Draw) -> Case:
    """Every gate far out, by its bias; the first unit lets in, keeps and tells, so h' is not 0."""
    x, state, weights = operands(draw)
    width = state[0].shape[1]
    far = torch.where(draw.booleans(0.5, 4 * width), 1e4, -1e4)
    far[::width] = 1e4
    return Case((x, state, weights._replace(input_bias=far)), note="gates wide open and shut")


def halves(draw: Draw) -> Case:
    # Sums near 1: in bfloat16 larger ones depend on the order in which they are added up.
    x, (h, c), weights = operands(draw, rows=5)
    low = CellWeights(*((0.3 * w).bfloat16() for w in weights if w is not None))
    state = (h.bfloat16(), (c + c.sign()).bfloat16())
    return Case((x.bfloat16(), state, low), tolerance=0.1, note="bfloat16 throughout")


def walked(subject: Subject, case: Case) -> Any:
    """Outputs and last state of a sequence, the cell being the subject."""
    inputs, state, weights = copied(case.args)
    return run_cell(subject, inputs, state, weights, **copied(dict(case.kwargs)))


def learnt(subject: Subject, case: Case) -> Any:
    """Gradients by the input, both states and all weights."""
    x, (h, c), weights = case.args

    def step(x: Tensor, h: Tensor, c: Tensor, *tensors: Tensor) -> Any:
        return subject(x, (h, c), CellWeights(*tensors))

    return gradients(step, replace(case, args=(x, h, c, *weights)))


def finite(subject: Subject, case: Case) -> Any:
    """Whether all gradients are finite, one for each argument."""
    found = learnt(subject, case)
    return found if isinstance(found, str) else tuple(bool(g.isfinite().all()) for g in found)


PROPERTIES = (
    Property(
        "the first step: input gate, candidate, output gate", from_nothing, tolerance=ROUNDING
    ),
    Property("later steps: the forget gate keeps a share of c", going_on, tolerance=ROUNDING),
    Property("biases may be None", without_biases, tolerance=ROUNDING),
    Property(
        "over sequences of unequal length, from either side",
        sequence,
        observe=walked,
        tolerance=ROUNDING,
        branches=frozenset({"short", "reverse", "forward"}),
    ),
    Property(
        "gradients reach input, state and every weight", going_on, observe=learnt, tolerance=5e-4
    ),
    Property("gates wide open or shut overflow nothing", large),
    Property("nor do their gradients", large, observe=finite),
    Property("bfloat16 in, bfloat16 out", halves),
)


def _gates(x: Tensor, h: Tensor, weights: CellWeights) -> tuple[Tensor, ...]:
    from_input = F.linear(x, weights.input_weight, weights.input_bias)
    both = from_input + F.linear(h, weights.recurrent_weight, weights.recurrent_bias)
    return both.chunk(4, dim=-1)


def coupled(x: Tensor, state: State, weights: CellWeights) -> State:
    h, c = state
    i, _, g, o = _gates(x, h, weights)
    share = torch.sigmoid(i)
    c = (1 - share) * c + share * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def peephole(x: Tensor, state: State, weights: CellWeights, peepholes: Tensor) -> State:
    h, c = state
    i, f, g, o = _gates(x, h, weights)
    for_input, for_forget, for_output = peepholes
    forget = torch.sigmoid(f + for_forget * c)
    c = forget * c + torch.sigmoid(i + for_input * c) * torch.tanh(g)
    return torch.sigmoid(o + for_output * c) * torch.tanh(c), c


def projected(x: Tensor, state: State, weights: CellWeights, projection: Tensor) -> State:
    whole, c = lstm_step(x, (state[0], state[1]), weights)
    return F.linear(whole, projection), c


def _peeping(draw: Draw) -> Case:
    args = operands(draw)
    return Case((*args, draw.normal(3, args[1][0].shape[1])))


def _projecting(draw: Draw) -> Case:
    x, (_, c), weights = operands(draw)
    width, narrow = c.shape[1], draw.size(1, 3)
    h = draw.normal(len(x), narrow)
    weights = weights._replace(recurrent_weight=draw.normal(4 * width, narrow))
    return Case((x, (h, c), weights, draw.normal(narrow, width)))


TWISTS = {
    "coupled": Twist(
        "coupled_lstm_step",
        "`coupled_lstm_step(x, state, weights)`: what is forgotten makes room for what comes in: "
        "the forget gate is 1 - i, and its own weights (still the second quarter) are not used "
        "(Greff et al. 2017, CIFG).",
        coupled,
        (Property("the forget gate is 1 - i", going_on),),
    ),
    "peephole": Twist(
        "peephole_lstm_step",
        "`peephole_lstm_step(x, state, weights, peepholes)`: the gates see the cell too (Gers and "
        "Schmidhuber 2000): `peepholes`, (3, D), are for i, f, o; before their sigmoids, i and f "
        "gain peephole * c of the step before, o gains peephole * c of this step.",
        peephole,
        (Property("the gates see the cell", _peeping),),
    ),
    "projected": Twist(
        "projected_lstm_step",
        "`projected_lstm_step(x, state, weights, projection)`: h is narrower than c: it is "
        "projection @ (o * tanh(c)), `projection` being (P, D), h (B, P) and the recurrent weight "
        "(4 D, P) (Sak et al. 2014). Returns h and c.",
        projected,
        (Property("h is projected", _projecting),),
    ),
}
