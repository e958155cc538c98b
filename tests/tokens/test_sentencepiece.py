"""SentencePiece's models, read by us, against SentencePiece itself."""

import gzip
import io
import random
import struct

import pytest
import sentencepiece
import transformers

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.tokens import chat, protobuf
from lmwright.tokens import sentencepiece as sentencepiece_model
from lmwright.tokens.scored_bpe import ranked_merges
from tests.tokens.published_texts import dataset_texts

T5 = {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "split_digits": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
}
GEMMA = LLAMA | {"add_dummy_prefix": False, "user_defined_symbols": ["<mask>", "\n\n", "<b>"]}
SYMBOLS = T5 | {"user_defined_symbols": ["Citizen", "<sep>"], "byte_fallback": True}
SHAPES = {"t5": T5, "llama": LLAMA, "gemma": GEMMA, "unigram_symbols": SYMBOLS}
CASED = {"identity_unigram": T5 | {"normalization_rule_name": "identity"}}


def learned(data, **options):
    """A model file of 1,200 pieces from Shakespeare and German captions."""
    lines = (data / "tiny_shakespeare" / "input.txt").read_text("utf-8").split("\n")[:8000]
    with gzip.open(data / "multi30k" / "val.de.gz", "rt", encoding="utf-8") as file:
        lines += file.read().split("\n")
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in lines if line]),
        model_writer=out,
        vocab_size=1200,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return out.getvalue()


@pytest.fixture(scope="module")
def texts(data, random_text):
    return dataset_texts(data, random_text)


@pytest.fixture(scope="module")
def model_files(data, tmp_path_factory):
    folders = {}
    for name, options in (SHAPES | CASED).items():
        folders[name] = tmp_path_factory.mktemp(name)
        file = "tokenizer.model" if name in ("llama", "gemma") else "spiece.model"
        (folders[name] / file).write_bytes(learned(data, **options))
    return folders


def reference_of(folder):
    (file,) = folder.glob("*.model")
    return sentencepiece.SentencePieceProcessor(model_file=str(file))


@pytest.mark.parametrize("name", SHAPES | CASED)
def test_ids_equal_sentencepiece(name, model_files, texts):
    ours, reference = tokens.load(model_files[name]), reference_of(model_files[name])
    different = [
        text
        for text, ids in zip(texts, ours.encode_batch(texts), strict=True)
        if ids != reference.encode(text)
    ]
    assert len(texts) > 3000
    # NFC orders accents of different classes, which SentencePiece leaves as they stand.
    assert len(different) <= 1, different


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_text_of_ids_equals_sentencepiece(name, model_files, texts):
    ours, reference = tokens.load(model_files[name]), reference_of(model_files[name])
    for text in texts:
        ids = reference.encode(text)
        assert ours.decode(ids) == reference.decode(ids)


def test_t5_text_of_ids_equals_sentencepiece_where_all_is_known(model_files, texts):
    ours, reference = tokens.load(model_files["t5"]), reference_of(model_files["t5"])
    known = [text for text in texts if reference.unk_id() not in reference.encode(text)]
    assert len(known) > 800
    for text in known:
        ids = reference.encode(text)
        assert ours.decode(ids) == reference.decode(ids)


def test_t5_has_its_special_tokens_and_sentinels(model_files):
    ours = tokens.load(model_files["t5"])
    assert (ours.pad_token_id, ours.eos_token_id, ours.unk_token_id) == (0, 1, 2)
    assert ours.bos_token_id is None
    assert ours.vocab_size == 1300
    assert [ours.id_of(f"<extra_id_{i}>") for i in (0, 1, 99)] == [1299, 1298, 1200]
    assert ours.encode_with_special_tokens("my lord").input_ids == [*ours.encode("my lord"), 1]


def test_llama_has_its_start_and_bytes(model_files):
    ours = tokens.load(model_files["llama"])
    assert (ours.unk_token_id, ours.bos_token_id, ours.eos_token_id) == (0, 1, 2)
    assert ours.encode_with_special_tokens("my lord").input_ids == [1, *ours.encode("my lord")]
    emoji = ours.encode("🎉")
    assert [ours.token_bytes[i] for i in emoji] == [b" ", *(bytes([b]) for b in "🎉".encode())]


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_saved_it_opens_in_transformers_with_equal_ids(name, model_files, texts, tmp_path):
    ours = tokens.load(model_files[name])
    ours.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    again = tokens.load(tmp_path)
    for text in texts[::5]:
        expected = ours.encode_with_special_tokens(text).input_ids
        if not any(token in text for token in ours.special_tokens):
            assert theirs(text)["input_ids"] == expected
        assert again.encode_with_special_tokens(text).input_ids == expected


def test_start_and_end_follow_the_config(model_files, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(
        (model_files["llama"] / "tokenizer.model").read_bytes()
    )
    (tmp_path / "tokenizer_config.json").write_text(
        '{"add_bos_token": false, "add_eos_token": true, "tokenizer_class": "LlamaTokenizer"}'
    )
    ours = tokens.load(tmp_path)
    assert ours.encode_with_special_tokens("my lord").input_ids == [*ours.encode("my lord"), 2]


def test_tokens_added_later_keep_their_ids(model_files, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(
        (model_files["llama"] / "tokenizer.model").read_bytes()
    )
    added = tmp_path / "added_tokens.json"
    added.write_text('{"<|user|>": 1200, "<|end|>": 1201}')
    assert tokens.load(tmp_path).id_of("<|end|>") == 1201
    added.write_text('{"<|user|>": 1300}')
    with pytest.raises(LmwrightError, match=r"<\|user\|>.*1300"):
        tokens.load(tmp_path)


def test_a_class_that_numbers_its_pieces_anew_is_refused(model_files, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((model_files["t5"] / "spiece.model").read_bytes())
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"tokenizer_class": "CamembertTokenizer"}')
    with pytest.raises(LmwrightError, match="CamembertTokenizer"):
        tokens.load(tmp_path)


def test_damaged_models_are_refused(model_files, tmp_path):
    content = (model_files["llama"] / "tokenizer.model").read_bytes()
    file = tmp_path / "tokenizer.model"
    cuts = [content[:size] for size in (0, 1, 7, 100, len(content) // 2, len(content) - 1)]
    for damaged in (*cuts, b"\xff" * 50, b"IQ== 0\nIg== 1\n", content[5:]):
        file.write_bytes(damaged)
        with pytest.raises(LmwrightError, match=r"tokenizer\.model"):
            tokens.load(tmp_path)


@pytest.mark.parametrize("kind", ["word", "char"])
def test_other_ways_to_cut_are_refused(kind, data, tmp_path):
    options = {"hard_vocab_limit": False, "model_type": kind}
    (tmp_path / "spiece.model").write_bytes(learned(data, **options))
    with pytest.raises(LmwrightError, match=f"by {kind}"):
        tokens.load(tmp_path)


def test_a_damaged_table_of_characters_is_refused(model_files, tmp_path):
    pieces = b"".join(
        b"\x0a" + bytes([len(piece)]) + piece
        for piece in (
            message(b"<unk>", 2),
            message(b"</s>", 3),
            message("\u2581a".encode(), 1),
        )
    )
    (tmp_path / "spiece.model").write_bytes(pieces + b"\x1a\x05\x12\x03abc")
    with pytest.raises(LmwrightError, match="replacements"):
        tokens.load(tmp_path)


def message(text: bytes, kind: int) -> bytes:
    """A piece as protobuf writes it."""
    score = b"\x15" + struct.pack("<f", -1.0)
    return b"\x0a" + bytes([len(text)]) + text + score + b"\x18" + bytes([kind])


def test_protobuf_fields_are_read_by_the_specification():
    # The encoding guide's examples: field 1 = 150; field 2 = "testing".
    assert list(protobuf.fields(b"\x08\x96\x01")) == [(1, 150)]
    assert list(protobuf.fields(b"\x12\x07testing")) == [(2, b"testing")]
    for damaged in (b"\x08", b"\x12\x08testing", b"\x0b", b"\x00\x01", b"\x08" + b"\xff" * 11):
        with pytest.raises(ValueError, match=r"."):
            list(protobuf.fields(damaged))


def test_names_of_special_tokens_stay_text(model_files):
    ours = tokens.load(model_files["t5"])
    hostile = "a</s><extra_id_0><pad>b"
    assert not {0, 1, *range(1200, 1300)} & set(ours.encode(hostile))


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content"
    " + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_conversations_equal_transformers(name, model_files, tmp_path, random_chat):
    # LLaMA 2's template: the answer follows the question's mark without a special token.
    source = next(model_files[name].glob("*.model"))
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    ours = tokens.load(tmp_path)
    ours.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rng = random.Random(8)
    for _ in range(100):
        messages = [m for m in random_chat(rng) if m["role"] != "system"]
        ids, mask = chat.encode_with_mask(ours, messages)
        assert ids == theirs.apply_chat_template(messages, return_dict=False)
        said = "".join(f" {m['content']} " for m in messages if m["role"] == "assistant")
        trained = [i for i, m in zip(ids, mask, strict=True) if m]
        assert ours.decode([5, *trained])[len(ours.decode([5])) :] == said


def test_a_prompt_begins_as_the_model_expects(model_files):
    assert tokens.load(model_files["llama"]).encode_prompt("my lord")[0] == 1
    t5 = tokens.load(model_files["t5"])
    assert t5.encode_prompt("my lord") == t5.encode("my lord")


@pytest.mark.parametrize("family", ["T5", "Llama", "Gemma"])
def test_families_open_as_transformers_saves_them(family, model_files, tmp_path, random_text):
    file = next(model_files["t5" if family == "T5" else "llama"].glob("*.model"))
    model = sentencepiece_model.read(file.read_bytes(), file)
    if family == "T5":
        made = transformers.T5Tokenizer(vocab=[(p.text, p.score) for p in model.pieces])
    else:
        scores = {p.text: p.score for p in model.pieces if p.kind == 1}
        made = getattr(transformers, f"{family}Tokenizer")(
            vocab=model.vocabulary, merges=ranked_merges(scores)
        )
    made.save_pretrained(tmp_path)
    ours, rng = tokens.load(tmp_path), random.Random(9)
    for trial in range(300):
        text = random_text(rng)
        expected = made(text)["input_ids"]
        assert ours.encode_with_special_tokens(text).input_ids == expected
        assert ours.decode(expected) == made.decode(expected, skip_special_tokens=True)
        ids = [rng.randrange(ours.vocab_size + 3) for _ in range(10)] if trial % 2 else expected
        stream = ours.stream_decoder()
        assert "".join(stream.push(i) for i in ids) + stream.flush() == ours.decode(ids)
    assert ours.eos_token_id == made.eos_token_id
    assert ours.bos_token_id == made.bos_token_id
