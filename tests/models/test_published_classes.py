"""Which class a config.json names, and what is opened for it."""

import json

import pytest
import torch
from transformers import (
    BertConfig,
    BertForNextSentencePrediction,
    BertForPreTraining,
    LlamaConfig,
    LlamaForQuestionAnswering,
    LlamaModel,
)

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models.heads import MaskedLM
from tests.models.cases import fill, relative

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}


def test_a_backbone_gives_its_hidden_states(tmp_path):
    reference = fill(LlamaModel(LlamaConfig(**SHAPE)), 0).eval()
    reference.save_pretrained(tmp_path)
    ids = torch.arange(10)[None]
    with torch.no_grad():
        expected = reference(ids).last_hidden_state
        assert relative(models.load(tmp_path)(ids).logits, expected) <= 1e-5


@pytest.mark.parametrize(
    "reference",
    [
        lambda: BertForNextSentencePrediction(BertConfig(**SHAPE)),
        lambda: LlamaForQuestionAnswering(LlamaConfig(**SHAPE)),
    ],
)
def test_a_class_that_we_lack_is_named(reference, tmp_path):
    saved = reference()
    saved.save_pretrained(tmp_path)
    with pytest.raises(LmwrightError, match=type(saved).__name__) as caught:
        models.load(tmp_path)
    assert "ForSequenceClassification" in caught.value.hint
    if isinstance(saved, BertForNextSentencePrediction):
        opened = models.load(tmp_path, task="sequence_classification")
        assert opened.config.task == "sequence_classification"


def test_what_was_pretrained_with_more_is_read_for_the_part_we_have(tmp_path):
    fill(BertForPreTraining(BertConfig(**SHAPE)), 0).save_pretrained(tmp_path)
    assert isinstance(models.load(tmp_path), MaskedLM)


def test_a_config_that_names_no_class_means_the_familys_first(tmp_path):
    fill(LlamaModel(LlamaConfig(**SHAPE, tie_word_embeddings=True)), 0).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert models.load(tmp_path).config.task == "causal_lm"


def test_weights_are_floating_point(tmp_path):
    with pytest.raises(LmwrightError, match=r"torch\.int64"):
        models.load(tmp_path, dtype=torch.int64)
