"""Folders of any kind: what they must hold, and that all kinds stream."""

import json
import random
import stat

import pytest
import tokenizers
import transformers

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.tokens import published, tokenizer

KINDS = ("bpe", "wordpiece", "unigram")


@pytest.fixture(scope="module")
def kinds(corpus_texts, data):
    """One tokenizer of each kind; what they are is tested elsewhere."""
    learned = {kind: tokenizer.train(corpus_texts, 600, kind=kind) for kind in KINDS}
    return learned | {"llama2c": tokens.load(data / "stories260K")}


@pytest.mark.parametrize("kind", [*KINDS, "llama2c"])
def test_streaming_equals_decoding_at_once(kind, kinds, random_text):
    ours, rng = kinds[kind], random.Random(4)
    for trial in range(300):
        ids = ours.encode(random_text(rng))
        if trial % 2:  # also what no text encodes to: broken characters, special tokens
            ids = [rng.randrange(ours.vocab_size + 5) for _ in range(12)]
        stream = ours.stream_decoder()
        assert "".join(stream.push(i) for i in ids) + stream.flush() == ours.decode(ids)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "llama2c"])
def test_text_of_whole_characters_equals_the_library(kind, kinds, random_text):
    ours, rng = kinds[kind], random.Random(5)
    for _ in range(300):
        ids = ours.encode(random_text(rng))
        assert ours.decode(ids) == ours.rust.decode(ids)


def test_pieces_of_words_are_joined(corpus_texts):
    ours = tokenizer.train([*corpus_texts, "a, . "], 600, kind="wordpiece")
    ids = ours.encode("the string, returns .")
    assert len(ids) > 6
    stream = ours.stream_decoder()
    assert "".join(stream.push(i) for i in ids) == ours.decode(ids) == "the string, returns."


def test_tokenizer_json_is_preferred_and_roles_are_guessed_without_a_config(kinds, tmp_path):
    kinds["wordpiece"].save(tmp_path)
    (tmp_path / "vocab.txt").write_text("not a vocabulary")
    (tmp_path / "tokenizer_config.json").unlink()
    ours = tokens.load(tmp_path)
    assert (ours.cls_token_id, ours.sep_token_id, ours.mask_token_id) == (2, 3, 4)
    assert (ours.pad_token_id, ours.eos_token_id) == (0, 3)


def test_roles_come_from_the_map_where_the_config_names_none(kinds, tmp_path):
    kinds["bpe"].save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    (tmp_path / "special_tokens_map.json").write_text(
        '{"eos_token": {"content": "<|im_end|>", "lstrip": false}, "pad_token": "<|endoftext|>"}'
    )
    ours = tokens.load(tmp_path)
    assert (ours.eos_token_id, ours.pad_token_id) == (2, 0)


def test_a_tokenizer_without_an_end_opens_and_says_so_when_one_is_needed(kinds, tmp_path):
    kinds["bpe"].save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<|im_start|>"}')
    ours = tokens.load(tmp_path)
    assert ours.encode("the")
    assert ours.bos_token_id == 1
    for name in ("eos_token_id", "pad_token_id"):
        with pytest.raises(LmwrightError, match="eos_token"):
            getattr(ours, name)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_trained_kinds_open_in_transformers_beside_their_models(kind, kinds, tmp_path, random_text):
    ours, rng = kinds[kind], random.Random(6)
    ours.save(tmp_path)
    family = "bert" if kind == "wordpiece" else "t5"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == ours.vocab_size
    assert theirs.pad_token_id == ours.pad_token_id == 0
    assert theirs.mask_token_id == ours.mask_token_id
    for _ in range(200):
        text, other = random_text(rng), f"{random_text(rng)} zebra"
        assert theirs(text, other)["input_ids"] == (
            ours.encode_with_special_tokens(text, other).input_ids
        )


def test_an_empty_folder_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(LmwrightError) as error:
        tokens.load(tmp_path)
    for name in ("tokenizer.json", "spiece.model", "vocab.txt", "merges.txt", "vocab.bpe"):
        assert name in str(error.value)
    with pytest.raises(LmwrightError, match="not a folder"):
        tokens.load(tmp_path / "absent")


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer.model", "vocab.txt", "tokenizer.bin", "vocab.json"]
)
def test_files_of_absurd_size_are_not_read(name, tmp_path):
    (tmp_path / "merges.txt").write_text("")
    with open(tmp_path / name, "wb") as file:
        file.truncate(published.LARGEST_BYTES + 1)  # sparse: takes no room on the disk
    with pytest.raises(LmwrightError, match="more than any tokenizer"):
        tokens.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "tok512.bin"])
def test_changed_bytes_are_refused_or_give_a_tokenizer(name, kinds, data, tmp_path):
    kinds["wordpiece"].save(tmp_path)
    whole = {
        "tokenizer.json": (tmp_path / "tokenizer.json").read_bytes(),
        "vocab.txt": "\n".join(kinds["wordpiece"].rust.get_vocab()).encode(),
        "tok512.bin": (data / "stories260K" / "tok512.bin").read_bytes(),
    }[name]
    (tmp_path / "tokenizer.json").unlink()
    rng, refused = random.Random(10), 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(content))
            content[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        (tmp_path / name).write_bytes(content)
        try:
            ours = tokens.load(tmp_path)
        except LmwrightError:
            refused += 1
            continue
        assert ours.stream_decoder()
        assert isinstance(ours.encode("the string"), list)
    assert refused


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(LmwrightError, match="not a file"):
        tokens.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", ["[1]", "{", '{"eos_token": 7}', '{"eos_token": "absent"}'])
def test_damaged_configs_are_refused(name, content, kinds, tmp_path):
    kinds["wordpiece"].save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / name).write_text(content)
    with pytest.raises(LmwrightError):
        tokens.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("chat_template.jinja", b"\xff", "UTF-8"),
        ("tokenizer_config.json", b'{"chat_template": 7}', "chat_template"),
        ("tokenizer_config.json", b'{"do_lower_case": "yes"}', "do_lower_case"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"3": {"content": 1}}}', "token"),
        ("added_tokens.json", b'{"a": {}}', "added_tokens"),
    ],
)
def test_odd_values_beside_a_vocabulary_are_refused(name, content, message, tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\nthe\n")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LmwrightError, match=message):
        tokens.load(tmp_path)


def test_code_in_the_folder_is_not_run(kinds, tmp_path):
    kinds["wordpiece"].save(tmp_path)
    mark = tmp_path / "was_run"
    (tmp_path / "tokenization_mine.py").write_text(f"open({str(mark)!r}, 'w')")
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config |= {"auto_map": {"AutoTokenizer": ["tokenization_mine.Mine", None]}}
    file.write_text(json.dumps(config | {"trust_remote_code": True}))
    tokens.load(tmp_path)
    assert not mark.exists()
    assert stat.S_ISREG(file.stat().st_mode)


def test_a_decoder_that_needs_what_follows_cannot_stream():
    rust = tokenizers.Tokenizer(tokenizers.models.BPE({"a</w>": 0, "</s>": 1}, []))
    rust.decoder = tokenizers.decoders.BPEDecoder("</w>")
    rust.add_special_tokens(["</s>"])
    ours = tokenizer.Tokenizer(rust, {"eos_token": "</s>"})
    assert ours.decode([0, 0]) == "a a"
    with pytest.raises(LmwrightError, match="BPEDecoder"):
        ours.stream_decoder()
