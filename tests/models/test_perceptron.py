"""The deep averaging network against its definition."""

import pytest
import torch
import torch.nn.functional as F

from lmwright.core.errors import LmwrightError
from lmwright.models.classic_config import PerceptronConfig
from lmwright.models.perceptron import Perceptron
from tests.models.cases import fill, relative
from tests.models.classic_cases import VOCABULARY, contains_seven, padded, texts, train

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu}
SHAPE = {"vocab_size": VOCABULARY, "embedding_size": 6, "hidden_size": 8, "num_labels": 3}


def model_of(seed=0, **fields):
    return fill(Perceptron(PerceptronConfig(**(SHAPE | fields))), seed).eval()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_logits_are_those_of_the_definition(activation):
    model = model_of(activation=activation)
    (text,) = texts(0, [5])
    x = model.embed_tokens.weight[text[0]].mean(0)
    for layer in model.layers:
        x = ACTIVATIONS[activation](layer.linear.weight @ x + layer.linear.bias)
    expected = model.classifier.weight @ x + model.classifier.bias
    assert relative(model(text).logits[0], expected) <= 1e-5


@pytest.mark.parametrize("side", ["right", "left", "between"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_padding_changes_nothing(side, batch_norm):
    model = model_of(batch_norm=batch_norm)
    rows = texts(1, [4, 1, 6])
    ids, mask = padded(rows, side)
    expected = torch.cat([model(row).logits for row in rows])
    assert relative(model(ids, mask).logits, expected) <= 1e-5


def test_a_row_of_padding_is_the_mean_of_nothing():
    model = model_of(num_layers=0)
    ids = texts(2, [3])[0]
    logits = model(ids, torch.zeros_like(ids)).logits
    assert torch.equal(logits[0], model.classifier.bias)


def test_word_dropout_leaves_out_words_but_never_all():
    model = model_of(num_layers=0, word_dropout=0.9).train()
    ids, mask = torch.arange(8)[None].expand(200, 8), torch.ones(200, 8)
    mask[:, 6:] = 0
    torch.manual_seed(0)
    weights = model._weights(ids, mask)
    assert torch.allclose(weights.sum(1), torch.ones(200))
    assert not weights[:, 6:].any()
    kept = (weights[:, :6] > 0).sum(1)
    assert kept.min() == 1
    assert (kept == 6).any()  # all would have gone: none did
    assert model.eval()(ids, mask).logits.unique(dim=0).shape[0] == 1


@pytest.mark.parametrize("batch_norm", [False, True])
def test_learns_whether_a_word_is_there(batch_norm):
    model = Perceptron(PerceptronConfig(**(SHAPE | {"num_labels": 2, "batch_norm": batch_norm})))
    model.initialize(0)
    ids, mask, labels = contains_seven()
    losses = train(model, lambda m: F.cross_entropy(m(ids, mask).logits, labels))
    assert losses[-1] < 0.5 * losses[0]


def test_initialization_is_seeded_and_takes_word_vectors():
    model, vectors = model_of(freeze_embeddings=True), torch.randn(VOCABULARY, 6)
    model.initialize(3, vectors)
    first = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert torch.equal(first["embed_tokens.weight"], vectors)
    assert not model.embed_tokens.weight.requires_grad
    fill(model, 9).initialize(3, vectors)
    assert all(torch.equal(first[name], w) for name, w in model.state_dict().items())
    model.initialize(4)
    assert not torch.equal(first["layers.0.linear.weight"], model.layers[0].linear.weight)
    with pytest.raises(LmwrightError, match="word vectors"):
        model.initialize(0, vectors[:5])


def test_one_row_cannot_be_normalised():
    with pytest.raises(LmwrightError, match="batch_norm"):
        model_of(batch_norm=True).train()(texts(0, [4])[0])


@pytest.mark.parametrize(
    ("ids", "mask"),
    [(torch.zeros(3), None), (torch.zeros(2, 3), None), (torch.zeros(2, 3).long(), (2, 4))],
)
def test_wrong_shapes_are_refused(ids, mask):
    mask = None if mask is None else torch.ones(mask)
    with pytest.raises(LmwrightError) as caught:
        model_of()(ids, mask)
    assert "\n" not in caught.value.what
