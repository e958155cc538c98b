"""The runs on real data that several labs' proofs share."""

import pytest
import torch

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.roadmap import proofs
from tests.models.test_llama2c import run_c
from tests.real_data import real_data_folder

TINY = TransformerConfig(
    vocab_size=256,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=32,
)


@pytest.mark.slow
def test_the_story_is_that_of_an_independent_reader():
    source = real_data_folder() / "stories260K" / "stories260K.bin"
    prompt = [1, *tokens.load(source.parent).encode(proofs.PROMPT)]
    story = list(proofs._STORY)

    logits = run_c(source.read_bytes(), (prompt + story)[:-1])[len(prompt) - 1 :]

    best = logits.topk(2).values
    assert logits.argmax(-1).tolist() == story
    assert (best[:, 0] - best[:, 1]).min() > 1e-3  # no tie that rounding could turn


@pytest.mark.slow
def test_production_tells_the_story():
    real_data_folder()
    found = proofs.story_tokens()
    assert found["different_tokens"] == 0
    assert found["tokens"] == 200
    assert "little girl named Lily" in found["story"]


@pytest.mark.slow
def test_a_small_training_repeats_and_learns():
    real_data_folder()
    first, second = (proofs.shakespeare_loss(TINY, 20, rows=4) for _ in range(2))
    assert first == second
    assert first["validation_loss_nats"] < first["first_loss_nats"] - 0.3


def test_rows_of_bytes_are_the_text_and_what_follows():
    text = bytes(range(200))
    batch = next(iter(proofs.ByteRows(text, 12, 3, seed=0)))
    assert batch.input_ids.shape == (3, 12)
    assert torch.equal(batch.targets, batch.input_ids + 1)
    again = next(iter(proofs.ByteRows(text, 12, 3, seed=0)))
    assert torch.equal(batch.input_ids, again.input_ids)


def test_missing_data_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    with pytest.raises(LmwrightError, match="stories260K"):
        proofs.story_tokens()
