"""DPO against its equation written out, and the pairs it learns from."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from lmwright.alignment import pairs as preference_pairs
from lmwright.alignment.pairs import PairLoader, pad, score, take
from lmwright.alignment.preference import (
    DPO,
    PreferencePairs,
    dpo_loss,
    sequence_log_probabilities,
)
from lmwright.tokens.packing import TokenDocument
from lmwright.training.budget import TrainingPlan
from lmwright.training.optimizers import build
from lmwright.training.trainer import Trainer
from tests.training.cases import tiny_decoder


def documents(seed, count):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        prompt, answer = (int(torch.randint(1, 9, (1,), generator=generator)) for _ in range(2))
        ids = torch.randint(1, 61, (prompt + answer,), generator=generator).tolist()
        made.append(TokenDocument(ids, [False] * prompt + [True] * answer))
    return made


def make_pairs(policy, count=12, seed=0):
    chosen, rejected = documents(seed, count), documents(seed + 1, count)
    chosen, rejected = pad(chosen, 18, 0), pad(rejected, 18, 0)
    return PreferencePairs(chosen, rejected, score(policy, chosen), score(policy, rejected))


def by_hand(model, document):
    """One answer's log-probability, token by token, without padding."""
    ids = torch.tensor([document.ids])
    log_p = model(ids).logits.log_softmax(-1)[0]
    return sum(
        (log_p[i - 1, document.ids[i]] for i in range(1, len(document.ids)) if document.mask[i]),
        torch.zeros(()),
    )


def test_sequence_log_probabilities_are_sums_over_the_answer():
    model, made = tiny_decoder(), documents(3, 9)
    ours, counts = sequence_log_probabilities(model, pad(made, 20, 0))
    expected = torch.stack([by_hand(model, d) for d in made])
    assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    # The first token of a conversation has no prediction.
    assert counts.tolist() == [sum(d.mask[1:]) for d in made]


def test_equals_the_equation_with_gradients():
    reference, policy = tiny_decoder(seed=0), tiny_decoder(seed=1)
    batch = make_pairs(reference)
    chosen, rejected = documents(0, 12), documents(1, 12)

    result = DPO(beta=0.3, likelihood=0.0).loss(policy, batch)
    gradients = torch.autograd.grad(result.loss, policy.parameters())

    def log_ratio(document):
        return by_hand(policy, document) - by_hand(reference, document).detach()

    terms = [
        -F.logsigmoid(0.3 * (log_ratio(c) - log_ratio(r)))
        for c, r in zip(chosen, rejected, strict=True)
    ]
    expected = torch.stack(terms).sum()
    wanted = torch.autograd.grad(expected, policy.parameters())
    assert result.weight == 12
    assert_close(result.loss, expected, rtol=1e-5, atol=0)
    for gradient, want in zip(gradients, wanted, strict=True):
        assert float((gradient - want).abs().max()) <= 1e-4 * float(want.square().mean().sqrt())


def test_loss_is_log_two_where_policy_and_reference_agree():
    policy = tiny_decoder()
    result = DPO(likelihood=0.0).loss(policy, make_pairs(policy))
    assert result.loss.item() / result.weight == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("beta", [0.05, 0.3, 1.0])
def test_the_loss_of_log_probabilities_is_trls_sigmoid_loss(beta):
    generator = torch.Generator().manual_seed(round(100 * beta))
    numbers = torch.randn(4, 64, generator=generator, dtype=torch.float64) * 3 - 20
    ours = [x.clone().requires_grad_() for x in numbers]
    theirs = [x.clone().requires_grad_() for x in numbers]
    found = dpo_loss(*ours, beta)

    # trl, DPOTrainer.dpo_loss, loss_type "sigmoid": logits are differences of log-ratios.
    logits = (theirs[0] - theirs[1]) - (theirs[2] - theirs[3])
    expected = -F.logsigmoid(beta * logits)
    assert_close(found.losses, expected, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(found.losses.sum(), ours)
    wanted = torch.autograd.grad(expected.sum(), theirs)
    for gradient, want in zip(gradients, wanted, strict=True):
        assert_close(gradient, want, rtol=1e-10, atol=1e-12)
    assert_close(found.chosen_rewards, beta * (numbers[0] - numbers[2]))
    assert_close(found.rejected_rewards, beta * (numbers[1] - numbers[3]))
    assert not found.chosen_rewards.requires_grad
    assert not found.rejected_rewards.requires_grad


def test_exchanged_answers_differ_by_the_margin_and_large_ones_do_not_overflow():
    policy, reference = torch.tensor([-1500.0, -3.0]), torch.tensor([-2.0, -900.0])
    one = dpo_loss(policy, reference, reference, policy, 0.7)
    other = dpo_loss(reference, policy, policy, reference, 0.7)
    margin = one.chosen_rewards - one.rejected_rewards
    assert_close(other.losses - one.losses, margin)
    assert one.losses.isfinite().all()
    assert other.losses.isfinite().all()


def test_swapping_the_answers_mirrors_the_margin():
    reference, policy = tiny_decoder(seed=0), tiny_decoder(seed=1)
    pairs = make_pairs(reference)
    swapped = PreferencePairs(
        pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen
    )
    one = DPO(likelihood=0.0).loss(policy, pairs).metrics["reward_margin"]
    other = DPO(likelihood=0.0).loss(policy, swapped).metrics["reward_margin"]
    assert_close(one, -other, rtol=1e-5, atol=1e-6)


def test_does_not_depend_on_the_micro_batch():
    reference, policy = tiny_decoder(seed=0), tiny_decoder(seed=1)
    pairs, objective = make_pairs(reference), DPO()
    whole = objective.loss(policy, pairs)
    parts = [objective.loss(policy, pairs.slice(i, i + 5)) for i in range(0, 12, 5)]
    assert_close(sum(float(p.loss) for p in parts), float(whole.loss), rtol=1e-5, atol=0)
    assert sum(p.weight for p in parts) == whole.weight


def test_training_moves_the_answers_apart():
    policy = tiny_decoder()
    pairs = make_pairs(policy, count=16)
    trainer = Trainer(
        policy,
        DPO(),
        PairLoader(pairs, batch_pairs=8, seed=0),
        build(
            policy,
            None,
            name="adamw",
            learning_rate=3e-3,
            matrix_learning_rate=0,
            weight_decay=0,
        ),
        TrainingPlan(steps=30, micro_rows=8, threads=1),
    )
    trainer.train()
    with torch.no_grad():
        after = DPO().loss(policy, pairs).metrics
    assert float(after["preference_accuracy"]) == 16


def test_loader_serves_every_pair_once_per_epoch_and_resumes():
    pairs = make_pairs(tiny_decoder(), count=10)
    loader = PairLoader(pairs, batch_pairs=4, seed=3)
    batches = iter(loader)
    seen = torch.cat([next(batches).reference_chosen for _ in range(5)])
    once = pairs.reference_chosen.sort().values
    assert_close(seen[:10].sort().values, once)
    assert_close(seen[10:].sort().values, once)

    state = loader.state_dict()
    following = next(batches).reference_chosen
    again = PairLoader(pairs, batch_pairs=4, seed=3)
    again.load_state_dict(state)
    assert torch.equal(next(iter(again)).reference_chosen, following)
    assert torch.equal(take(pairs, torch.tensor([1])).reference_chosen, pairs.reference_chosen[1:2])


def test_only_the_last_answer_is_compared():
    document = TokenDocument([1, 2, 3, 4, 5, 6], [False, True, True, False, True, True])
    assert preference_pairs.last_turn(document).mask.tolist() == [False] * 4 + [True] * 2
