"""Tokenizers in GGUF files give the ids of the tokenizers that they were made from."""

import json

import gguf
import pytest
import tokenizers

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.models.gguf.vocabulary import tokenizer
from lmwright.tokens import llama2c

TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "  two spaces,\ttabs\n\nand lines; it's 12345 o'clock",
    "naïve café, 東京 🙂 <s> </s> [CLS] don't",
    "",
    "x",
    "UPPER lower MiXeD   trailing  ",
]
NORMAL, UNKNOWN, CONTROL, USER, BYTE = (
    int(getattr(gguf.TokenType, name))
    for name in ("NORMAL", "UNKNOWN", "CONTROL", "USER_DEFINED", "BYTE")
)


def write(path, kind, texts, kinds, *, special, **more):
    """A GGUF file with nothing but a tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    for role, place in special.items():
        getattr(writer, f"add_{role}_token_id")(place)
    for name, value in more.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tokenizer(path)


def same(found, expected):
    for text in TEXTS:
        ids = expected.encode(text)
        assert found.encode(text) == ids, text
        assert found.decode(ids) == expected.decode(ids), text


def test_scored_pieces(data, tmp_path):
    expected = tokens.load(data / "stories260K")
    raw = json.loads(expected.rust.to_str())["model"]["vocab"]
    texts = sorted(raw, key=raw.get)
    file = data / "stories260K" / "tok512.bin"
    entries = llama2c.read(file.read_bytes(), file)
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(texts) - 259)]
    found = write(
        tmp_path / "x.gguf",
        "llama",
        [text.replace(" ", "▁") for text in texts],
        kinds,
        special={"bos": 1, "eos": 2, "unk": 0},
        token_scores=[score for _, score in entries],
        add_bos_token=True,
        chat_template="{{ messages }}",
    )
    same(found, expected)
    assert (found.bos_token_id, found.eos_token_id) == (1, 2)
    assert found.chat_template == "{{ messages }}"


def test_byte_level_pieces_of_gpt2(data, tmp_path):
    folder = data / "gpt2_vocab"
    expected = tokens.load(folder)
    vocabulary = json.loads((folder / "encoder.json").read_text())
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    found = write(
        tmp_path / "x.gguf",
        "gpt2",
        sorted(vocabulary, key=vocabulary.get),
        [NORMAL] * 50256 + [CONTROL],
        special={"bos": 50256, "eos": 50256},
        tokenizer_pre="gpt-2",
        token_merges=merges,
    )
    same(found, expected)


def test_byte_level_pieces_of_our_own(tmp_path):
    """Ours cut words as Qwen2's do."""
    expected = tokens.tokenizer.train(TEXTS * 3 + ["the cat sat on the mat " * 9], 320)
    raw = json.loads(expected.rust.to_str())
    vocabulary = raw["model"]["vocab"] | {t["content"]: t["id"] for t in raw["added_tokens"]}
    texts = sorted(vocabulary, key=vocabulary.get)
    found = write(
        tmp_path / "x.gguf",
        "gpt2",
        texts,
        [CONTROL if text in expected.special_tokens else NORMAL for text in texts],
        special={"eos": expected.eos_token_id, "pad": expected.pad_token_id},
        tokenizer_pre="qwen2",
        token_merges=[" ".join(pair) for pair in raw["model"]["merges"]],
        chat_template=expected.chat_template,
    )
    same(found, expected)
    chat = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]
    assert found.encode_chat(chat) == expected.encode_chat(chat)
    found.save(tmp_path)
    same(tokens.load(tmp_path), expected)
    whole = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert whole.get_vocab_size() == expected.vocab_size


def test_word_pieces(tmp_path):
    texts = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "once", "up", "##on", "a"]
    texts += ["time", "l", "##i", "##l", "##y", "x", "it", "'", "s"]
    (tmp_path / "vocab.txt").write_text("\n".join(texts))
    expected = tokens.load(tmp_path)

    def phantom(text):
        return text if text[0] == "[" else text[2:] if text[:2] == "##" else "▁" + text

    found = write(
        tmp_path / "x.gguf",
        "bert",
        [phantom(text) for text in texts],
        [CONTROL] * 5 + [NORMAL] * (len(texts) - 5),
        special={"bos": 2, "eos": 3, "pad": 0, "unk": 1},
    )
    same(found, expected)
    assert (found.cls_token_id, found.sep_token_id, found.pad_token_id) == (2, 3, 0)


def test_kept_pieces_and_none_at_all(tmp_path):
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    found = write(
        tmp_path / "x.gguf",
        "gpt2",
        [*letters, "<tool>", "<end>", "ab"],
        [NORMAL] * 256 + [USER, CONTROL, NORMAL],
        special={"eos": 257},
        tokenizer_pre="llama-bpe",
        token_merges=["a b"],
    )
    assert found.encode("ab<tool>") == [258, 256]
    assert 257 not in found.encode("<end>")
    writer = gguf.GGUFWriter(tmp_path / "y.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert tokenizer(tmp_path / "y.gguf") is None


@pytest.mark.parametrize(
    ("kind", "texts", "kinds", "special", "more", "message"),
    [
        ("rwkv", ["a"], [1], {}, {}, "kind rwkv are not read"),
        ("gpt2", ["a"], [1], {}, {"tokenizer_pre": "odd"}, "by the rule odd"),
        ("gpt2", ["a"], [1], {}, {"tokenizer_pre": "qwen2"}, "has no tokenizer.ggml.merges"),
        (
            "gpt2",
            ["a"],
            [1],
            {},
            {"tokenizer_pre": "qwen2", "token_merges": ["a b"]},
            "is corrupt: its merges",
        ),
        ("llama", ["a", "a"], [1, 1], {}, {}, "repeats a token"),
        ("llama", ["a", "b"], [1], {}, {}, "token_type fits no tokens"),
        ("llama", ["a", "b"], [1, 99], {}, {}, "token_type fits no tokens"),
        ("llama", ["a", "b"], [2, 1], {}, {"token_scores": [0.0]}, "differ in number"),
        ("llama", ["a"], [2], {"bos": 7}, {"token_scores": [0.0]}, "bos_token_id is 7"),
    ],
)
def test_what_is_refused(kind, texts, kinds, special, more, message, tmp_path):
    with pytest.raises(LmwrightError) as caught:
        write(tmp_path / "x.gguf", kind, texts, kinds, special=special, **more)
    assert message in caught.value.what
    assert "x.gguf" in caught.value.what
