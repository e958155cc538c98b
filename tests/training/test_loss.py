"""The chunked cross-entropy against PyTorch's own, and independence of the micro-batch."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from lmwright.training.budget import TrainingPlan
from lmwright.training.objectives import loss as losses
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.sft import SFT
from lmwright.training.optimizers import build
from lmwright.training.trainer import Trainer
from tests.training.cases import random_batch, tiny_decoder


@pytest.mark.parametrize("tokens", [1, 7, 50])
def test_equals_pytorch_with_gradients(tokens, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 16)  # several chunks, the last one ragged
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(31, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 31, (tokens,), generator=generator)

    ours = losses.linear_cross_entropy(hidden, weight, targets)
    gradients = torch.autograd.grad(3.0 * ours, (hidden, weight))

    expected = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    wanted = torch.autograd.grad(3.0 * expected, (hidden, weight))
    assert_close(ours, expected, rtol=1e-12, atol=0)
    for gradient, want in zip(gradients, wanted, strict=True):
        assert_close(gradient, want, rtol=0, atol=1e-12 * float(want.square().mean().sqrt()) * 100)


def test_stays_finite_on_huge_logits():
    hidden = torch.full((3, 4), 1e4, requires_grad=True)
    loss = losses.linear_cross_entropy(hidden, torch.eye(4), torch.tensor([0, 1, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(hidden.grad).all()
    assert_close(loss, 3 * torch.log(torch.tensor(4.0)))


def test_never_holds_all_logits(monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 32)
    biggest = 0
    original = F.log_softmax

    def watched(logits, dim):
        nonlocal biggest
        biggest = max(biggest, len(logits))
        return original(logits, dim=dim)

    monkeypatch.setattr(losses.F, "log_softmax", watched)
    losses.linear_cross_entropy(torch.randn(500, 4), torch.randn(9, 4), torch.zeros(500).long())
    assert biggest == 32


def gradients_with(micro_rows, dtype, objective):
    model = tiny_decoder(dtype=dtype)
    batch = random_batch(rows=8)
    trainer = Trainer(
        model,
        objective,
        data=None,
        optimizers=build(
            model, None, name="adamw", learning_rate=0.0, matrix_learning_rate=0, weight_decay=0
        ),
        plan=TrainingPlan(steps=1, micro_rows=micro_rows, threads=1),
    )
    for start in range(0, 8, micro_rows):
        trainer.forward_backward(batch.slice(start, start + micro_rows))
    trainer._scale_and_clip(float(batch.trained_tokens()))
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("objective", [CausalLM(), SFT()])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_gradients_do_not_depend_on_the_micro_batch(dtype, tolerance, objective):
    """1 x 8 equals 8 x 1, with documents and masks of every length."""
    whole = gradients_with(8, dtype, objective)
    single = gradients_with(1, dtype, objective)
    for name, gradient in whole.items():
        size = float(gradient.square().mean().sqrt())
        assert size > 0, name
        assert float((gradient - single[name]).abs().max()) <= tolerance * size, name


def test_documents_of_a_row_do_not_see_each_other():
    model, batch = tiny_decoder(), random_batch(rows=4)
    first = batch.document_ids == 1
    assert (batch.document_ids >= 2).any()
    changed = torch.where(first, (batch.input_ids + 1) % 61, batch.input_ids)

    kwargs = {"position_ids": batch.position_ids, "document_ids": batch.document_ids}
    before = model(batch.input_ids, **kwargs).logits
    after = model(changed, **kwargs).logits

    others = batch.document_ids >= 2
    assert_close(after[others], before[others], rtol=0, atol=1e-6)
    assert not torch.allclose(after[first], before[first])


def test_sft_refuses_a_batch_without_a_trained_token():
    batch = random_batch(rows=2)
    batch.targets.fill_(-100)
    with pytest.raises(losses_error(), match="no assistant token"):
        SFT().loss(tiny_decoder(), batch)


def test_prompts_are_predicted_too_where_asked():
    """Against the targets written out token by token."""
    model, batch = tiny_decoder(), random_batch(rows=3)
    expected, count = 0.0, 0
    log_p = model(
        batch.input_ids, position_ids=batch.position_ids, document_ids=batch.document_ids
    ).logits.log_softmax(-1)
    for row in range(3):
        for t in range(batch.input_ids.shape[1] - 1):
            here, there = batch.document_ids[row, t], batch.document_ids[row, t + 1]
            if here == there and there != 0:
                expected -= float(log_p[row, t, batch.input_ids[row, t + 1]])
                count += 1
    result = SFT(prompts=True).loss(model, batch)
    assert result.weight == count > batch.trained_tokens()
    assert_close(float(result.loss.detach()), expected, rtol=1e-4, atol=0)


def losses_error():
    from lmwright.core.errors import CheckFailed

    return CheckFailed
