import random

import numpy as np
import pytest
import torch

from lmwright.core.errors import LmwrightError
from lmwright.tokens.loader import Loader, batch, in_order
from lmwright.tokens.packing import IGNORED, TokenDocument, pack

T = 8


def make_rows(count: int, seed: int = 0):
    """Packed rows whose first id is the row's number."""
    rng = np.random.default_rng(seed)
    documents = [
        TokenDocument(rng.integers(1, 50, rng.integers(1, T + 1))) for _ in range(4 * count)
    ]
    rows = pack(documents, T, pad_token_id=0)
    rows.input_ids[:, 0] = np.arange(len(rows))
    return rows


def numbers(b) -> list[int]:
    return b.input_ids[:, 0].tolist()


def test_batches_hold_the_rows_with_restarting_positions():
    rows = make_rows(10)
    b = batch(rows, np.array([3, 1]))
    assert b.input_ids.dtype == b.targets.dtype == b.position_ids.dtype == torch.int64
    assert b.document_ids.dtype == torch.int32
    assert b.input_ids.tolist() == rows.input_ids[[3, 1]].tolist()
    assert b.targets.tolist() == rows.targets[[3, 1]].tolist()
    assert b.document_ids.tolist() == rows.document_ids[[3, 1]].tolist()
    for documents, positions in zip(b.document_ids.tolist(), b.position_ids.tolist(), strict=True):
        for number in set(documents):
            places = [p for d, p in zip(documents, positions, strict=True) if d == number]
            assert places == list(range(len(places)))
    assert b.trained_tokens() == int((rows.targets[[3, 1]] != IGNORED).sum())
    assert len(b) == 2
    assert numbers(b.slice(1, 2)) == [1]
    assert b.to("cpu").targets.equal(b.targets)


def test_every_epoch_has_every_row_once_in_another_order():
    rows = make_rows(9)
    loader = Loader(rows, batch_rows=4, seed=1)
    line = [n for _ in range(3 * len(rows)) for n in numbers(next(loader))]
    epochs = [line[i * len(rows) : (i + 1) * len(rows)] for i in range(12)]
    assert all(sorted(epoch) == list(range(len(rows))) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 9
    other = Loader(rows, batch_rows=4, seed=2)
    assert [n for _ in range(9) for n in numbers(next(other))] != line[:36]


def test_a_batch_may_be_larger_than_the_epoch():
    rows = make_rows(2)
    loader = Loader(rows, batch_rows=3 * len(rows), seed=0)
    assert sorted(numbers(next(loader))) == sorted(list(range(len(rows))) * 3)


def test_resuming_at_any_point_goes_on_exactly():
    rows, rng = make_rows(7), random.Random(0)
    for _ in range(30):
        batch_rows, before = rng.randint(1, 20), rng.randint(0, 20)
        whole = Loader(rows, batch_rows=batch_rows, seed=5)
        for _ in range(before):
            next(whole)
        resumed = Loader(rows, batch_rows=batch_rows, seed=5)
        resumed.load_state_dict(whole.state_dict())
        assert resumed.epochs == whole.epochs
        for _ in range(5):
            expected, got = next(whole), next(resumed)
            assert expected.input_ids.equal(got.input_ids)
            assert expected.targets.equal(got.targets)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_ranks_together_read_what_one_process_reads(world_size):
    rows = make_rows(6)
    one = Loader(rows, batch_rows=2 * world_size, seed=3)
    ranks = [
        Loader(rows, batch_rows=2, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for _ in range(12):
        parts = [numbers(next(loader)) for loader in ranks]
        assert [n for part in parts for n in part] == numbers(next(one))
    assert {str(loader.state_dict()) for loader in ranks} == {str(one.state_dict())}


def test_a_state_of_other_data_or_another_seed_is_refused():
    rows = make_rows(5)
    state = Loader(rows, batch_rows=2, seed=0).state_dict()
    with pytest.raises(LmwrightError, match="seed"):
        Loader(rows, batch_rows=2, seed=1).load_state_dict(state)
    with pytest.raises(LmwrightError, match="rows"):
        Loader(make_rows(6), batch_rows=2, seed=0).load_state_dict(state)


def test_no_rows_are_refused():
    with pytest.raises(LmwrightError, match="no rows"):
        Loader(pack([], T, pad_token_id=0), batch_rows=2, seed=0)


def test_evaluation_reads_every_row_once_in_order():
    rows = make_rows(7)
    assert [n for b in in_order(rows, batch_rows=4) for n in numbers(b)] == list(range(len(rows)))
