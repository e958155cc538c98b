"""The text CNN against its definition, window by window."""

import pytest
import torch
import torch.nn.functional as F

from lmwright.models.classic_config import TextCNNConfig
from lmwright.models.convolutional import TextCNN
from tests.models.cases import fill, relative
from tests.models.classic_cases import VOCABULARY, contains_seven, padded, texts, train

SHAPE = {"vocab_size": VOCABULARY, "embedding_size": 6, "num_filters": 5, "num_labels": 3}


def model_of(seed=0, **fields):
    return fill(TextCNN(TextCNNConfig(**(SHAPE | fields))), seed).eval()


def windows(model, layer, text):
    """(number of windows, filters) answers of one text, by the definition."""
    vectors = model.embed_tokens.weight[text[0]]
    width, bias = layer.width, layer.convolution.bias
    border = torch.zeros(width - 1, vectors.shape[1])
    vectors = torch.cat([border, vectors, border])
    answers = []
    for start in range(len(vectors) - width + 1):
        window = vectors[start : start + width].T  # as Conv1d's weight: (E, width)
        answers.append((layer.convolution.weight * window).sum((1, 2)))
    answers = torch.stack(answers)
    return answers if bias is None else answers + bias


@pytest.mark.parametrize("length", [1, 2, 7])
def test_logits_are_those_of_the_definition(length):
    model = model_of()
    (text,) = texts(length, [length])
    features = [F.relu(windows(model, layer, text)).amax(0) for layer in model.filters]
    expected = model.classifier.weight @ torch.cat(features) + model.classifier.bias
    assert relative(model(text).logits[0], expected) <= 1e-5


@pytest.mark.parametrize("side", ["right", "left", "between"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_padding_changes_nothing(side, activation, batch_norm):
    """Also with an activation whose maximum may be below 0."""
    model = model_of(activation=activation, batch_norm=batch_norm)
    rows = texts(1, [4, 1, 9])
    ids, mask = padded(rows, side)
    expected = torch.cat([model(row).logits for row in rows])
    assert relative(model(ids, mask).logits, expected) <= 1e-5


def test_padding_changes_nothing_while_training_with_batch_norm():
    """The batch's mean and variance are those of the texts' own windows."""
    model = model_of(batch_norm=True).train()
    rows = texts(2, [4, 1, 9])
    found = []
    for width in (9, 20):
        model.filters[0].norm.reset_running_stats()
        ids, mask = padded(rows, "right", width=width)
        found.append((model(ids, mask).logits, model.filters[0].norm.running_mean.clone()))
    assert relative(found[1][0], found[0][0]) <= 1e-5
    own = torch.cat([windows(model, model.filters[0], row) for row in rows])
    assert relative(found[1][1], 0.1 * own.mean(0)) <= 1e-5


def test_gradients_do_not_see_padding():
    model = model_of()
    rows = texts(3, [4, 2])
    gradients = []
    for width in (4, 12):
        ids, mask = padded(rows, "right", width=width)
        model.zero_grad()
        model(ids, mask).logits.square().sum().backward()
        gradients.append(model.embed_tokens.weight.grad.clone())
    assert relative(gradients[1], gradients[0]) <= 1e-5


def test_a_row_of_padding_gives_finite_logits():
    ids = texts(0, [4])[0]
    assert model_of()(ids, torch.zeros_like(ids)).logits.isfinite().all()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_learns_whether_a_word_is_there(batch_norm):
    model = TextCNN(TextCNNConfig(**(SHAPE | {"num_labels": 2, "batch_norm": batch_norm})))
    model.initialize(0)
    ids, mask, labels = contains_seven()
    losses = train(model, lambda m: F.cross_entropy(m(ids, mask).logits, labels))
    assert losses[-1] < 0.3 * losses[0]


def test_given_word_vectors_may_stay_as_they_are():
    model, vectors = model_of(freeze_embeddings=True, num_labels=2), torch.randn(VOCABULARY, 6)
    model.initialize(0, vectors)
    ids, mask, labels = contains_seven()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.1)
    F.cross_entropy(model(ids, mask).logits, labels).backward()
    optimizer.step()
    assert torch.equal(model.embed_tokens.weight, vectors)
    assert len(trained) == len(list(model.parameters())) - 1
