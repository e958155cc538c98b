import torch
from mine.beam_search import beam_search


class Table:
    """Logits by the tokens so far, the same for each source but for its own table."""

    def __init__(self, *tables, vocabulary=3):
        self.tables, self.vocabulary = tables, vocabulary
        self.rows = [(n, None) for n in range(len(tables))]

    def step(self, token_ids):
        self.rows = [
            (n, () if text is None else (*text, int(token)))
            for (n, text), token in zip(self.rows, token_ids, strict=True)
        ]
        return torch.stack([self.row(*row) for row in self.rows])

    def row(self, n, text):
        given = self.tables[n].get(text, [1] * self.vocabulary)
        return torch.tensor(given, dtype=torch.float32).log()

    def select(self, rows):
        self.rows = [self.rows[row] for row in rows.tolist()]


def search(*tables, ends=(), max_tokens=2, beams=2, alpha=0.0):
    return beam_search(
        Table(*tables),
        torch.zeros(len(tables), dtype=torch.long),
        torch.tensor(ends, dtype=torch.long),
        max_tokens,
        beams,
        lambda length: ((5 + length) / 6) ** alpha,
    )


# The likeliest first token leads nowhere; the second one leads on.
TRAP = {(): [5, 4, 1], (0,): [4, 3, 3], (1,): [9, 0.5, 0.5]}


def test_one_beam_is_greedy_and_two_are_better():
    assert search(TRAP, beams=1) == [[0, 0]]
    assert search(TRAP, beams=2) == [[1, 0]]


def test_both_best_may_go_on_from_one_beam():
    table = {(): [8, 1, 1], (0,): [4, 5, 1], (0, 0): [8, 1, 1], (0, 1): [4, 3, 3]}
    assert search(table, max_tokens=3) == [[0, 0, 0]]


def test_scores_are_log_probabilities():
    table = {(): [5, 4, 1], (0,): [40, 30, 30], (1,): [9, 0.5, 0.5]}
    assert search(table) == [[1, 0]]


def test_an_end_among_the_best_counts_without_its_token():
    table = {(): [1, 8, 1], (1,): [8, 1, 1]}
    assert search(table, ends=[0], max_tokens=3) == [[1]]
    assert search({(): [8, 1, 1]}, ends=[0], max_tokens=3) == [[]]


def test_an_end_that_is_not_among_the_best_does_not_count():
    table = {(): [2, 3, 5], (2,): [1.0, 1.2, 1.1]}
    assert search(table, ends=[0], max_tokens=2) == [[2, 1]]


def test_a_better_target_may_end_later():
    table = {(): [4, 6, 0.01], (1,): [8, 1, 1]}
    assert search(table, ends=[0], max_tokens=3) == [[1]]


def test_the_length_penalty_counts_the_end():
    table = {(): [45, 55, 0.01], (1,): [78, 11, 11]}
    assert search(table, ends=[0], max_tokens=3) == [[]]
    assert search(table, ends=[0], max_tokens=3, alpha=1.0) == [[1]]


def test_sources_do_not_mix():
    other = {(): [1, 1, 8], (2,): [1, 8, 1]}
    assert search(TRAP, other) == [[1, 0], [2, 1]]
    assert search(other, TRAP) == [[2, 1], [1, 0]]
