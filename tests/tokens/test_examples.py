"""Batches of labelled examples: slicing, storing, and the loader's order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.core.errors import LmwrightError
from lmwright.tokens import examples as stored
from lmwright.tokens.example_loader import ExampleLoader, in_order
from lmwright.tokens.examples import ExampleBatch, Examples, shifted_right
from lmwright.tokens.packing import IGNORED

PAD = 0


def random_examples(task="classification", count=40, seed=0, longest=17) -> Examples:
    """Examples of random length whose first token is their number, so that each is known again."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, longest + 1, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = draw.integers(1, 50, starts[-1]).astype(np.uint16)
    ids[starts[:-1]] = np.arange(count) + 100
    targets = draw.integers(1, longest, count)
    label_starts = np.concatenate([[0], np.cumsum(targets)])
    labels = {
        "classification": draw.integers(0, 3, count),
        "regression": draw.random(count).astype(np.float32),
        "tagging": np.where(
            draw.random(starts[-1]) < 0.5, IGNORED, draw.integers(0, 4, starts[-1])
        ),
        "question_answering": draw.integers(0, 5, (count, 2)),
        "translation": draw.integers(1, 50, label_starts[-1]),
    }[task]
    sequences = task == "translation"
    return Examples(
        task=task,
        pad_token_id=PAD,
        input_ids=ids,
        starts=starts,
        labels=labels,
        rows=np.arange(count),
        label_starts=label_starts if sequences else None,
        token_types=(draw.random(starts[-1]) < 0.5).astype(np.uint8) if task != "tagging" else None,
        places=draw.integers(0, 9, (starts[-1], 2)).astype(np.int32) if task == "tagging" else None,
        decoder_start_token_id=7 if sequences else None,
    )


TASKS = ["classification", "regression", "tagging", "question_answering", "translation"]


def same(a: ExampleBatch, b: ExampleBatch) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in vars(a)]
    return all((x is None) == (y is None) and (x is None or torch.equal(x, y)) for x, y in pairs)


@pytest.mark.parametrize("task", TASKS)
def test_a_slice_equals_the_batch_of_its_rows_alone(task):
    examples = random_examples(task)
    whole = examples.batch(range(10, 30))
    for start, stop in [(0, 20), (0, 1), (3, 9), (19, 25)]:
        rows = range(10 + start, min(10 + stop, 30))
        assert same(whole.slice(start, stop), examples.batch(rows))


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_has_the_types_that_models_expect(task):
    batch = random_examples(task).batch([3, 1, 2])
    assert len(batch) == 3
    assert batch.input_ids.dtype == batch.attention_mask.dtype == torch.int64
    assert batch.labels.dtype == (torch.float32 if task == "regression" else torch.int64)
    rows, width = batch.input_ids.shape
    shapes = {"tagging": (rows, width), "question_answering": (rows, 2)}
    if task == "translation":
        assert batch.labels.shape == batch.decoder_input_ids.shape
    else:
        assert batch.labels.shape == shapes.get(task, (rows,))
    assert (batch.input_ids[batch.attention_mask == 0] == PAD).all()
    assert batch.input_ids[:, 0].tolist() == [103, 101, 102]


def test_spans_and_tags_of_two_tokens_are_told_apart():
    def two(labels):
        ids = torch.tensor([[1, 2], [1, 0]])
        return ExampleBatch(ids, torch.tensor([[1, 1], [1, 0]]), torch.tensor(labels))

    assert two([[0, 1], [0, 0]]).slice(1, 2).labels.shape == (1, 2)


def test_tokens_are_counted_without_padding():
    examples = random_examples("translation")
    batch = examples.batch(range(5))
    assert batch.token_count() == int(
        examples.lengths[:5].sum() + examples.target_lengths[:5].sum()
    )


def test_decoder_inputs_are_the_targets_one_place_later():
    labels = torch.tensor([[5, 6, 9], [8, 9, IGNORED]])
    assert shifted_right(labels, 7, PAD).tolist() == [[7, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("task", TASKS)
def test_what_was_written_is_read_again(task, tmp_path):
    examples = random_examples(task)
    stored.write({"train": examples}, tmp_path, extra={"labels": ["a", "b"]})
    opened = stored.open(tmp_path, "train")
    assert isinstance(opened.input_ids, np.memmap)
    assert stored.read_metadata(tmp_path)["labels"] == ["a", "b"]
    assert same(opened.batch(range(40)), examples.batch(range(40)))


def test_damage_and_absence_are_named(tmp_path):
    stored.write({"train": random_examples()}, tmp_path, extra={})
    with pytest.raises(LmwrightError, match="no split 'test'"):
        stored.open(tmp_path, "test")
    file = tmp_path / "train" / "input_ids.npy"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(LmwrightError, match=r"input_ids\.npy is damaged"):
        stored.open(tmp_path, "train")
    file.unlink()
    with pytest.raises(LmwrightError, match="does not exist"):
        stored.open(tmp_path, "train")


@pytest.mark.parametrize("task", TASKS)
def test_a_part_holds_the_chosen_examples(task):
    examples = random_examples(task)
    chosen = np.array([5, 2, 30])
    assert same(examples.take(chosen).batch(range(3)), examples.batch(chosen))
    assert len(examples.spread(7)) == 7
    assert examples.spread(1000) is examples


@pytest.mark.parametrize("task", TASKS)
@given(batch_tokens=st.integers(1, 300), seed=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_an_epoch_shows_every_example_once_within_the_budget(task, batch_tokens, seed):
    examples = random_examples(task, seed=seed)
    loader = ExampleLoader(examples, batch_tokens=batch_tokens, seed=seed)
    for epoch in range(2):
        seen = []
        while loader.epochs < epoch + 1:
            batch = next(loader)
            seen += batch.input_ids[:, 0].tolist()
            size = batch.input_ids.numel()
            size += 0 if batch.decoder_input_ids is None else batch.decoder_input_ids.numel()
            assert size <= batch_tokens or len(batch) == 1
            assert len(batch) <= loader.most_rows
        assert sorted(seen) == [i + 100 for i in range(40)]


def test_a_resumed_loader_goes_on_to_the_bit():
    examples = random_examples(count=200)
    whole = ExampleLoader(examples, batch_tokens=64, seed=3)
    batches = [next(whole) for _ in range(whole.batches_per_epoch + 20)]
    for stop in (0, 1, 17, whole.batches_per_epoch - 1, whole.batches_per_epoch + 3):
        first = ExampleLoader(examples, batch_tokens=64, seed=3)
        for _ in range(stop):
            next(first)
        second = ExampleLoader(examples, batch_tokens=64, seed=3)
        second.load_state_dict(first.state_dict())
        assert all(same(next(second), batches[i]) for i in range(stop, stop + 5))


def test_another_seed_is_another_order_and_another_state():
    examples = random_examples(count=200)
    first, second = (ExampleLoader(examples, batch_tokens=64, seed=s) for s in (0, 1))
    assert not same(next(first), next(second))
    with pytest.raises(LmwrightError, match="has seed 0, this run 1"):
        second.load_state_dict(first.state_dict())


def test_ranks_together_read_what_one_process_would():
    examples = random_examples(count=120)
    alone = ExampleLoader(examples, batch_tokens=50, seed=0)
    ranks = [
        ExampleLoader(examples, batch_tokens=50, seed=0, rank=r, world_size=3) for r in range(3)
    ]
    for _ in range(alone.batches_per_epoch):
        assert all(same(next(rank), next(alone)) for rank in ranks)


def test_batches_of_like_lengths_hold_little_padding():
    examples = random_examples(count=3000, longest=60)
    loader = ExampleLoader(examples, batch_tokens=1000, seed=0)
    batches = [next(loader) for _ in range(loader.batches_per_epoch)]
    padded = sum(batch.input_ids.numel() for batch in batches)
    assert examples.starts[-1] / padded > 0.93
    # And yet the order is not one of length.
    widths = [batch.input_ids.shape[1] for batch in batches]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3


def test_evaluation_reads_in_order():
    examples = random_examples(count=10)
    batches = list(in_order(examples, batch_rows=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert torch.cat([b.input_ids[:, 0] for b in batches]).tolist() == list(range(100, 110))


def test_no_examples_are_an_error():
    empty = random_examples(count=5).take(np.array([0]))
    empty.starts = np.zeros(1, np.int64)
    with pytest.raises(LmwrightError, match="no examples"):
        ExampleLoader(empty, batch_tokens=10, seed=0)
