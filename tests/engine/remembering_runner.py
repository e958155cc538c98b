"""A runner without a model: it stores tokens where keys would be, and hashes what it reads there.

What follows a text is a function of the text alone, so any block that is mixed up, shared wrongly,
freed too early or computed too late changes an answer.
"""

import zlib
from itertools import pairwise

import torch

VOCABULARY = 13


def follows(tokens):
    """The token after these."""
    return zlib.crc32(bytes(tokens)) % VOCABULARY


def continuation(prompt, length):
    """What the runner makes a greedy sequence write."""
    ids = list(prompt)
    for _ in range(length):
        ids.append(follows(ids))
    return ids[len(prompt) :]


class RememberingRunner:
    """Implements `batch.Runner`.

    Args:
        num_blocks, block_size: of the pool.
        poison: a token after which scores are NaN.
    """

    own_threads = False

    def __init__(self, num_blocks, block_size, poison=None):
        self.num_blocks, self.block_size, self.poison = num_blocks, block_size, poison
        self.stored = [None] * (num_blocks * block_size)
        self.passes = []  # (new tokens, context) of each sequence
        self.adapters = []

    def forward(self, batch):
        starts = batch.query_starts.tolist()
        tables, contexts = batch.block_tables.tolist(), batch.context_lengths.tolist()
        ids, positions = batch.token_ids.tolist(), batch.positions.tolist()
        self.passes.append(
            [(b - a, c) for a, b, c in zip(starts, starts[1:], contexts, strict=False)]
        )
        self.adapters.append(batch.adapters)
        owners = [row for row, (a, b) in enumerate(pairwise(starts)) for _ in range(a, b)]
        assert positions == [
            position
            for a, b, context in zip(starts, starts[1:], contexts, strict=False)
            for position in range(context - (b - a), context)
        ]
        slots = [self._slot(tables[row], at) for row, at in zip(owners, positions, strict=True)]
        assert len(set(slots)) == len(slots), "two tokens in one place"
        for slot, token in zip(slots, ids, strict=True):
            self.stored[slot] = token
        logits = torch.zeros(len(batch.logit_rows), VOCABULARY)
        for place, index in enumerate(batch.logit_rows.tolist()):
            table = tables[owners[index]]
            seen = [self.stored[self._slot(table, at)] for at in range(positions[index] + 1)]
            assert None not in seen, "a place that nobody wrote"
            logits[place, follows(seen)] = 1.0
            if self.poison in seen:
                logits[place] = float("nan")
        return logits

    def describe(self):
        return "remembering"

    def _slot(self, table, position):
        return table[position // self.block_size] * self.block_size + position % self.block_size
