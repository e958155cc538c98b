"""What a learner might ask of their own packing."""

import numpy as np
from mine.packing import pack

from lmwright.tokens.packing import TokenDocument


def documents_in(rows):
    found = []
    for ids, targets, numbers in zip(rows.input_ids, rows.targets, rows.document_ids, strict=False):
        for n in range(1, numbers.max() + 1):
            found.append((ids[numbers == n].tolist(), targets[numbers == n].tolist()))
    return sorted(found)


def test_two_documents():
    rows = pack([TokenDocument([5, 6]), TokenDocument([7, 8, 9])], 6, pad_token_id=4)
    assert documents_in(rows) == [([5, 6], [6, -100]), ([7, 8, 9], [8, 9, -100])]
    assert rows.input_ids.shape == (1, 6)
    assert rows.input_ids[0, 5] == 4
    assert rows.targets[0, 5] == -100
    assert rows.document_ids.tolist() == [[1, 1, 1, 2, 2, 0]] or rows.document_ids.tolist() == [
        [1, 1, 2, 2, 2, 0]
    ]


def test_numbers_begin_with_1_in_each_row():
    rows = pack([TokenDocument([5, 6]), TokenDocument([7, 8])], 2, pad_token_id=0)
    assert rows.document_ids.tolist() == [[1, 1], [1, 1]]


def test_mask():
    rows = pack([TokenDocument([1, 2, 3, 4], [False, False, True, True])], 4, pad_token_id=0)
    assert rows.targets.tolist() == [[-100, 3, 4, -100]]


def test_long_document():
    rows = pack([TokenDocument(list(range(1, 8)))], 3, pad_token_id=0)
    assert documents_in(rows) == [([1, 2, 3], [2, 3, 4]), ([4, 5, 6], [5, 6, 7]), ([7], [-100])]


def test_nothing():
    rows = pack([TokenDocument([])], 3, pad_token_id=0)
    assert len(rows) == 0
    assert rows.input_ids.shape == (0, 3)


def test_few_rows():
    rng = np.random.default_rng(0)
    lengths = [60] * 20 + [40] * 20 + [30] * 20 + [35] * 20 + [35] * 20
    rng.shuffle(lengths)
    documents = [TokenDocument([1] * n) for n in lengths]
    assert len(pack(documents, 100, pad_token_id=0)) <= 42


def test_large_ids():
    rows = pack([TokenDocument([70_000, 1])], 2, pad_token_id=0)
    assert rows.input_ids.tolist() == [[70_000, 1]]
    assert pack([TokenDocument([7, 1])], 2, pad_token_id=0).input_ids.dtype == np.uint16
