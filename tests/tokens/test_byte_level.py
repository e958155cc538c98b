"""GPT-2's and RoBERTa's files against tiktoken and transformers."""

import itertools
import json

import pytest
import tiktoken
import transformers

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.tokens.stream import byte_of_character
from tests.tokens.published_texts import dataset_texts

# GPT-2's `encoder.py`.
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


@pytest.fixture(scope="module")
def gpt2(data):
    return tokens.load(data / "gpt2_vocab")


@pytest.fixture(scope="module")
def openai(data):
    """tiktoken's own encoding, from the local file."""
    ids = json.loads((data / "gpt2_vocab" / "encoder.json").read_text())
    byte_of = byte_of_character()
    ranks = {
        bytes(byte_of[character] for character in token): rank
        for token, rank in ids.items()
        if token != "<|endoftext|>"
    }
    return tiktoken.Encoding(
        "local-gpt2",
        pat_str=PATTERN,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": ids["<|endoftext|>"]},
    )


def test_gpt2_ids_equal_tiktoken(gpt2, openai, data, random_text):
    texts = dataset_texts(data, random_text)
    assert len(texts) > 3000
    for text, ids in zip(texts, gpt2.encode_batch(texts), strict=True):
        assert ids == openai.encode_ordinary(text)
        assert gpt2.decode(ids) == text


@pytest.mark.slow
def test_gpt2_ids_equal_tiktoken_on_whole_files(gpt2, openai, data):
    files = [f for f in data.rglob("*") if f.suffix in (".txt", ".csv", ".json", ".tsv", ".conllu")]
    checked = 0
    for file in files:
        try:
            text = file.read_text("utf-8")
        except UnicodeDecodeError:
            text = file.read_text("latin-1")
        assert gpt2.encode(text) == openai.encode_ordinary(text), file.name
        checked += len(text)
    assert checked > 10_000_000


def test_gpt2_has_one_special_token_and_adds_none(gpt2):
    assert gpt2.vocab_size == 50257
    assert gpt2.eos_token_id == gpt2.pad_token_id == 50256
    assert gpt2.special_tokens == ("<|endoftext|>",)
    assert gpt2.encode_with_special_tokens("Hello").input_ids == gpt2.encode("Hello")


def test_the_other_names_of_the_files_give_the_same(gpt2, data, tmp_path):
    for ours, theirs in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        (tmp_path / theirs).write_bytes((data / "gpt2_vocab" / ours).read_bytes())
    assert tokens.load(tmp_path).encode("Hello wörld") == gpt2.encode("Hello wörld")


@pytest.fixture
def roberta(data, tmp_path):
    """A folder like RoBERTa's: GPT-2's merges, and special tokens at the ends."""
    gpt2 = json.loads((data / "gpt2_vocab" / "encoder.json").read_text())
    del gpt2["<|endoftext|>"]
    names = ["<s>", "<pad>", "</s>", "<unk>", *gpt2, "<mask>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_bytes((data / "gpt2_vocab" / "vocab.bpe").read_bytes())
    return tmp_path


def test_roberta_equals_transformers(roberta, data, random_text):
    ours = tokens.load(roberta)
    merges = [tuple(m.split()) for m in (roberta / "merges.txt").read_text().split("\n")[1:] if m]
    vocabulary = json.loads((roberta / "vocab.json").read_text())
    theirs = transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)
    texts = [t for t in dataset_texts(data, random_text)[::6] if t and "<" not in t]
    for text, other in itertools.pairwise(texts):
        got = ours.encode_with_special_tokens(text, other)
        expected = theirs(text, other, return_offsets_mapping=True)
        assert got.input_ids == expected["input_ids"]
        assert got.offsets == expected["offset_mapping"]
        assert got.sequence_ids == expected.sequence_ids()
    assert (ours.cls_token_id, ours.sep_token_id, ours.mask_token_id) == (0, 2, len(vocabulary) - 1)
    assert (ours.bos_token_id, ours.pad_token_id, ours.eos_token_id) == (0, 1, 2)
    assert set(got.token_type_ids) == {0}


def test_roberta_words_equal_transformers(roberta):
    ours = tokens.load(roberta)
    merges = [tuple(m.split()) for m in (roberta / "merges.txt").read_text().split("\n")[1:] if m]
    vocabulary = json.loads((roberta / "vocab.json").read_text())
    theirs = transformers.RobertaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=True)
    words = [
        "EU",
        "rejects",
        "German",
        "call",
        "to",
        "boycott",
        "extraterritorial",
        "lambs",
        ",",
        "naïvely",
        ".",
    ]
    got = ours.encode_with_special_tokens(words, is_split_into_words=True)
    expected = theirs(words, is_split_into_words=True, return_offsets_mapping=True)
    assert got.input_ids == expected["input_ids"]
    assert got.word_ids == expected.word_ids()
    for (start, stop), word in zip(got.offsets, got.word_ids, strict=True):
        if word is not None:
            assert 0 <= start < stop <= len(words[word])


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ('{"a": 0, "b": 1, "ab": 2}', "#version: 0.2\na b\na c\n", "'c'"),
        ('{"a": 0, "b": 1}', "a b\n", "'ab'"),
        ('{"a": 0, "b": 1, "ab": 2}', "a b\nab\n", "line 2"),
        ('{"a": 0, "b": 0}', "", "different"),
        ('{"a": 0, "b": "x"}', "", "integers"),
        ('{"a": 0', "", "JSON"),
        ("[1]", "", "object"),
    ],
)
def test_damaged_files_are_refused(vocabulary, merges, message, tmp_path):
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(LmwrightError, match=message):
        tokens.load(tmp_path)


def test_half_of_a_pair_of_files_is_refused(tmp_path):
    (tmp_path / "encoder.json").write_text('{"a": 0}')
    with pytest.raises(LmwrightError, match=r"lacks vocab\.bpe beside encoder\.json"):
        tokens.load(tmp_path)


def test_a_class_with_another_way_to_cut_words_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    with pytest.raises(LmwrightError, match="Qwen2Tokenizer"):
        tokens.load(tmp_path)
