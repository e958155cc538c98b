"""Gate by gate, each with its own rows of the matrices."""

REPLACES = "lmwright.models.cells:lstm_step"


def lstm_step(x, state, weights):
    h, c = state
    size = c.shape[1]

    def gate(number):
        rows = slice(number * size, (number + 1) * size)
        total = x @ weights.input_weight[rows].T + h @ weights.recurrent_weight[rows].T
        if weights.input_bias is not None:
            total = total + weights.input_bias[rows]
        if weights.recurrent_bias is not None:
            total = total + weights.recurrent_bias[rows]
        return total

    comes_in, stays, candidate, told = gate(0).sigmoid(), gate(1).sigmoid(), gate(2), gate(3)
    memory = stays * c + comes_in * candidate.tanh()
    return told.sigmoid() * memory.tanh(), memory
