"""The readable dropout and batch normalisation against torch's, and in their place."""

import pytest
import torch
from torch import nn

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.models.classic_config import PerceptronConfig, TextCNNConfig
from lmwright.models.convolutional import TextCNN
from lmwright.models.layers import regularize
from lmwright.models.layers.regularize import Regularizer
from lmwright.models.perceptron import Perceptron
from tests.models.cases import relative
from tests.models.classic_cases import VOCABULARY, padded, texts

SHAPE = {"vocab_size": VOCABULARY, "embedding_size": 6, "dropout": 0.3, "batch_norm": True}


@pytest.fixture
def in_use(monkeypatch):
    monkeypatch.setattr(parts, "in_use", lambda target: target == regularize.TARGET)


def both_norms(width, seed=0):
    """torch's module and the readable one, with the same weights and statistics."""
    torch.manual_seed(seed)
    theirs, ours = nn.BatchNorm1d(width), regularize.make_batch_norm(width)
    with torch.no_grad():
        theirs.weight.uniform_(0.5, 1.5)
        theirs.bias.normal_()
        theirs.running_mean.normal_()
        theirs.running_var.uniform_(0.5, 2.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@pytest.mark.parametrize("rows", [2, 5, 40])
def test_batch_norm_equals_torchs(rows, in_use):
    theirs, ours = both_norms(4)
    for step in range(5):
        x = 3 * torch.randn(rows, 4) + torch.arange(4)
        upstream, results = torch.randn(rows, 4), []
        for norm in (ours, theirs):
            norm.train(step != 3)
            given = x.clone().requires_grad_()
            y = norm(given)
            wanted = (given, norm.weight, norm.bias)
            results.append([y, *torch.autograd.grad((y * upstream).sum(), wanted)])
        for found, expected in zip(*results, strict=True):
            assert relative(found, expected) <= 2e-5 if rows > 2 else 1e-3
        for name, value in ours.state_dict().items():
            assert relative(value.double(), theirs.state_dict()[name].double()) <= 1e-6


def test_batch_norm_keeps_half_precision_and_its_statistics_do_not(in_use):
    theirs, ours = both_norms(4)
    x = (50 + torch.randn(64, 4)).bfloat16()
    found, expected = ours(x), theirs(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert relative(found.float(), expected.float()) <= 2e-2
    assert relative(ours.running_mean, theirs.running_mean) <= 1e-5


def test_a_single_row_cannot_be_trained_on(in_use):
    _, ours = both_norms(3)
    with pytest.raises(LmwrightError, match="one row"):
        ours(torch.randn(1, 3))
    assert ours.eval()(torch.randn(1, 3)).isfinite().all()


def test_dropout_is_the_identity_in_use_and_keeps_the_mean(in_use):
    layer, x = regularize.make_dropout(0.4), torch.ones(100_000)
    assert layer.eval()(x) is x
    torch.manual_seed(0)
    dropped = layer.train()(x)
    deviation = (0.4 / 0.6 / len(x)) ** 0.5
    assert abs(float(dropped.mean()) - 1.0) < 6 * deviation
    assert set(dropped.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.6)}


def test_dropouts_backward_pass_uses_the_same_mask():
    x = torch.randn(5, 7, requires_grad=True)
    uniforms = torch.rand(5, 7)
    y = Regularizer(share=0.5).dropout(x, uniforms)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, (uniforms >= 0.5) * 2.0)


def test_gradients_are_right():
    torch.manual_seed(0)
    layer, x = Regularizer(share=0.3), torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    rest = (torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    uniforms = torch.rand(4, 3)

    def both(x, weight, bias):
        y, _, _ = layer.batch_norm(x, weight, bias, *rest, training=True)
        return layer.dropout(y, uniforms)

    assert torch.autograd.gradcheck(both, (x, weight, bias))


@pytest.mark.parametrize("kind", ["cnn", "perceptron"])
def test_models_take_it_when_in_use(kind, in_use, monkeypatch):
    """With torch's numbers where nothing is dropped, and one state dict for both."""
    fields = SHAPE | {"dropout": 0.0}

    def build():
        if kind == "cnn":
            return TextCNN(TextCNNConfig(**fields))
        return Perceptron(PerceptronConfig(**fields))

    ours = build()
    ours.initialize(0)
    monkeypatch.setattr(parts, "in_use", lambda target: False)
    theirs = build()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ids, mask = padded(texts(1, [4, 3, 9]), "right")
    for training in (True, False):
        found, expected = ours.train(training)(ids, mask), theirs.train(training)(ids, mask)
        assert relative(found.logits, expected.logits) <= 1e-4
