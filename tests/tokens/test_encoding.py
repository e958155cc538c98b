"""From rows to examples: frames, tags at a word's first token, windows, targets."""

import json
import random

import numpy as np
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.corpora.datasets import Description
from lmwright.pipeline.run import StepRun
from lmwright.tokens import encoding, tokenizer
from lmwright.tokens import examples as stored
from lmwright.tokens.commands import EncodeExamplesConfig, TrainConfig
from lmwright.tokens.example_steps import encode_examples
from lmwright.tokens.packing import IGNORED
from lmwright.tokens.steps import train


@pytest.fixture(scope="module", params=["bpe", "wordpiece"])
def words(request, corpus_texts):
    return tokenizer.train(corpus_texts, 600, kind=request.param)


def frame(words, text):
    """The ids before and after a text."""
    inner = words.encode(text)
    whole = encoding.framed(words, text).input_ids
    start = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
    return whole[:start], whole[start + len(inner) :]


def test_every_text_begins_and_ends_with_a_special_token(words):
    before, after = frame(words, "the model")
    assert len(before) == len(after) == 1
    if words.cls_token_id is not None:
        assert (before, after) == ([words.cls_token_id], [words.sep_token_id])
    else:
        assert before == after == [words.eos_token_id]


def test_a_pair_is_told_apart_and_cut_at_the_longer_text(words):
    first, second = "the quick model " * 20, "returns a string"
    row = {"sentence1": first, "sentence2": second, "label": "b"}
    found = encoding.encode_classes(words, [row], ["a", "b"], 40)
    (ids,), (types,) = found.ids, found.types
    assert len(ids) == len(types) == 40
    kept = len(words.encode(second))
    assert types == [0] * (40 - kept - 1) + [1] * (kept + 1)
    assert ids[-kept - 1 : -1] == words.encode(second)
    assert found.labels == [1]
    assert found.cut == 1


def test_scores_stay_numbers(words):
    found = encoding.encode_classes(words, [{"text": "x", "label": 0.25}], [], 20)
    assert found.examples("regression", words).batch([0]).labels.tolist() == [0.25]


def test_an_unknown_label_is_named(words):
    with pytest.raises(LmwrightError, match="row 1 has the label 'c'"):
        encoding.encode_classes(words, [{"text": "x", "label": "c"}], ["a", "b"], 20)


def test_a_tag_stands_at_the_first_token_of_its_word(words):
    rng = random.Random(0)
    labels = ["O", "B-X", "I-X"]
    rows = []
    for _ in range(30):
        sentence = ["".join(rng.choices("etaoin,.-(ü", k=rng.randint(1, 9))) for _ in range(8)]
        rows.append({"tokens": sentence, "tags": rng.choices(labels, k=8)})
    found = encoding.encode_tags(words, rows, labels, 512)
    for row, ids, tags, places in zip(rows, found.ids, found.labels, found.places, strict=True):
        begins = [i for i, tag in enumerate(tags) if tag != IGNORED]
        assert [labels[tags[i]] for i in begins] == row["tags"]
        assert [places[i][0] for i in begins] == list(range(8))
        # What lies from one first token to the next spells the word.
        ends = [*begins[1:], len(ids) - 1]
        spelled = [words.decode(ids[a:b]) for a, b in zip(begins, ends, strict=True)]
        if words.cls_token_id is None:
            assert [text.strip() for text in spelled] == row["tokens"]


def test_words_beyond_the_longest_example_are_cut_and_counted(words):
    row = {"tokens": ["the", "model"] * 20, "tags": ["O"] * 40}
    found = encoding.encode_tags(words, [row], ["O"], 12)
    assert len(found.ids[0]) == 12
    assert found.cut == 1


def test_answers_lie_in_the_windows_that_hold_them_whole(words):
    context = "the quick zebra " * 10 + "naïve string " + "returns the model " * 10
    begin = context.index("naïve")
    answers = {"text": ["naïve string"], "answer_start": [begin]}
    row = {"question": "which string?", "context": context, "answers": answers}
    found = encoding.encode_questions(words, [row], 48, 12)
    assert len(found.ids) > 2
    held = 0
    for ids, span, places in zip(found.ids, found.labels, found.places, strict=True):
        assert len(ids) == len(places) <= 48
        first, last = span
        if span == (0, 0):
            covered = [p for p in places if p[1] > p[0] >= 0]
            inside = covered[0][0] <= begin and covered[-1][1] >= begin + len("naïve string")
            assert not inside
        else:
            held += 1
            assert context[places[first][0] : places[last][1]].strip() == "naïve string"
    assert held >= 1
    # Every character of the context stands in some window.
    seen = {i for places in found.places for a, b in places for i in range(a, b)}
    assert {i for i, c in enumerate(context) if c != " "} <= seen


def test_a_question_without_room_for_its_context_is_an_error(words):
    row = {"question": "the " * 50, "context": "model", "answers": {"text": [], "answer_start": []}}
    with pytest.raises(LmwrightError, match="stride"):
        encoding.encode_questions(words, [row], 30, 8)


def test_targets_end_and_decoders_start(words):
    rows = [{"source": "the model", "target": "a string"}, {"source": "the " * 90, "target": "x"}]
    found = encoding.encode_sequences(
        words, words, rows, ("source", "target"), (40, 20), drop_long=True
    )
    assert (len(found.ids), found.left_out) == (1, 1)
    end = words.sep_token_id if words.cls_token_id is not None else words.eos_token_id
    assert found.labels[0][-1] == end
    batch = found.examples("translation", words, 5).batch([0])
    assert batch.decoder_input_ids[0, 0] == 5
    assert batch.decoder_input_ids[0, 1:].tolist() == found.labels[0][:-1]
    kept = encoding.encode_sequences(
        words, words, rows, ("source", "target"), (40, 20), drop_long=False
    )
    assert (len(kept.ids[1]), kept.cut, kept.left_out) == (40, 1, 0)


def test_a_long_conversation_keeps_its_last_turns(words):
    source = "\n".join(["the quick model"] * 30 + ["a string"])
    rows = [{"source": source, "target": "a string"}, {"source": "the " * 90, "target": "x"}]
    found = encoding.encode_sequences(
        words, words, rows, ("source", "target"), (40, 20), drop_long=False, keep_end=True
    )
    kept = encoding.last_lines(words, source, 40)
    assert source.endswith("\n" + kept)
    assert kept.count("\n") > 1
    assert found.ids[0] == encoding.framed(words, kept).input_ids
    longer = "the quick model\n" + kept
    assert len(encoding.framed(words, longer)) > 40 >= len(found.ids[0])
    # One turn that is too long by itself is cut as any text.
    assert (len(found.ids[1]), found.cut, found.left_out) == (40, 2, 0)


def dataset(folder, task, columns, rows, labels=()):
    folder.mkdir()
    splits = {"train": rows, "validation": rows[:2], "test": rows[:3]}
    for split, part in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    Description("mine", task, columns, labels, {s: len(r) for s, r in splits.items()}).write(folder)
    return folder


def test_the_step_writes_mapped_arrays_of_every_split(words, tmp_path):
    rows = [{"text": f"the model {'string ' * i}", "label": "ab"[i % 2]} for i in range(9)]
    folder = dataset(tmp_path / "data", "classification", ("text", "label"), rows, ("a", "b"))
    words.save(tmp_path / "words")
    step = StepRun.standalone(tmp_path / "examples")
    encode_examples(
        EncodeExamplesConfig(max_length=8), step, dataset=folder, tokenizer=tmp_path / "words"
    )
    metadata = stored.read_metadata(step.output)
    assert metadata["labels"] == ["a", "b"]
    assert metadata["vocab_size"] == words.vocab_size
    train = stored.open(step.output, "train")
    assert np.array(train.labels).tolist() == [0, 1] * 4 + [0]
    assert train.lengths.max() == 8
    assert any("are cut" in note for note in step.record.notes)


def test_two_sides_may_have_two_tokenizers(trained, tmp_path):
    rows = [{"source": "das modell", "target": "the model"} for _ in range(4)]
    folder = dataset(tmp_path / "data", "translation", ("source", "target"), rows)
    trained.save(tmp_path / "one")
    small = tokenizer.train(["the model " * 20], 300)
    small.save(tmp_path / "two")
    step = StepRun.standalone(tmp_path / "examples")
    encode_examples(
        EncodeExamplesConfig(),
        step,
        dataset=folder,
        tokenizer=tmp_path / "one",
        target_tokenizer=tmp_path / "two",
    )
    metadata = stored.read_metadata(step.output)
    assert metadata["vocab_size"] == trained.vocab_size
    assert metadata["target_vocab_size"] == small.vocab_size
    batch = stored.open(step.output, "train").batch([0])
    assert batch.labels[0].tolist() == [*small.encode("the model"), small.eos_token_id]


def test_text_without_labels_is_refused(trained, tmp_path):
    folder = dataset(tmp_path / "data", "language_modeling", ("text",), [{"text": "x"}] * 4)
    trained.save(tmp_path / "words")
    with pytest.raises(LmwrightError, match="has no labels"):
        encode_examples(
            EncodeExamplesConfig(),
            StepRun.standalone(tmp_path / "examples"),
            dataset=folder,
            tokenizer=tmp_path / "words",
        )


@pytest.mark.parametrize("column", [None, "target"])
def test_a_tokenizer_is_learned_from_a_datasets_texts(tmp_path, column):
    rows = [{"source": f"eins zwei {i}", "target": f"one two {i}"} for i in range(50)]
    folder = dataset(tmp_path / "data", "translation", ("source", "target"), rows)
    step = StepRun.standalone(tmp_path / "train")
    train(TrainConfig(vocab_size=300, column=column), step, dataset=folder)
    words = tokenizer.load(step.output)
    assert len(words.encode("one two")) < len("one two") / 2
    seen = len(words.encode("eins zwei")) < len("eins zwei") / 2
    assert seen == (column is None)


def test_a_tokenizer_needs_one_source_with_the_column_asked_for(tmp_path):
    rows = [{"source": "eins", "target": "one"}] * 4
    folder = dataset(tmp_path / "data", "translation", ("source", "target"), rows)
    step = StepRun.standalone(tmp_path / "train")
    with pytest.raises(LmwrightError, match="neither is given"):
        train(TrainConfig(), step)
    with pytest.raises(LmwrightError, match="its columns: source, target"):
        train(TrainConfig(column="text"), step, dataset=folder)
