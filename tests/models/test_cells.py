"""The cells from their equations against torch.nn's fused networks."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmwright.models import cells
from lmwright.models.cells import CellNetwork, CellWeights
from tests.models.cases import relative

FUSED = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
KINDS = sorted(FUSED)


def pair(kind, layers, bidirectional, seed=0):
    """The same network twice: ours and torch's, by one state dict."""
    torch.manual_seed(seed)
    shape = {"bidirectional": bidirectional}
    fused = FUSED[kind](5, 7, layers, batch_first=True, **shape).double()
    ours = CellNetwork(kind, 5, 7, layers, **shape).double()
    ours.load_state_dict(fused.state_dict(), strict=True)
    return ours, fused


def start(kind, layers, bidirectional, rows):
    rows = (layers * (1 + bidirectional), rows, 7)
    parts = 2 if kind == "lstm" else 1
    return tuple(torch.randn(rows, dtype=torch.float64).requires_grad_() for _ in range(parts))


def fused_state(state):
    return state if len(state) == 2 else state[0]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, [6, 1, 4, 6]])
def test_outputs_states_and_gradients_equal_torchs(kind, layers, bidirectional, lengths):
    ours, fused = pair(kind, layers, bidirectional)
    inputs = torch.randn(4, 6, 5, dtype=torch.float64)
    state = start(kind, layers, bidirectional, 4)
    weigh = torch.randn(4, 6, 7 * (1 + bidirectional), dtype=torch.float64)
    results = []
    for network in (ours, fused):
        x = inputs.clone().requires_grad_()
        first = tuple(part.detach().clone().requires_grad_() for part in state)
        if network is ours:
            counted = None if lengths is None else torch.tensor(lengths)
            outputs, end = ours(x, first, counted)
        else:
            given = x
            if lengths is not None:
                given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            outputs, end = fused(given, fused_state(first))
            end = end if isinstance(end, tuple) else (end,)
            if lengths is not None:
                outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=6)
        loss = (outputs * weigh).sum() + sum(part.square().sum() for part in end)
        named = dict(network.named_parameters())
        wanted = [x, *first, *(named[name] for name in sorted(named))]
        results.append([outputs, *end, *torch.autograd.grad(loss, wanted)])

    for found, expected in zip(*results, strict=True):
        assert relative(found, expected) <= 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_go_both_ways(kind):
    ours, fused = pair(kind, 2, True)
    fused.load_state_dict(ours.state_dict(), strict=True)
    assert ours.state_dict().keys() == fused.state_dict().keys()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind, reverse):
    torch.manual_seed(1)
    gates = cells.GATES[kind] * 3

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    weights = CellWeights(draw(gates, 2), draw(gates, 3), draw(gates), draw(gates))
    state = tuple(draw(2, 3) for _ in range(2 if kind == "lstm" else 1))
    inputs = draw(2, 4, 2)
    lengths = torch.tensor([4, 2])

    def run(x, *tensors):
        parts, given = tensors[: len(state)], CellWeights(*tensors[len(state) :])
        step = cells.step_of(kind)
        outputs, end = cells.run_cell(step, x, parts, given, lengths=lengths, reverse=reverse)
        return outputs, *end

    assert torch.autograd.gradcheck(run, (inputs, *state, *weights))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_tokens_keeps_its_state(kind):
    ours, _ = pair(kind, 1, False)
    state = start(kind, 1, False, 2)
    outputs, end = ours(torch.randn(2, 3, 5).double(), state, torch.tensor([0, 3]))
    assert not outputs[0].any()
    for before, after in zip(state, end, strict=True):
        assert torch.equal(before[:, 0], after[:, 0])
        assert not torch.equal(before[:, 1], after[:, 1])


def test_a_gru_that_updates_nothing_copies_its_state():
    """z = 1 keeps h: the closed form that says which way round z is."""
    state = (torch.randn(2, 3),)
    bias = torch.tensor([0.0] * 3 + [40.0] * 3 + [0.0] * 3)
    weights = CellWeights(torch.zeros(9, 4), torch.zeros(9, 3), bias, torch.zeros(9))
    (after,) = cells.gru_step(torch.randn(2, 4), state, weights)
    assert torch.equal(after, state[0])


def test_an_lstm_with_open_gates_adds_up():
    """f = i = 1 and a large candidate: c counts the steps (the constant error carousel)."""
    bias = torch.tensor([40.0, 40.0, 40.0, -40.0])
    weights = CellWeights(torch.zeros(4, 1), torch.zeros(4, 1), bias, None)
    state = (torch.zeros(1, 1), torch.zeros(1, 1))
    _, (hidden, cell) = cells.run_cell(cells.lstm_step, torch.zeros(1, 6, 1), state, weights)
    assert cell.item() == 6.0
    assert hidden.abs().item() < 1e-12
