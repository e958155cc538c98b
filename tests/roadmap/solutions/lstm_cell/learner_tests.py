"""A learner's own tests of `mine/lstm_cell.py`."""

import torch
from mine.lstm_cell import lstm_step

from lmwright.models.cells import CellWeights


def weights(i=0.0, f=0.0, g=0.0, o=0.0, size=1):
    """No weights, one bias for each gate."""
    bias = torch.tensor([i, f, g, o]).repeat_interleave(size)
    zeros = torch.zeros(4 * size, 1)
    return CellWeights(zeros, torch.zeros(4 * size, size), bias, torch.zeros(4 * size))


def step(h=0.0, c=0.0, x=1.0, **gates):
    state = (torch.tensor([[h]]), torch.tensor([[c]]))
    new_h, new_c = lstm_step(torch.tensor([[x]]), state, weights(**gates))
    return new_h.item(), new_c.item()


def test_all_zero():
    h, c = step(c=1.0)
    assert abs(c - 0.5) < 1e-6
    assert abs(h - 0.5 * torch.tanh(torch.tensor(0.5)).item()) < 1e-6


def test_the_second_gate_keeps():
    assert abs(step(c=3.0, f=100.0, i=-100.0)[1] - 3.0) < 1e-6
    assert abs(step(c=3.0, f=-100.0, i=-100.0)[1]) < 1e-6


def test_the_first_gate_lets_in():
    assert abs(step(i=100.0, g=100.0)[1] - 1.0) < 1e-6
    assert abs(step(i=-100.0, g=100.0)[1]) < 1e-6


def test_the_candidate_may_be_negative():
    assert step(i=100.0, g=-100.0)[1] < -0.99


def test_the_fourth_gate_tells():
    assert step(c=2.0, f=100.0, i=-100.0, o=-100.0)[0] == 0.0
    h, c = step(c=2.0, f=100.0, i=-100.0, o=100.0)
    assert abs(h - torch.tanh(torch.tensor(2.0)).item()) < 1e-6
    assert abs(c - 2.0) < 1e-6


def test_c_counts():
    c = 0.0
    for _ in range(5):
        _, c = step(c=c, f=100.0, i=100.0, g=100.0)
    assert abs(c - 5.0) < 1e-5


def test_both_biases_and_the_state_count():
    given = CellWeights(
        torch.zeros(4, 1),
        torch.tensor([[0.0], [0.0], [1.0], [0.0]]),
        torch.tensor([100.0, -100.0, 0.0, 0.0]),
        torch.tensor([0.0, 0.0, 0.5, 0.0]),
    )
    state = (torch.tensor([[2.0]]), torch.tensor([[7.0]]))
    _, c = lstm_step(torch.ones(1, 1), state, given)
    assert abs(c.item() - torch.tanh(torch.tensor(2.5)).item()) < 1e-5


def test_gates_have_their_rows_together():
    given = weights(i=100.0, f=-100.0, g=100.0, size=3)
    _, c = lstm_step(torch.ones(2, 1), (torch.zeros(2, 3), torch.ones(2, 3)), given)
    assert torch.allclose(c, torch.ones(2, 3))


def test_without_biases():
    given = CellWeights(torch.zeros(4, 1), torch.zeros(4, 1))
    _, c = lstm_step(torch.ones(1, 1), (torch.zeros(1, 1), torch.ones(1, 1)), given)
    assert abs(c.item() - 0.5) < 1e-6


def test_shut_and_open_gates_stay_finite():
    h, c = step(c=1.0, i=1e4, f=-1e4, g=1e4, o=1e4)
    assert abs(h) <= 1.0
    assert abs(c - 1.0) < 1e-6


def test_the_gradient_goes_back_through_c():
    c = torch.tensor([[0.3]], requires_grad=True)
    _, new = lstm_step(torch.ones(1, 1), (torch.zeros(1, 1), c), weights(f=100.0))
    new.sum().backward()
    assert abs(c.grad.item() - 1.0) < 1e-6


def test_half_precision_stays():
    low = CellWeights(*(w.bfloat16() for w in weights()))
    state = (torch.zeros(1, 1).bfloat16(), torch.ones(1, 1).bfloat16())
    h, c = lstm_step(torch.ones(1, 1).bfloat16(), state, low)
    assert h.dtype == c.dtype == torch.bfloat16
