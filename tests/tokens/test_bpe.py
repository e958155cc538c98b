"""Byte-pair encoding written out, against the `tokenizers` library and OpenAI's tiktoken."""

import json
import random

import pytest
import regex
import tiktoken

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.tokens import tokenizer
from lmwright.tokens.bpe import BytePairs
from lmwright.tokens.byte_level import read_merges
from lmwright.tokens.stream import byte_of_character
from tests.tokens.conftest import make_corpus, make_text
from tests.tokens.test_byte_level import PATTERN


@pytest.fixture
def in_python(monkeypatch):
    """Vocabularies are learned by the readable twin."""
    monkeypatch.setattr(parts, "in_use", lambda target: target == "lmwright.tokens.bpe:BytePairs")


def written(learned, folder):
    learned.save(folder)
    return (folder / "tokenizer.json").read_bytes()


def random_corpus(seed):
    """A few words of few letters: many pairs are equally frequent."""
    rng = random.Random(seed)
    letters = rng.choice(["ab", "abc", "abcdefgh é日", "aB0 .,"])
    words = ["".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(60)]
    return [" ".join(rng.choices(words, k=40)) for _ in range(rng.randint(1, 6))]


CORPORA = [(random_corpus, seed) for seed in range(20)] + [(make_corpus, s) for s in range(5)]


@pytest.mark.parametrize(("corpus", "seed"), CORPORA)
def test_the_tokenizer_is_the_librarys_to_the_byte(corpus, seed, tmp_path, monkeypatch):
    texts, size = corpus(seed), 259 + random.Random(seed).randint(1, 300)
    expected = written(tokenizer.train(texts, size), tmp_path / "library")
    monkeypatch.setattr(parts, "in_use", lambda target: True)
    assert written(tokenizer.train(texts, size), tmp_path / "ours") == expected


def test_real_text_gives_the_librarys_tokenizer(data, tmp_path, monkeypatch):
    text = (data / "tiny_shakespeare" / "input.txt").read_text("utf-8")
    texts = text.split("\n\n")
    expected = written(tokenizer.train(texts, 2048), tmp_path / "library")
    monkeypatch.setattr(parts, "in_use", lambda target: True)
    assert written(tokenizer.train(texts, 2048), tmp_path / "ours") == expected


def test_words_are_split_as_the_library_splits_them():
    learned = tokenizer.train(make_corpus(seed=1), 700)
    byte_of = byte_of_character()
    model = json.loads(learned.rust.to_str())["model"]
    merges = [tuple(bytes(byte_of[c] for c in token) for token in pair) for pair in model["merges"]]
    pairs = BytePairs(merges)
    rng = random.Random(0)
    for _ in range(300):
        visible = "".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 20)))
        tokens = [token.value for token in learned.rust.model.tokenize(visible)]
        assert [t.decode() for t in pairs.split(visible.encode())] == tokens


def test_gpt2s_merges_give_tiktokens_ids_and_every_text_back(data):
    byte_of = byte_of_character()
    file = data / "gpt2_vocab" / "vocab.bpe"
    merges = read_merges(file.read_bytes(), file)
    pairs = BytePairs([tuple(bytes(byte_of[c] for c in t) for t in pair) for pair in merges])
    encoder = json.loads((data / "gpt2_vocab" / "encoder.json").read_text())
    ids = {bytes(byte_of[c] for c in t): i for t, i in encoder.items() if t != "<|endoftext|>"}
    openai = tiktoken.Encoding("gpt2-here", pat_str=PATTERN, mergeable_ranks=ids, special_tokens={})
    rng = random.Random(0)
    texts = [make_text(rng) for _ in range(1_000)]
    texts += (data / "tiny_shakespeare" / "input.txt").read_text("utf-8").split("\n\n")[:300]
    for text in texts:
        tokens = [t for word in regex.findall(PATTERN, text) for t in pairs.split(word.encode())]
        assert [ids[token] for token in tokens] == openai.encode_ordinary(text)
        assert b"".join(tokens).decode() == text


def test_equal_counts_are_settled_by_ids():
    words = {b"zy": 2, b"cd": 2, b"ce": 2}
    assert BytePairs.train(words, 300).merges == [(b"c", b"d"), (b"c", b"e"), (b"z", b"y")]
    # A merged token is younger than every byte.
    words = {b"abk": 3, b"zq": 3, b"ab": 1}
    assert BytePairs.train(words, 300).merges == [(b"a", b"b"), (b"z", b"q"), (b"ab", b"k")]


def test_it_stops_where_nothing_repeats():
    assert BytePairs.train({b"ab": 1, b"cd": 2}, 300).merges == [(b"c", b"d")]
    assert BytePairs.train({b"abab": 9}, 256).merges == []
    assert BytePairs.train({}, 300).merges == []


@pytest.mark.parametrize(
    ("texts", "message"), [([], "no text"), (["", ""], "no text"), (["a\ud800"] * 5, "surrogate")]
)
def test_what_cannot_be_used_is_refused_alike(in_python, texts, message):
    with pytest.raises(LmwrightError, match=message):
        tokenizer.train(texts, 600)
