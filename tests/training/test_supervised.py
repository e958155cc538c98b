"""Sequence to sequence, classification, tagging and span QA against PyTorch and transformers."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from lmwright.core.errors import LmwrightError
from lmwright.tokens.examples import shifted_right
from lmwright.training.objectives import loss as losses
from lmwright.training.objectives.classification import Classification
from lmwright.training.objectives.sequence_to_sequence import SequenceToSequence
from lmwright.training.objectives.span_qa import SpanQA
from lmwright.training.objectives.tagging import Tagging
from tests.training.small_models import (
    VOCAB,
    LogitsTranslator,
    Reader,
    Translator,
    assert_same_however_cut,
    random_examples,
)


def classes(number):
    return lambda g, mask: torch.randint(0, number, (len(mask),), generator=g)


def scores(g, mask):
    return torch.randn(len(mask), generator=g)


def tags(g, mask):
    labels = torch.randint(0, 5, mask.shape, generator=g)
    some = torch.rand(mask.shape, generator=g) < 0.7
    return labels.masked_fill((mask == 0) | ~some, -100)


def targets(g, mask):
    labels = torch.randint(5, VOCAB, (len(mask), 9), generator=g)
    sizes = torch.randint(1, 10, (len(mask), 1), generator=g)
    return labels.masked_fill(torch.arange(9) >= sizes, -100)


def spans(g, mask):
    ends = torch.randint(0, mask.shape[1] // 2, (len(mask), 2), generator=g)
    return ends.sort(dim=1).values


# --- the chunked cross-entropy's extras -----------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_bias_smoothing_and_soft_cap_equal_pytorch(smoothing, soft_cap, with_bias, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 16)
    g = torch.Generator().manual_seed(0)
    inputs = [torch.randn(40, 8, generator=g), torch.randn(31, 8, generator=g)]
    inputs += [torch.randn(31, generator=g)] if with_bias else []
    inputs = [x.double().requires_grad_() for x in inputs]
    goal = torch.randint(0, 31, (40,), generator=g)
    goal[::5] = -100

    hidden, weight = inputs[:2]
    ours = losses.linear_cross_entropy(
        hidden, weight, goal, *inputs[2:], label_smoothing=smoothing, soft_cap=soft_cap
    )
    logits = F.linear(hidden, weight, *inputs[2:])
    if soft_cap is not None:
        logits = soft_cap * torch.tanh(logits / soft_cap)
    expected = F.cross_entropy(logits, goal, reduction="sum", label_smoothing=smoothing)

    assert_close(ours, expected, rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(2.0 * ours, inputs)
    for gradient, want in zip(gradients, torch.autograd.grad(2.0 * expected, inputs), strict=True):
        assert_close(gradient, want, rtol=0, atol=1e-10 * float(want.square().mean().sqrt()))


def test_the_bias_passes_gradcheck():
    g = torch.Generator().manual_seed(1)
    shapes = [(6, 3), (7, 3), (7,)]
    inputs = [torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in shapes]
    goal = torch.tensor([0, 3, -100, 6, 2, 2])

    def loss(hidden, weight, bias):
        return losses.linear_cross_entropy(
            hidden, weight, goal, bias, label_smoothing=0.2, soft_cap=2.0
        )

    assert torch.autograd.gradcheck(loss, inputs)


def test_bf16_autocast_keeps_the_bias_in_fp32():
    g = torch.Generator().manual_seed(2)
    hidden, weight, bias = (torch.randn(s, generator=g) for s in [(20, 8), (9, 8), (9,)])
    bias.requires_grad_()
    goal = torch.randint(0, 9, (20,), generator=g)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = losses.linear_cross_entropy(hidden, weight, goal, bias)
    high = losses.linear_cross_entropy(hidden, weight, goal, bias)
    assert low.dtype == torch.float32
    assert_close(low, high, rtol=2e-2, atol=0)
    assert torch.autograd.grad(low, bias)[0].dtype == torch.float32


# --- sequence to sequence -------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_translation_equals_pytorch_by_parts_and_by_logits(smoothing):
    model = Translator().double()
    batch = random_examples(6, 12, targets)
    batch.decoder_input_ids = shifted_right(batch.labels, 1, 0)
    memory = model.encode(batch.input_ids, batch.attention_mask)
    states = model.decoder_states(batch.decoder_input_ids, memory, batch.attention_mask)
    expected = F.cross_entropy(
        (states @ model.words.weight.T).flatten(0, 1),
        batch.labels.flatten(),
        label_smoothing=smoothing,
    )
    for version in (model, LogitsTranslator(model)):
        result = SequenceToSequence(smoothing).loss(version, batch)
        assert result.weight == int((batch.labels != -100).sum())
        assert_close(result.loss / result.weight, expected, rtol=1e-12, atol=0)


def test_decoder_inputs_are_made_where_there_are_none():
    model, batch = Translator(), random_examples(4, 12, targets)
    without = SequenceToSequence().loss(model, batch)
    rows = []
    for row in batch.labels.tolist():
        rows.append([1] + [0 if token == -100 else token for token in row[:-1]])
    batch.decoder_input_ids = torch.tensor(rows)
    assert torch.equal(without.loss, SequenceToSequence().loss(model, batch).loss)


def test_translation_does_not_depend_on_the_micro_batch():
    batch = random_examples(8, 12, targets)
    batch.decoder_input_ids = shifted_right(batch.labels, 1, 0)
    assert_same_however_cut(Translator(), lambda: SequenceToSequence(0.1), batch)


# --- classification -------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classification_equals_pytorch(weights, smoothing):
    model, batch = Reader(3, pooled=True), random_examples(9, 10, classes(3))
    logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
    expected = F.cross_entropy(
        logits,
        batch.labels,
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
    )
    result = Classification(weights, smoothing).loss(model, batch)
    assert_close(result.loss / result.weight, expected, rtol=1e-6, atol=0)
    if weights is None:
        right = float((logits.argmax(-1) == batch.labels).double().mean())
        assert float(result.metrics["accuracy"]) / result.weight == pytest.approx(right)


def test_examples_without_a_label_count_nothing():
    model, batch = Reader(3, pooled=True), random_examples(6, 10, classes(3))
    batch.labels[2:4] = -100
    kept = Classification().loss(model, batch)
    logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
    assert kept.weight == 4
    assert_close(kept.loss / 4, F.cross_entropy(logits, batch.labels), rtol=1e-6, atol=0)


def test_one_output_is_regression():
    model, batch = Reader(1, pooled=True), random_examples(7, 10, scores)
    logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
    result = Classification().loss(model, batch)
    assert_close(result.loss / 7, F.mse_loss(logits[:, 0], batch.labels), rtol=1e-6, atol=0)


def test_labels_beyond_the_classes_are_refused():
    batch = random_examples(7, 10, classes(4))
    batch.labels[0] = 3
    with pytest.raises(LmwrightError, match="3 classes and the labels go up to 3"):
        Classification().loss(Reader(3, pooled=True), batch)
    with pytest.raises(LmwrightError, match="2 class weights and 3 classes"):
        Classification([1.0, 2.0]).loss(Reader(3, pooled=True), batch)


# --- tagging --------------------------------------------------------------------------------------


def test_tagging_equals_pytorch():
    model, batch = Reader(5), random_examples(6, 10, tags)
    logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
    result = Tagging().loss(model, batch)
    assert result.weight == int((batch.labels != -100).sum())
    expected = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
    assert_close(result.loss / result.weight, expected, rtol=1e-6, atol=0)


def test_a_model_with_a_crf_gives_its_own_loss():
    calls = []

    class WithCRF(Reader):
        def loss(self, input_ids, attention_mask, token_type_ids, labels):
            calls.append((input_ids, attention_mask, labels))
            return torch.tensor(12.0)

    model, batch = WithCRF(5), random_examples(6, 10, tags)
    model.crf = nn.Identity()
    result = Tagging().loss(model, batch)
    assert (float(result.loss), result.weight) == (12.0, float((batch.labels != -100).sum()))
    assert calls[0][2] is batch.labels
    model.crf = None
    assert float(Tagging().loss(model, batch).loss) != 12.0


# --- span QA --------------------------------------------------------------------------------------


def test_span_qa_equals_transformers():
    """Also where an answer was cut off with the end of its text."""
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    reference = BertForQuestionAnswering(config).eval()
    batch = random_examples(6, 12, spans, kinds=False)
    batch.attention_mask.fill_(1)  # there padding takes probability
    batch.labels[1] = torch.tensor([40, 44])
    batch.labels[2] = torch.tensor([0, 0])
    asked = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    expected = reference(
        **asked, start_positions=batch.labels[:, 0], end_positions=batch.labels[:, 1]
    )

    def ours(**inputs):
        found = reference(**inputs)
        return SimpleNamespace(logits=torch.stack([found.start_logits, found.end_logits], -1))

    result = SpanQA().loss(ours, batch)
    assert result.weight == 5
    assert_close(result.loss / result.weight, expected.loss, rtol=1e-6, atol=0)


def test_span_qa_counts_exact_matches():
    logits = torch.zeros(3, 6, 2)
    for row, (start, end) in enumerate([(1, 2), (1, 3), (0, 0)]):
        logits[row, start, 0] = logits[row, end, 1] = 5.0
    batch = random_examples(3, 6, spans)
    batch.labels = torch.tensor([[1, 2], [1, 2], [9, 9]])
    result = SpanQA().loss(lambda **inputs: SimpleNamespace(logits=logits), batch)
    assert (int(result.metrics["exact_match"]), result.weight) == (1, 2.0)


@pytest.mark.parametrize(
    ("model", "objective", "labels"),
    [
        (Reader(3, pooled=True), lambda: Classification([0.5, 2.0, 1.0], 0.1), classes(3)),
        (Reader(1, pooled=True), Classification, scores),
        (Reader(5), Tagging, tags),
        (Reader(2), SpanQA, spans),
    ],
    ids=["classification", "regression", "tagging", "span_qa"],
)
def test_does_not_depend_on_the_micro_batch(model, objective, labels):
    assert_same_however_cut(model, objective, random_examples(8, 10, labels))


def test_padding_takes_no_probability_from_an_answer():
    model, batch = Reader(2), random_examples(4, 10, spans)
    alone = [SpanQA().loss(model, batch.slice(i, i + 1)) for i in range(4)]
    together = SpanQA().loss(model, batch)
    assert_close(together.loss, sum(part.loss for part in alone), rtol=1e-6, atol=0)
