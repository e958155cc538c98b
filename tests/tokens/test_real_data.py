"""Published files, from reader to rows. They need LMWRIGHT_DATA."""

import re

import pytest

from lmwright.corpora.readers import read_records
from lmwright.tokens import chat, tokenizer
from lmwright.tokens.doctor import print_file
from lmwright.tokens.packing import pack
from lmwright.tokens.steps import encode_texts


def notes(text: str) -> None:
    """Readers tell what they leave out; here nobody listens."""


def test_instructions_are_masked_and_fill_their_rows(data):
    path = data / "instructions" / "instruction-data.json"
    chats = [r.row["messages"] for r in read_records(str(path), notes)]
    learned = tokenizer.train([m["content"] for c in chats for m in c], 2048)
    documents = list(chat.encode_chats(learned, chats))
    for messages, document in zip(chats, documents, strict=True):
        said = "".join(m["content"] + "<|im_end|>" for m in messages if m["role"] == "assistant")
        trained = learned.decode(document.ids[document.mask], skip_special_tokens=False)
        assert trained == said
    rows = pack(documents, 128, pad_token_id=learned.pad_token_id)
    assert rows.fill() >= 0.97
    assert rows.tokens() == sum(len(document.ids) for document in documents)


def test_shakespeare_packs_without_loss(data):
    path = data / "tiny_shakespeare" / "input.txt"
    texts = [r.row["text"] for r in read_records(str(path), notes)]
    learned = tokenizer.train(texts, 2048)
    assert learned.vocab_size == 2048
    documents = encode_texts(learned, texts)
    assert [learned.decode(d.ids) for d in documents] == texts
    rows = pack(documents, 256, pad_token_id=learned.pad_token_id)
    assert rows.fill() >= 0.97
    # A vocabulary of 2,048 learned on this text writes about three bytes with a token.
    assert 2.5 < sum(len(text.encode()) for text in texts) / rows.tokens() < 4


@pytest.mark.parametrize("name", ["instructions", "hh_rlhf", "tiny_shakespeare"])
def test_doctor_reads_every_kind(data, name, capsys):
    print_file(str(data / name))
    out = capsys.readouterr().out
    kinds = {
        "instructions": "1,094 preferences and 2,375 chats",
        "hh_rlhf": "preferences",
        "tiny_shakespeare": "text",
    }
    assert "read as: " in out
    assert kinds[name] in out
    assert re.search(r"«.{20,}?»", out, re.DOTALL)
