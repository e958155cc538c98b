"""Bits per byte and answer loss against transformers' own forward pass, document by document."""

import json
import math

import pytest
import torch
import transformers

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.evaluation.likelihood import answer_loss, bits_per_byte, read_texts
from lmwright.tokens import tokenizer as bpe

TEXTS = [
    "Return a copy of the string converted to uppercase.",
    "naïve café — ünïcödé",
    "x",
    "Split the argument into words using whitespace as the delimiter. " * 6,
]
CHATS = [
    [
        {"role": "user", "content": "What does str.upper do?"},
        {"role": "assistant", "content": "Return a copy."},
        {"role": "user", "content": "and str.split?"},
        {"role": "assistant", "content": "Split the argument into words."},
    ],
    [
        {"role": "user", "content": "What does str.uppr do?"},
        {"role": "assistant", "content": "I don't know that name."},
    ],
]
LENGTH = 24


@pytest.fixture(scope="module")
def words() -> bpe.Tokenizer:
    return bpe.train([*TEXTS, *(m["content"] for chat in CHATS for m in chat)], 300)


@pytest.fixture(scope="module")
def reference(words):
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=words.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return transformers.Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model(reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    reference.save_pretrained(folder)
    return models.load(folder)


def reference_nats(reference, ids: list[int]) -> torch.Tensor:
    """-log p of every token but the first, from transformers' logits."""
    tokens = torch.tensor(ids)[None]
    with torch.no_grad():
        log_p = reference(tokens).logits[0, :-1].double().log_softmax(-1)
    return -log_p.gather(1, tokens[0, 1:, None])[:, 0]


def test_bits_per_byte_equal_the_reference_document_by_document(words, reference, model):
    nats, size, tokens = 0.0, 0, 0
    for text in TEXTS:
        ids = [*words.encode(text), words.eos_token_id]
        size += len(text.encode()) - len(words.decode(ids[:1]).encode())
        tokens += len(ids) - 1
        for start in range(0, len(ids), LENGTH):
            # A part sees nothing before it, and predicts the first token of the next.
            nats += float(reference_nats(reference, ids[start : start + LENGTH + 1]).sum())

    found = bits_per_byte(model, words, TEXTS, LENGTH)

    assert found.bytes == size
    assert found.tokens == tokens
    assert found.value == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert found.interval.low <= found.value <= found.interval.high


def test_a_uniform_model_costs_log2_of_the_vocabulary_per_token(words, model):
    import copy

    uniform = copy.deepcopy(model)
    uniform.embed_tokens.weight.data.zero_()
    found = bits_per_byte(uniform, words, TEXTS, LENGTH)
    assert found.value == pytest.approx(math.log2(words.vocab_size) * found.tokens / found.bytes)


def test_answer_loss_equals_the_reference_on_assistant_tokens(words, reference, model):
    from lmwright.tokens.chat import encode_with_mask

    total, count = 0.0, 0
    for chat in CHATS:
        ids, mask = encode_with_mask(words, chat)
        trained = torch.tensor(mask[1:])
        total += float(reference_nats(reference, ids)[trained].sum())
        count += int(trained.sum())
    assert answer_loss(model, words, CHATS) == pytest.approx(total / count, rel=1e-5)


def test_the_model_keeps_its_mode(words, model):
    model.train()
    bits_per_byte(model, words, TEXTS, LENGTH)
    assert model.training
    model.eval()
    bits_per_byte(model, words, TEXTS, LENGTH)
    assert not model.training


def test_nothing_to_predict_is_said(words, model):
    with pytest.raises(LmwrightError, match="nothing to predict"):
        bits_per_byte(model, words, [], LENGTH)
    with pytest.raises(LmwrightError, match="fits the model's"):
        answer_loss(model, words, [])


@pytest.mark.parametrize("limit", [1, 50, 333, 10_000])
def test_texts_are_spread_over_the_file_within_the_limit(tmp_path, limit):
    file = tmp_path / "validation.jsonl"
    texts = [f"{number:03d} " + "é" * (number % 7) for number in range(100)]
    file.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")

    chosen = read_texts(file, limit)

    size = sum(len(text.encode()) for text in chosen)
    assert size <= limit
    assert size >= min(limit, sum(len(t.encode()) for t in texts)) - 30
    assert all(any(text.startswith(part) for text in texts) for part in chosen)
    if limit == 333:
        numbers = [int(text[:3]) for text in chosen if len(text) >= 3]
        assert numbers[0] < 10
        assert numbers[-1] > 80


def test_a_corpus_without_text_has_none(tmp_path):
    assert read_texts(tmp_path / "validation.jsonl", 100) == []
