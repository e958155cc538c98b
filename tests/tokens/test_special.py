"""Special tokens, truncation, windows and words, against transformers."""

import random

import pytest
import transformers

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.tokens import special, tokenizer

KINDS = ("bpe", "wordpiece", "unigram")


@pytest.fixture(scope="module")
def folders(corpus_texts, tmp_path_factory):
    paths = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, path in paths.items():
        tokenizer.train(corpus_texts, 600, kind=kind).save(path)
    return paths


@pytest.fixture(scope="module")
def both(folders):
    """Each kind as we and as transformers open it."""
    return {
        kind: (tokens.load(path), transformers.AutoTokenizer.from_pretrained(path))
        for kind, path in folders.items()
    }


def pairs(random_text, seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        yield (
            f"the quick {random_text(rng)} model",
            " ".join(random_text(rng) for _ in range(rng.randint(1, 4))) + " zebra",
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
def test_truncation_equals_transformers(kind, truncation, both, random_text):
    ours, theirs = both[kind]
    compared = 0
    for first, second in pairs(random_text, 3, 150):
        for max_length in (5, 8, 9, 16, 33):
            whole = len(theirs(first, second)["input_ids"])
            cut = theirs(first) if truncation == "only_first" else theirs(second)
            part = len(cut["input_ids"]) - theirs.num_special_tokens_to_add(pair=False)
            if truncation != "longest_first" and whole - part >= max_length:
                continue
            options = {"max_length": max_length, "truncation": truncation}
            got = ours.encode_with_special_tokens(first, second, **options)
            expected = theirs(first, second, return_offsets_mapping=True, **options)
            assert got.input_ids == expected["input_ids"]
            assert got.offsets == expected["offset_mapping"]
            assert len(got) <= max_length
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("kind", KINDS)
def test_one_text_is_cut_to_fit(kind, both, random_text):
    ours, theirs = both[kind]
    for first, second in pairs(random_text, 4, 50):
        got = ours.encode_with_special_tokens(first + second, max_length=7)
        assert got.input_ids == theirs(first + second, max_length=7, truncation=True)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_windows_equal_transformers(kind, both, random_text):
    ours, theirs = both[kind]
    for question, context in pairs(random_text, 5, 60):
        for max_length, stride in ((70, 5), (64, 0)):
            if len(theirs(question)["input_ids"]) > 50:
                continue
            got = special.windows(ours, question, context * 3, max_length=max_length, stride=stride)
            expected = theirs(
                question,
                context * 3,
                max_length=max_length,
                stride=stride,
                truncation="only_second",
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            assert [row.input_ids for row in got] == expected["input_ids"]
            assert [row.offsets for row in got] == expected["offset_mapping"]
            for row in got:
                assert row.sequence_ids.count(0) == len(ours.encode(question))


def test_windows_without_a_question_cover_the_text(both):
    ours, _ = both["wordpiece"]
    text = "the quick model returns a string " * 20
    rows = special.windows(ours, text, max_length=20, stride=4)
    kept = [rows[0].input_ids[1:-1], *(row.input_ids[5:-1] for row in rows[1:])]
    assert [i for ids in kept for i in ids] == ours.encode(text)
    assert all(len(row) <= 20 for row in rows)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_words_equal_transformers(kind, both):
    ours, theirs = both[kind]
    for words in (
        ["EU", "rejects", "the", "naïve", "call", "."],
        ["zebra"],
        ["a-b", "日本", "quick"],
    ):
        got = ours.encode_with_special_tokens(words, is_split_into_words=True)
        expected = theirs(words, is_split_into_words=True, return_offsets_mapping=True)
        assert got.input_ids == expected["input_ids"]
        assert got.word_ids == expected.word_ids()
        assert got.offsets == expected["offset_mapping"]


def test_byte_level_words_begin_with_a_space(both):
    ours, _ = both["bpe"]
    words = ["the", "quick", "zebra"]
    got = ours.encode_with_special_tokens(words, is_split_into_words=True)
    assert got.input_ids == ours.encode(" the quick zebra")
    for token, (start, stop), word in zip(got.input_ids, got.offsets, got.word_ids, strict=True):
        assert words[word][start:stop] == ours.token_bytes[token].decode().strip(" ")


def test_offsets_are_the_text_of_the_tokens(both):
    ours, _ = both["wordpiece"]
    text = "The quick  zebra, naïve!"
    got = ours.encode_with_special_tokens(text)
    words = [text[a:b] for (a, b), s in zip(got.offsets, got.sequence_ids, strict=True) if s == 0]
    assert "".join(words) == text.replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
def test_words_begin_where_text_has_spaces(kind, both):
    ours, _ = both[kind]
    ids = ours.encode("the quick model returns a string")
    begins = ours.begins_word[ids]
    assert ours.begins_word.shape == (ours.vocab_size,)
    # A byte-level vocabulary sees no space before the first word.
    assert begins[1:].sum() == 5
    assert begins[0] == (kind != "bpe")
    assert all(ours.begins_word[ours.id_of(name)] for name in ours.special_tokens)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("a",), {"max_length": 1}, "2 special tokens"),
        (("a " * 50, "b"), {"max_length": 6, "truncation": "only_second"}, "first part alone"),
        (("a", "b " * 50), {"max_length": 6, "truncation": "only_first"}, "second part alone"),
        (("a",), {"is_split_into_words": True}, "list of words"),
        ((["a"],), {}, "a text is needed"),
        (("a\ud800",), {}, "surrogate"),
    ],
)
def test_what_cannot_be_is_refused(arguments, options, message, both):
    with pytest.raises(LmwrightError, match=message):
        both["wordpiece"][0].encode_with_special_tokens(*arguments, **options)


@pytest.mark.parametrize(("max_length", "stride"), [(8, 5), (2, 0), (20, -1)])
def test_windows_without_room_are_refused(max_length, stride, both):
    with pytest.raises(LmwrightError, match="room"):
        special.windows(
            both["wordpiece"][0], "the", "quick " * 9, max_length=max_length, stride=stride
        )
