"""What is hidden, how often, never what; the loss against PyTorch's own; resuming."""

import json

import pytest
import torch
import torch.nn.functional as F

from lmwright.tokens.loader import TokenBatch
from lmwright.training.objectives.masked_lm import MaskedLM, choose_words, mask_tokens
from tests.training.cases import random_batch
from tests.training.small_models import (
    VOCAB,
    MaskedReader,
    assert_same_however_cut,
    random_examples,
)

MASK, SPECIAL = 4, (0, 1, 2, 3)


def objective(**keys):
    return MaskedLM(VOCAB, MASK, SPECIAL, **keys)


def examples(rows=8, length=20, seed=0):
    return random_examples(rows, length, lambda g, m: torch.zeros(len(m)).long(), seed=seed)


def packed(rows, length, ids):
    documents = torch.ones(rows, length, dtype=torch.int32)
    place = torch.arange(length).expand(rows, length)
    return TokenBatch(ids, torch.full_like(ids, -100), documents, place)


def many_words(rows=400, length=50):
    generator = torch.Generator().manual_seed(3)
    return packed(rows, length, torch.randint(5, VOCAB, (rows, length), generator=generator))


def test_fifteen_percent_of_which_80_10_10():
    batch = many_words()
    masked, labels = objective().corrupt(batch)
    chosen = labels != -100
    assert (chosen.sum(1) == round(0.15 * 50)).all()
    count = int(chosen.sum())
    became_mask = int((masked[chosen] == MASK).sum())
    stayed = int((masked[chosen] == labels[chosen]).sum())
    # 5 standard deviations; a replacement is the token itself once in 56.
    assert abs(became_mask / count - 0.8) < 5 * (0.8 * 0.2 / count) ** 0.5
    assert abs(stayed / count - (0.1 + 0.1 / 56)) < 5 * (0.1 * 0.9 / count) ** 0.5
    assert torch.equal(masked[~chosen], batch.input_ids[~chosen])
    assert torch.equal(labels[chosen], batch.input_ids[chosen])


def test_replacements_are_every_ordinary_token_alike():
    batch = many_words(rows=4000)
    masked, labels = objective().corrupt(batch)
    replaced = (labels != -100) & (masked != MASK) & (masked != labels)
    counts = torch.bincount(masked[replaced], minlength=VOCAB)
    assert (counts[:5] == 0).all()
    expected = int(replaced.sum()) / (VOCAB - 5)
    assert float(((counts[5:] - expected) ** 2 / expected).sum()) < 100  # chi-square, 55 degrees


def test_every_place_is_chosen_alike():
    _, labels = objective().corrupt(many_words(rows=4000))
    share = (labels != -100).double().mean(0)
    assert float((share - 8 / 50).abs().max()) < 5 * (0.16 * 0.84 / 4000) ** 0.5


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_special_tokens_and_padding_stay(kind):
    batch = random_batch(rows=16) if kind == "packed" else examples(rows=16)
    batch.input_ids[:, 0] = 2
    real = batch.document_ids != 0 if kind == "packed" else batch.attention_mask != 0
    maskable = real & (batch.input_ids >= 5)
    masked, labels = objective(fraction=1.0).corrupt(batch)
    assert torch.equal(labels != -100, maskable)
    assert torch.equal(masked[~maskable], batch.input_ids[~maskable])


def test_short_rows_hide_one_token():
    ids = torch.tensor([[2, 9, 3], [9, 10, 3], [2, 2, 3]])
    _, labels = objective().corrupt(packed(3, 3, ids))
    assert (labels != -100).sum(1).tolist() == [1, 1, 0]


def test_masks_are_new_in_every_batch():
    task, batch = objective(), many_words(rows=8)
    assert not torch.equal(task.corrupt(batch)[1], task.corrupt(batch)[1])


def test_whole_words_are_chosen_whole():
    begins = torch.zeros(VOCAB, dtype=torch.bool)
    begins[5:25] = True
    batch = random_batch(rows=64, seed=5)
    task = objective(begins_word=begins, fraction=0.3)
    _, labels = task.corrupt(batch)
    seen_several = False
    for ids, documents, chosen in zip(
        batch.input_ids.tolist(),
        batch.document_ids.tolist(),
        (labels != -100).tolist(),
        strict=True,
    ):
        words = []  # lists of positions, by walking from left to right
        for t, token in enumerate(ids):
            if token < 5 or documents[t] == 0:
                continue
            goes_on = (
                t and not begins[token] and ids[t - 1] >= 5 and documents[t] == documents[t - 1]
            )
            if goes_on and words:
                words[-1].append(t)
            else:
                words.append([t])
        picked = [word for word in words if chosen[word[0]]]
        assert all(chosen[t] == chosen[word[0]] for word in words for t in word)
        assert len(picked) == max(1, round(0.3 * len(words)))
        seen_several |= any(len(word) > 2 for word in picked)
    assert seen_several


def test_the_lowest_draws_are_chosen():
    draws = torch.tensor([[0.5, 0.1, 0.9, 0.2]])
    starts = torch.tensor([[True, True, False, True]])
    ordinary = torch.ones(1, 4, dtype=torch.bool)
    chosen = choose_words(draws, starts, ordinary, 0.5)  # 2 of 3 words
    assert chosen.tolist() == [[False, True, True, True]]


def test_what_becomes_of_a_token_is_what_its_draws_say():
    ids, every = torch.tensor([[7, 8, 9, 7]]), torch.ones(1, 4, dtype=torch.bool)
    draws = torch.tensor([[[0.9, 0, 0], [0.1, 0.85, 0.5], [0.2, 0.95, 0], [0.3, 0.2, 0]]])
    rule = {"mask_token_id": 4, "replacements": torch.tensor([5, 6, 7]), "fraction": 0.75}
    masked, labels = mask_tokens(ids, every, every, draws, **rule)
    assert masked.tolist() == [[7, 6, 9, 4]]
    assert labels.tolist() == [[-100, 8, 9, 7]]


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_loss_is_cross_entropy_at_the_chosen_places(kind):
    model = MaskedReader().double()
    batch = random_batch(rows=6) if kind == "packed" else examples(rows=6)
    masked, labels = objective(seed=4).corrupt(batch)
    if kind == "packed":
        hidden = model.hidden_states(masked, document_ids=batch.document_ids)
    else:
        hidden = model.hidden_states(
            masked, batch.attention_mask, token_type_ids=batch.token_type_ids
        )
    logits = model.transform(hidden) @ model.words.weight.T + model.output_bias
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    result = objective(seed=4).loss(model, batch)
    assert result.weight == int((labels != -100).sum())
    torch.testing.assert_close(result.loss, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_does_not_depend_on_the_micro_batch(kind):
    batch = random_batch(rows=8) if kind == "packed" else examples(rows=8)
    assert_same_however_cut(MaskedReader(), objective, batch)


def test_resumes_to_the_bit():
    batch, whole, cut = many_words(rows=8), objective(seed=9), objective(seed=9)
    whole.corrupt(batch)
    state = json.loads(json.dumps(whole.state_dict()))
    cut.load_state_dict(state)
    for ours, theirs in zip(cut.corrupt(batch), whole.corrupt(batch), strict=True):
        assert torch.equal(ours, theirs)
