"""Learning WordPiece and unigram vocabularies."""

import json
import subprocess
import sys

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.tokens import tokenizer

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_wordpiece_has_berts_special_tokens_first(corpus_texts):
    learned = tokenizer.train(corpus_texts, 500, kind="wordpiece")
    assert [learned.id_of(name) for name in BERT] == [0, 1, 2, 3, 4]
    assert learned.vocab_size == 500
    assert learned.encode_with_special_tokens("the").input_ids[0] == 2
    assert learned.chat_template is None


def test_unigram_has_t5s_special_tokens_and_sentinels(corpus_texts):
    learned = tokenizer.train(corpus_texts, 500, kind="unigram")
    assert [learned.id_of(name) for name in ("<pad>", "</s>", "<unk>")] == [0, 1, 2]
    last = learned.vocab_size - 1
    assert last < 500
    assert [learned.id_of(f"<extra_id_{i}>") for i in (0, 99)] == [last, last - 99]
    assert learned.encode_with_special_tokens("the").input_ids[-1] == 1


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_text_comes_back_and_is_mostly_known(kind, corpus_texts):
    learned = tokenizer.train(corpus_texts, 600, kind=kind)
    for text in corpus_texts[:50]:
        ids = learned.encode(text)
        assert learned.unk_token_id not in ids
        assert learned.decode(ids) == text.strip()
        assert len(ids) < 0.8 * len(text)


def test_unigram_reaches_its_size_on_real_text(data):
    lines = (data / "tiny_shakespeare" / "input.txt").read_text("utf-8").split("\n")[:3000]
    learned = tokenizer.train(lines, 900, kind="unigram")
    assert learned.vocab_size == 900
    assert learned.begins_word[learned.encode("the people of the city")].sum() == 5


def test_lowercase_makes_case_and_accents_equal(corpus_texts):
    learned = tokenizer.train(corpus_texts, 500, kind="wordpiece", lowercase=True)
    assert learned.encode("THE Naïve") == learned.encode("the naive")
    cased = tokenizer.train(corpus_texts, 500, kind="wordpiece")
    assert cased.encode("THE") != cased.encode("the")


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_rare_characters_get_no_tokens(kind):
    common = ["the quick model returns a string"] * 50
    rare = ["".join(map(chr, range(0x4E00 + 50 * i, 0x4E00 + 50 * i + 50))) for i in range(40)]
    learned = tokenizer.train([*common, *rare], 2600, kind=kind)
    pieces = learned.rust.get_vocab().keys()
    assert sum(piece[-1] >= "\u4e00" for piece in pieces) <= 2 * 1000
    assert learned.encode("\u5500") != []


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_training_gives_the_same_vocabulary_in_another_process(kind, corpus_texts, tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps(corpus_texts))
    code = (
        "import json, sys, pathlib; from lmwright.tokens import tokenizer;"
        "folder = pathlib.Path(sys.argv[1]);"
        "texts = json.loads((folder / 'texts.json').read_text());"
        "tokenizer.train(texts, 600, kind=sys.argv[2]).save(folder)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), kind], check=True)
    tokenizer.train(corpus_texts, 600, kind=kind).save(tmp_path / "here")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
@pytest.mark.parametrize(
    ("texts", "vocab_size", "message"),
    [
        ([], 600, "no text"),
        (["", ""], 600, "no text"),
        (["the quick brown fox"] * 5, 12, "too small"),
        (["a\ud800"] * 5, 600, "surrogate"),
    ],
)
def test_training_refuses_what_it_cannot_use(kind, texts, vocab_size, message):
    with pytest.raises(LmwrightError, match=message):
        tokenizer.train(texts, vocab_size, kind=kind)


def test_lowercase_is_for_wordpiece_only():
    with pytest.raises(LmwrightError, match="lowercase"):
        tokenizer.train(["the"], 600, lowercase=True)
