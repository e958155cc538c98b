"""A learner's own tests of `mine/masked_lm.py`."""

import torch
from mine.masked_lm import mask_tokens

RULE = {"mask_token_id": 4, "replacements": torch.tensor([5, 6, 7]), "fraction": 0.5}


def row(*draws, ids=(7, 8, 9, 7), starts=None, ordinary=None, **rule):
    """One row; `draws` are three numbers for each token."""
    every = torch.ones(1, len(ids), dtype=torch.bool)
    usual = every if ordinary is None else torch.tensor([ordinary]).bool()
    begins = usual if starts is None else torch.tensor([starts]).bool()
    drawn = torch.tensor([draws], dtype=torch.float64)
    masked, labels = mask_tokens(torch.tensor([ids]), usual, begins, drawn, **(RULE | rule))
    return masked[0].tolist(), labels[0].tolist()


def test_by_hand():
    masked, labels = row((0.9, 0.0, 0.0), (0.1, 0.85, 0.5), (0.5, 0.0, 0.0), (0.3, 0.2, 0.0))
    assert masked == [7, 6, 9, 4]
    assert labels == [-100, 8, -100, 7]


def test_some_stay_and_still_have_a_label():
    masked, labels = row((0.1, 0.95, 0.0), (0.2, 0.0, 0.0), (0.5, 0.0, 0.0), (0.6, 0.0, 0.0))
    assert masked == [7, 4, 9, 7]
    assert labels == [7, 8, -100, -100]


def test_all_draws_low_hides_half_all_the_same():
    draws = [(0.01 * t, 0.0, 0.0) for t in range(4)]
    assert row(*draws)[0] == [4, 4, 9, 7]


def test_all_draws_high_hides_half_too():
    draws = [(0.9 + 0.01 * t, 0.0, 0.0) for t in range(4)]
    assert row(*draws)[0] == [4, 4, 9, 7]


def test_replacements_are_all_three():
    for drawn, word in ((0.0, 5), (0.4, 6), (0.99, 7)):
        draws = [(0.1, 0.85, drawn), *[(0.9, 0.0, 0.0)] * 3]
        assert row(*draws, fraction=0.25)[0][0] == word


def test_the_nearest_number():
    draws = [(0.1 * t, 0.0, 0.0) for t in range(4)]
    assert row(*draws, fraction=0.45)[0] == [4, 4, 9, 7]  # 1.8 of 4


def test_one_at_least():
    draws = [(0.1 * t, 0.0, 0.0) for t in range(4)]
    assert row(*draws, fraction=0.01)[0] == [4, 8, 9, 7]


def test_special_tokens_do_not_count():
    draws = [(0.0, 0.0, 0.0), (0.9, 0.0, 0.0), (0.8, 0.0, 0.0), (0.1, 0.0, 0.0)]
    masked, labels = row(*draws, ids=(2, 8, 9, 0), ordinary=(0, 1, 1, 0))
    assert masked == [2, 8, 4, 0]
    assert labels == [-100, -100, 9, -100]


def test_nothing_to_hide():
    masked, labels = row(*[(0.0, 0.0, 0.0)] * 4, ordinary=(0, 0, 0, 0))
    assert masked == [7, 8, 9, 7]
    assert labels == [-100] * 4


def test_words_are_whole():
    draws = [(0.5, 0.0, 0.0), (0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.9, 0.0, 0.0)]
    masked, _ = row(*draws, starts=(1, 0, 1, 0))
    assert masked == [7, 8, 4, 4]


def test_each_row_by_itself():
    ids = torch.tensor([[7, 8], [7, 8]])
    every = torch.ones(2, 2, dtype=torch.bool)
    draws = torch.tensor([[[0.1, 0, 0], [0.2, 0, 0]], [[0.8, 0, 0], [0.9, 0, 0]]])
    masked, _ = mask_tokens(ids, every, every, draws.double(), **RULE)
    assert masked.tolist() == [[4, 8], [4, 8]]
