"""InfoNCE against the equation written out, and pieces against the whole."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lmwright.core.errors import LmwrightError
from lmwright.training.budget import TrainingPlan
from lmwright.training.objectives.contrastive import Contrastive, Groups
from lmwright.training.optimizers import build
from lmwright.training.trainer import Trainer
from tests.training.small_models import Reader, random_examples


def groups(number, size, seed=0):
    examples = random_examples(
        number * size, 10, lambda g, m: torch.zeros(len(m)).long(), seed=seed
    )
    return Groups(examples, size)


def by_hand(embeddings, size, temperature, symmetric):
    """-log exp(s_ii) / sum_j exp(s_ij), pair by pair."""
    e = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    number = len(e) // size
    partners = [e[i * size + 1] for i in range(number)]
    negatives = [e[i * size + k] for i in range(number) for k in range(2, size)]
    total = 0.0
    for i in range(number):
        anchor = e[i * size]
        scores = [np.exp(anchor @ c / temperature) for c in partners + negatives]
        forwards = -np.log(scores[i] / sum(scores))
        back = [np.exp(partners[i] @ e[j * size] / temperature) for j in range(number)]
        backwards = -np.log(back[i] / sum(back))
        total += (forwards + backwards) / 2 if symmetric else forwards
    return total


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("symmetric", [False, True])
def test_is_the_equation(size, symmetric):
    model, batch = Reader(pooled=True).double(), groups(5, size)
    e = batch.examples
    embeddings = model(e.input_ids, e.attention_mask, e.token_type_ids).logits
    expected = by_hand(embeddings.detach().numpy(), size, 0.2, symmetric)
    result = Contrastive(0.2, symmetric=symmetric).loss(model, batch)
    assert result.weight == 5
    assert float(result.loss.detach()) == pytest.approx(expected, rel=1e-10)


def gradients(piece, dropout=0.0):
    model, batch = Reader(pooled=True, dropout=dropout), groups(6, 3)
    torch.manual_seed(1)
    result = Contrastive(symmetric=True, piece=piece).loss(model, batch)
    result.loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return float(result.loss.detach()), found


@pytest.mark.parametrize("piece", [1, 5, 6])
def test_pieces_change_no_gradient(piece):
    """GradCache: the in-batch negatives of the whole batch, in the memory of a piece."""
    loss, whole = gradients(None)
    other, parts = gradients(piece)
    assert other == pytest.approx(loss, rel=1e-6)
    assert "mix.weight" in whole
    for name, gradient in whole.items():
        size = float(gradient.square().mean().sqrt())
        assert_close(parts[name], gradient, rtol=0, atol=1e-5 * size)


def test_pieces_repeat_their_dropout():
    """With other draws in the recomputation, gradients would belong to another loss."""

    def loss_at(shift):
        model, batch = Reader(pooled=True, dropout=0.3).double(), groups(6, 2)
        with torch.no_grad():
            model.mix.bias[0] += shift
        torch.manual_seed(1)
        return model, Contrastive(piece=4).loss(model, batch).loss

    model, loss = loss_at(0.0)
    loss.backward()
    slope = float((loss_at(1e-5)[1] - loss_at(-1e-5)[1]).detach()) / 2e-5
    assert float(model.mix.bias.grad[0]) == pytest.approx(slope, rel=1e-5)


def test_pieces_bound_what_is_kept():
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    sizes = {}
    for piece in (None, 4):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Contrastive(piece=piece).loss(Reader(pooled=True), groups(24, 2))
        sizes[piece] = sum(kept)
    assert sizes[4] < 0.4 * sizes[None]


def test_the_loop_never_cuts_a_batch():
    class Endless:
        def __iter__(self):
            while True:
                yield groups(6, 2)

    model, task = Reader(pooled=True), Contrastive()
    optimizers = build(
        model,
        None,
        name="adamw",
        learning_rate=1e-2,
        matrix_learning_rate=0.0,
        weight_decay=0.0,
    )
    plan = TrainingPlan(steps=30, micro_rows=1, threads=1)
    losses = []
    original = task.loss
    task.loss = lambda m, b: losses.append(original(m, b)) or losses[-1]
    Trainer(model, task, Endless(), optimizers, plan).train()
    assert {result.weight for result in losses} == {6.0}
    assert float(losses[-1].loss.detach()) < 0.5 * float(losses[0].loss.detach())


def test_bf16_rounds_no_similarity():
    model, batch = Reader(pooled=True), groups(8, 2)
    e = batch.examples
    embeddings = model(e.input_ids, e.attention_mask, e.token_type_ids).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = Contrastive()._scores(embeddings, 2)
    assert scores.dtype == torch.float32
    assert_close(scores, Contrastive()._scores(embeddings, 2), rtol=0, atol=0)


def test_rows_that_make_no_groups_are_refused():
    with pytest.raises(LmwrightError, match="10 texts do not make groups of 3"):
        Contrastive().loss(Reader(pooled=True), Groups(groups(5, 2).examples, 3))
