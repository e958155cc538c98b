"""Input and state side by side, one matrix; the sigmoid by way of tanh."""

import torch

REPLACES = "lmwright.models.cells:lstm_step"


def squash(x):
    return 0.5 * (torch.tanh(0.5 * x) + 1.0)


def lstm_step(x, state, weights):
    h, c = state
    both = torch.cat((x, h), dim=1)
    matrix = torch.cat((weights.input_weight, weights.recurrent_weight), dim=1)
    sums = torch.einsum("bi,gi->bg", both, matrix)
    for bias in weights[2:]:
        if bias is not None:
            sums = sums + bias
    i, f, g, o = sums.view(len(x), 4, -1).unbind(1)
    c = torch.addcmul(squash(f) * c, squash(i), torch.tanh(g))
    return squash(o) * torch.tanh(c), c
