"""What is sent to the device, and how batches are padded; all of it on the CPU."""

import itertools

import numpy as np
import pytest
import torch

from lmwright.engine.batch import Batch
from lmwright.engine.cuda.graphs import Graphs, directly, sizes_up_to
from lmwright.engine.cuda.inputs import Sender
from lmwright.engine.cuda.plan import Tiling, numbers_of, padded, splits_for

BLOCK = 4
CPU = torch.device("cpu")


def one_pass(new, before, wanted=None):
    """A batch of random tokens: so many new ones of each sequence after so many others."""
    ends = [b + n for b, n in zip(before, new, strict=True)]
    needs = [-(-end // BLOCK) for end in ends]
    own = itertools.count()
    tables = [[next(own) for _ in range(need)] for need in needs]
    draw = torch.Generator().manual_seed(sum(ends))
    total = sum(new)
    return Batch(
        token_ids=torch.randint(3, 300, (total,), generator=draw),
        positions=torch.cat([torch.arange(b, e) for b, e in zip(before, ends, strict=True)]),
        query_starts=torch.tensor([0, *new]).cumsum(0).int(),
        context_lengths=torch.tensor(ends).int(),
        block_tables=torch.tensor([t + [0] * (max(needs) - len(t)) for t in tables]).int(),
        logit_rows=torch.arange(total) if wanted is None else torch.tensor(wanted),
    )


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 4]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 24])],
)
def test_sizes_that_are_recorded(most, sizes):
    assert sizes_up_to(most) == sizes


def test_the_device_sees_the_batch_that_was_sent():
    batch = one_pass([1, 9, 20, 3], before=[6, 0, 2, 5], wanted=[0, 9, 29, 31, 32])
    inputs = Sender(CPU).send(numbers_of(batch, Tiling(group=4), BLOCK))
    parts = (inputs.positions, inputs.slots, inputs.logit_rows, inputs.few, inputs.many)
    assert all(part.data_ptr() % 16 == 0 for part in (*parts, inputs.tables))
    assert inputs.token_ids.tolist() == batch.token_ids.tolist()
    assert inputs.positions.tolist() == batch.positions.tolist()
    assert inputs.logit_rows.tolist() == [0, 9, 29, 31, 32]
    tables = inputs.tables.view(-1, 4).T
    assert torch.equal(tables, batch.block_tables)
    # Four heads to a group: 16 rows hold 4 tokens, 64 rows hold 16.
    assert inputs.few.view(-1, 3).tolist() == [[0, 0, 1], [3, 30, 33]]
    assert inputs.many.view(-1, 3).tolist() == [[1, 1, 10], [2, 10, 26], [2, 26, 30]]
    owner = [0] + [1] * 9 + [2] * 20 + [3] * 3
    for token, slot in enumerate(inputs.slots.tolist()):
        position = int(batch.positions[token])
        assert slot // BLOCK == batch.block_tables[owner[token], position // BLOCK]
        assert slot % BLOCK == position % BLOCK


@pytest.mark.parametrize("group", [1, 3, 5, 16, 18, 71])
def test_pieces_hold_every_token_once_and_fit_their_tiles(group):
    batch, tiling = one_pass([1, 40, 2, 17], before=[3, 0, 1, 9]), Tiling(group)
    inputs = Sender(CPU).send(numbers_of(batch, tiling, BLOCK))
    starts, seen = batch.query_starts.tolist(), []
    for pieces, rows in ((inputs.few, tiling.few), (inputs.many, tiling.many)):
        for sequence, first, end in pieces.view(-1, 3).tolist():
            assert starts[sequence] <= first < end <= starts[sequence + 1]
            assert (end - first) * group <= rows
            seen += range(first, end)
    assert sorted(seen) == list(range(60))


def test_padding_adds_rows_that_touch_the_spare_block_alone():
    batch = one_pass([1, 1, 1], before=[6, 0, 9], wanted=[2, 0])
    whole = padded(batch, 8, spare_block=77)
    inputs = Sender(CPU).send(numbers_of(whole, Tiling(1), BLOCK))
    assert inputs.sizes.tokens == inputs.sizes.few == inputs.sizes.sequences == 8
    assert inputs.token_ids[:3].tolist() == batch.token_ids.tolist()
    assert inputs.logit_rows.tolist() == [2, 0, 0, 0, 0, 0, 0, 0]
    assert inputs.positions.tolist() == [6, 0, 9, 0, 0, 0, 0, 0]
    assert inputs.slots[3:].tolist() == [77 * BLOCK] * 5
    assert inputs.tables.view(-1, 8).T[:3].tolist() == batch.block_tables.tolist()
    assert batch.block_tables.shape == (3, 3)  # itself as it was


@pytest.mark.parametrize(
    ("pieces", "key_heads", "splits"), [(1, 8, 32), (1, 1, 64), (4, 8, 8), (16, 8, 2), (40, 8, 1)]
)
def test_few_sequences_are_spread_over_all_processors(pieces, key_heads, splits):
    assert splits_for(pieces, key_heads, processors=132) == splits


class Recorder:
    """Stands for a model: notes which sizes are recorded, and scores a token by its number."""

    def __init__(self):
        self.captured, self.played = [], []

    def compute(self, inputs):
        self.played.append(inputs.sizes.tokens)
        return inputs.token_ids.index_select(0, inputs.logit_rows)[:, None].float()

    def capture(self, work):
        self.captured.append(len(work()))
        return directly(work)

    def graphs(self, most):
        return Graphs(
            self.compute,
            self.capture,
            Sender(CPU),
            most=most,
            tiling=Tiling(1),
            block_size=BLOCK,
            spare_block=50,
            longest_table=8,
        )


def test_each_size_is_recorded_once_and_played_for_all_that_fit():
    recorder = Recorder()
    graphs = recorder.graphs(most=9)
    for before in ([3] * 3, [30, 0, 2, 4], [1], [5] * 3, [7] * 9, [0]):
        batch = one_pass([1] * len(before), before)
        found = graphs.run(batch, graphs.size_for(batch))
        assert found[:, 0].tolist() == batch.token_ids.tolist()
    assert recorder.captured == [4, 1, 16]


def test_results_outlive_the_next_pass():
    graphs = Recorder().graphs(most=2)
    first, second = one_pass([1, 1], [2, 3]), one_pass([1, 1], [4, 9])
    kept = graphs.run(first, 2)
    graphs.run(second, 2)
    assert kept[:, 0].tolist() == first.token_ids.tolist()


def test_only_continued_sequences_are_recorded():
    graphs = Recorder().graphs(most=4)
    assert graphs.size_for(one_pass([1, 1, 1], [2, 2, 2])) == 4
    assert graphs.size_for(one_pass([1, 2], [2, 2])) is None  # a draft, or a prompt
    assert graphs.size_for(one_pass([1] * 5, [2] * 5)) is None  # more than may run
    assert graphs.size_for(one_pass([1], [40])) is None  # longer than a table
    assert graphs.size_for(one_pass([1], [2], wanted=[0, 0])) is None


def test_numbers_fit_the_bits_they_are_sent_in():
    numbers = numbers_of(one_pass([1], [2]), Tiling(1), BLOCK)
    assert numbers.values.dtype == np.int32
    assert len(numbers.values) == numbers.sizes.starts[-1] + 1
