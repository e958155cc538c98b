"""Each objective on a model of its own kind: losses are those that transformers computes."""

import pytest
import torch
import transformers

from lmwright import models
from lmwright.models.build import build
from lmwright.models.config import HeadConfig
from lmwright.tokens.examples import shifted_right
from lmwright.training.objectives.classification import Classification
from lmwright.training.objectives.contrastive import Contrastive, Groups
from lmwright.training.objectives.masked_lm import MaskedLM
from lmwright.training.objectives.sequence_to_sequence import SequenceToSequence
from lmwright.training.objectives.span_corruption import SpanCorruption
from lmwright.training.objectives.span_qa import SpanQA
from lmwright.training.objectives.tagging import Tagging
from tests.models.cases import fill
from tests.training.cases import random_batch
from tests.training.small_models import VOCAB, random_examples, summed_gradients

SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def bert(kind, folder, **keys):
    """transformers' model and ours from its folder."""
    config = transformers.BertConfig(**SHAPE, **keys)
    reference = fill(getattr(transformers, f"BertFor{kind}")(config), 0)
    reference.save_pretrained(folder)
    return reference.train(), models.load(folder).train()


def zeros(g, mask):
    return torch.zeros(len(mask), dtype=torch.int64)


def given(batch):
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
    }


def assert_loss(result, expected, tolerance=1e-5):
    assert float(result.loss.detach()) / result.weight == pytest.approx(
        float(expected.detach()), rel=tolerance
    )


def test_masked_lm_of_bert(tmp_path):
    reference, ours = bert("MaskedLM", tmp_path)
    batch = random_examples(6, 14, zeros)
    masked, labels = MaskedLM(VOCAB, 4, (0, 1, 2, 3), seed=1).corrupt(batch)
    expected = reference(**{**given(batch), "input_ids": masked}, labels=labels).loss
    result = MaskedLM(VOCAB, 4, (0, 1, 2, 3), seed=1).loss(ours, batch)
    assert_loss(result, expected)
    expected.backward()
    result.loss.backward()
    found = ours.backbone.embed_tokens.weight.grad / result.weight
    wanted = reference.bert.embeddings.word_embeddings.weight.grad
    size = float(wanted.square().mean().sqrt())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * size)


def test_masked_lm_of_packed_rows_is_that_of_its_documents(tmp_path):
    """Each document alone, padded to one length, gives the sum of the packed row."""
    _, ours = bert("MaskedLM", tmp_path)
    batch = random_batch(rows=4)
    masked, labels = MaskedLM(VOCAB, 60, (0,), seed=1).corrupt(batch)
    total = 0.0
    for row in range(len(batch)):
        for document in range(1, int(batch.document_ids[row].max()) + 1):
            here = batch.document_ids[row] == document
            with torch.no_grad():
                logits = ours(masked[row, here][None]).logits[0]
            total += (
                float(torch.nn.functional.cross_entropy(logits, labels[row, here], reduction="sum"))
                if bool((labels[row, here] != -100).any())
                else 0.0
            )
    result = MaskedLM(VOCAB, 60, (0,), seed=1).loss(ours, batch)
    assert float(result.loss.detach()) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("labels", [1, 3])
def test_classification_with_bert(labels, tmp_path):
    reference, ours = bert("SequenceClassification", tmp_path, num_labels=labels)
    make = zeros if labels == 1 else (lambda g, m: torch.randint(0, 3, (len(m),), generator=g))
    batch = random_examples(6, 14, make)
    if labels == 1:
        batch.labels = torch.linspace(-1, 1, 6)
    expected = reference(**given(batch), labels=batch.labels).loss
    assert_loss(Classification().loss(ours, batch), expected)


def tags(g, mask):
    return torch.randint(0, 3, mask.shape, generator=g).masked_fill(mask == 0, -100)


def test_tagging_with_bert(tmp_path):
    reference, ours = bert("TokenClassification", tmp_path, num_labels=3)
    batch = random_examples(6, 14, tags)
    assert_loss(Tagging().loss(ours, batch), reference(**given(batch), labels=batch.labels).loss)


def test_tagging_with_a_crf_does_not_depend_on_the_micro_batch(tmp_path):
    _, plain = bert("TokenClassification", tmp_path, num_labels=3)
    head = plain.config.head.model_copy(update={"crf": True})
    model = fill(build(plain.config.model_copy(update={"head": head})), 1)
    assert model.crf is not None
    batch = random_examples(6, 14, tags)
    loss, gradients, _ = summed_gradients(model, Tagging(), batch, 6)
    other, others, _ = summed_gradients(model, Tagging(), batch, 1)
    assert loss == pytest.approx(other, rel=1e-5)
    assert any("crf" in name for name in gradients)
    for name, gradient in gradients.items():
        size = max(float(gradient.square().mean().sqrt()), 1e-4)
        torch.testing.assert_close(others[name], gradient, rtol=0, atol=1e-4 * size)


def test_span_qa_with_bert(tmp_path):
    reference, ours = bert("QuestionAnswering", tmp_path)
    batch = random_examples(6, 14, lambda g, m: torch.randint(0, 7, (len(m), 2), generator=g))
    batch.attention_mask.fill_(1)  # there padding takes probability
    batch.labels[2] = torch.tensor([20, 25])
    expected = reference(
        **given(batch), start_positions=batch.labels[:, 0], end_positions=batch.labels[:, 1]
    ).loss
    assert_loss(SpanQA().loss(ours, batch), expected)


def test_embedding_with_bert(tmp_path):
    _, ours = bert("MaskedLM", tmp_path)
    head = HeadConfig(task="embedding", pooling="mean")
    model = fill(build(ours.config.model_copy(update={"head": head})), 2)
    batch = Groups(random_examples(8, 10, zeros), 2)
    vectors = model(**given(batch.examples)).logits
    scores = vectors[0::2] @ vectors[1::2].T / 0.05
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(4))
    assert_loss(Contrastive().loss(model, batch), expected)


def t5(folder):
    config = transformers.T5Config(
        vocab_size=VOCAB,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    reference = fill(transformers.T5ForConditionalGeneration(config), 0)
    reference.save_pretrained(folder)
    return reference.train(), models.load(folder).train()


def test_span_corruption_of_t5(tmp_path):
    reference, ours = t5(tmp_path)
    batch = random_batch(rows=6)
    batch.input_ids.clamp_(max=50)

    def objective():
        return SpanCorruption(
            first_sentinel_id=VOCAB - 1,
            sentinels=8,
            eos_token_id=1,
            pad_token_id=0,
            decoder_start_token_id=0,
        )

    made = objective().corrupt(batch)
    expected = reference(
        input_ids=made.input_ids, attention_mask=made.attention_mask, labels=made.labels
    ).loss
    assert_loss(objective().loss(ours, batch), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_translation_with_t5(smoothing, tmp_path):
    reference, ours = t5(tmp_path)
    batch = random_examples(6, 14, lambda g, m: torch.randint(5, VOCAB, (len(m), 9), generator=g))
    batch.labels[1, 4:] = batch.labels[3, 2:] = -100
    asked = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    logits = reference(**asked, decoder_input_ids=shifted_right(batch.labels, 0, 0)).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.labels.flatten(), label_smoothing=smoothing
    )
    if not smoothing:
        assert float(expected) == pytest.approx(float(reference(**asked, labels=batch.labels).loss))
    result = SequenceToSequence(smoothing).loss(ours, batch)
    assert_loss(result, expected)
