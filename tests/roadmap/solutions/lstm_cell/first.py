"""The cell with all gates in one product, and the lab's variants."""

import torch
import torch.nn.functional as F

from lmwright.models.cells import CellWeights

REPLACES = "lmwright.models.cells:lstm_step"


def gates(x, h, weights: CellWeights):
    sums = F.linear(x, weights.input_weight, weights.input_bias)
    sums = sums + F.linear(h, weights.recurrent_weight, weights.recurrent_bias)
    return sums.chunk(4, dim=-1)


def lstm_step(x, state, weights: CellWeights):
    h, c = state
    i, f, g, o = gates(x, h, weights)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


def coupled_lstm_step(x, state, weights: CellWeights):
    h, c = state
    i, _, g, o = gates(x, h, weights)
    i = torch.sigmoid(i)
    c = (1 - i) * c + i * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def peephole_lstm_step(x, state, weights: CellWeights, peepholes):
    h, c = state
    i, f, g, o = gates(x, h, weights)
    new = torch.sigmoid(f + peepholes[1] * c) * c
    new = new + torch.sigmoid(i + peepholes[0] * c) * torch.tanh(g)
    return torch.sigmoid(o + peepholes[2] * new) * torch.tanh(new), new


def projected_lstm_step(x, state, weights: CellWeights, projection):
    h, c = lstm_step(x, state, weights)
    return h @ projection.T, c
