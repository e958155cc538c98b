import math
from dataclasses import replace

import pytest
import torch
import transformers
from scipy.stats import chisquare

from lmwright.engine.params import Constraint, SamplingParams
from lmwright.engine.sampling import (
    SamplingState,
    choose,
    distribution,
    draw,
    look,
    sampling_distribution,
    score,
)

DRAWS = 20_000
PROMPT, ANSWER, ENDS = (3, 4, 4, 9), (9, 5, 9, 11), frozenset({0, 7})


class Fixed:
    """A matcher that allows the same tokens at every place."""

    def __init__(self, allowed, size):
        self.mask = torch.isin(torch.arange(size), torch.tensor(allowed))

    def advance(self, token_id):
        pass


def state_of(params, seed=0, allowed=range(1, 20)):
    """A request in the middle of its answer."""
    matcher = Fixed(list(allowed), 20) if params.constraint else None
    state = SamplingState(replace(params, seed=seed), PROMPT, end_ids=ENDS, matcher=matcher)
    for token in ANSWER:
        state.advance(token)
    return state


def expected_distribution(logits: list[float], p: SamplingParams, allowed=range(1, 20)):
    """The definition, one token at a time in Python."""
    scores = dict(enumerate(logits))
    for token, bias in p.logit_bias.items():
        scores[token] += bias
    for token in {*PROMPT, *ANSWER}:
        scores[token] *= p.repetition_penalty if scores[token] < 0 else 1 / p.repetition_penalty
    for token in set(ANSWER):
        scores[token] -= ANSWER.count(token) * p.frequency_penalty + p.presence_penalty
    if len(ANSWER) < p.min_tokens:
        scores = {t: s for t, s in scores.items() if t not in {*ENDS, *p.stop_token_ids}}
    if p.constraint:
        scores = {t: s for t, s in scores.items() if t in allowed}
    weights = {token: math.exp(value / p.temperature) for token, value in scores.items()}
    ranked = sorted(weights, key=lambda token: (-weights[token], token))
    if p.top_k:
        ranked = ranked[: p.top_k]
    total = sum(weights[token] for token in ranked)
    kept, reached = [], 0.0
    for token in ranked:
        kept.append(token)
        reached += weights[token] / total
        if reached >= p.top_p:
            break
    kept = [token for token in kept if weights[token] >= p.min_p * weights[kept[0]]]
    total = sum(weights[token] for token in kept)
    return [weights[t] / total if t in kept else 0.0 for t in range(len(logits))]


OPTIONS = {
    "temperature": {},
    "cool": {"temperature": 0.7},
    "top_k": {"temperature": 1.5, "top_k": 5},
    "top_p": {"top_p": 0.8},
    "top_k_and_top_p": {"temperature": 1.3, "top_k": 12, "top_p": 0.9},
    "one_left": {"temperature": 0.5, "top_k": 1},
    "min_p": {"min_p": 0.2},
    "all_filters": {"temperature": 1.5, "top_k": 12, "top_p": 0.95, "min_p": 0.1},
    "repetition": {"repetition_penalty": 1.7},
    "favoured": {"repetition_penalty": 0.6},
    "presence": {"presence_penalty": 1.5},
    "frequency": {"frequency_penalty": -0.8},
    "bias": {"logit_bias": {3: 2.0, 9: -1.5, 1: -100.0}},
    "min_tokens": {"min_tokens": 5, "stop_token_ids": (2,)},
    "min_tokens_reached": {"min_tokens": 4},
    "constraint": {"constraint": Constraint("regex", ".")},
    "everything": {
        "temperature": 1.2,
        "top_k": 15,
        "top_p": 0.97,
        "min_p": 0.02,
        "repetition_penalty": 1.2,
        "presence_penalty": -0.5,
        "frequency_penalty": 0.4,
        "logit_bias": {5: 1.0, 7: 3.0},
        "min_tokens": 6,
        "constraint": Constraint("regex", "."),
    },
}


@pytest.mark.parametrize("option", OPTIONS)
def test_draws_follow_the_stated_distribution(option):
    logits = torch.randn(20, generator=torch.Generator().manual_seed(1)) * 1.5
    params = SamplingParams(**{"temperature": 1.0} | OPTIONS[option])
    expected = expected_distribution(logits.tolist(), params)
    state = state_of(params)
    # The same for every row: 20,000 times of it would be most of the test's time.
    adjusted = state.adjust(logits)
    state.adjust = lambda scores: adjusted

    stated = distribution(logits[None], [state])[0]
    choices = choose(logits.expand(DRAWS, -1), [state] * DRAWS)

    tokens = torch.tensor([choice.token_id for choice in choices])
    reference = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(stated, reference, atol=1e-7, rtol=0)
    counts = torch.bincount(tokens, minlength=20).tolist()
    possible = [token for token in range(20) if expected[token] > 0]
    assert sum(counts[token] for token in possible) == DRAWS
    if len(possible) > 1:  # one possible token leaves nothing to compare
        frequencies = [counts[token] for token in possible]
        assert chisquare(frequencies, [DRAWS * expected[t] for t in possible]).pvalue > 0.001


@pytest.mark.parametrize("option", OPTIONS)
def test_the_log_probability_reported_is_that_of_the_distribution_drawn_from(option):
    logits = torch.randn(20, generator=torch.Generator().manual_seed(1)) * 1.5
    params = SamplingParams(**{"temperature": 1.0, "logprobs": True} | OPTIONS[option])
    states = [state_of(params, seed) for seed in range(50)]
    expected = expected_distribution(logits.tolist(), params)
    for choice in choose(logits.expand(50, -1), states):
        assert choice.logprob == pytest.approx(math.log(expected[choice.token_id]), abs=1e-6)


def test_each_processor_equals_that_of_transformers():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(1, 20, generator=generator) * 3
    ids = torch.tensor([[*PROMPT, *ANSWER]])
    processors = {
        "repetition_penalty": (1.7, transformers.RepetitionPenaltyLogitsProcessor(1.7)),
        "temperature": (0.6, transformers.TemperatureLogitsWarper(0.6)),
        "top_k": (6, transformers.TopKLogitsWarper(6)),
        "top_p": (0.7, transformers.TopPLogitsWarper(0.7)),
        "min_p": (0.15, transformers.MinPLogitsWarper(0.15)),
        "logit_bias": (
            {2: 1.5, 9: -2.0},
            transformers.SequenceBiasLogitsProcessor([[[2], 1.5], [[9], -2.0]]),
        ),
        "min_tokens": (
            5,
            transformers.MinNewTokensLengthLogitsProcessor(len(PROMPT), 5, sorted(ENDS)),
        ),
    }
    for name, (value, processor) in processors.items():
        params = SamplingParams(**{"temperature": 1.0, name: value})
        expected = processor(ids, logits.double()).softmax(-1)
        found = distribution(logits, [state_of(params)])
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0, msg=name)
        assert not torch.equal(
            found, distribution(logits, [state_of(SamplingParams(temperature=1.0))])
        )


@pytest.mark.parametrize("seeds", ["one", "many"])
def test_streams_follow_the_distribution(seeds):
    """One request's tokens among each other, and the first tokens of requests with other seeds."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    params = SamplingParams(temperature=1.0, seed=3)
    if seeds == "one":
        state = SamplingState(params, (1,))
        drawn = [choose(logits, [state])[0].token_id for _ in range(4000)]
    else:
        states = [SamplingState(replace(params, seed=seed), (1,)) for seed in range(4000)]
        drawn = [choice.token_id for choice in choose(logits.expand(4000, -1), states)]

    expected = (logits[0].softmax(-1) * 4000).tolist()
    counts = [drawn.count(token) for token in range(4)]
    assert chisquare(counts, expected, sum_check=False).pvalue > 0.001


def test_rows_with_different_parameters_do_not_touch_each_other():
    logits = torch.randn(len(OPTIONS) + 2, 20, generator=torch.Generator().manual_seed(2))
    before = logits.clone()
    rows = [
        {"temperature": 1.0, "logprobs": row % 2 == 0} | o for row, o in enumerate(OPTIONS.values())
    ]
    params = [SamplingParams(**row) for row in (*rows, {}, {"logprobs": True, "top_logprobs": 3})]

    together = choose(logits, [state_of(p, row) for row, p in enumerate(params)])

    alone = [choose(logits[r : r + 1], [state_of(p, r)])[0] for r, p in enumerate(params)]
    assert alone == together
    assert [choice.logprob is not None for choice in together] == [p.logprobs for p in params]
    assert torch.equal(logits, before)


def test_greedy_takes_the_lowest_of_equal_ids_and_reports_the_models_own_probability():
    logits = torch.tensor([[1.0, 3.0, 3.0, 0.0, 1.0]])
    params = SamplingParams(logprobs=True, top_logprobs=3)

    (choice,) = choose(logits, [SamplingState(params, (1,))])

    own = logits[0].double().log_softmax(-1).tolist()
    assert choice.token_id == 1
    assert choice.logprob == pytest.approx(own[1], abs=1e-12)
    assert choice.top == tuple((token, pytest.approx(own[token], abs=1e-12)) for token in (1, 2, 0))
    assert distribution(logits, [SamplingState(params, (1,))]).tolist() == [[0, 1, 0, 0, 0]]


def test_alternatives_that_were_not_possible_are_left_out():
    params = SamplingParams(temperature=1.0, top_k=2, logprobs=True, top_logprobs=4)
    (choice,) = choose(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), [SamplingState(params, (1,))])
    assert [token for token, _ in choice.top] == [1, 2]


def test_prompts_are_scored_under_the_model_alone():
    logits = torch.randn(3, 9, generator=torch.Generator().manual_seed(4))
    own = logits.double().log_softmax(-1)

    scored = score(logits, [8, 0, 4], top=2)

    for row, (token, choice) in enumerate(zip([8, 0, 4], scored, strict=True)):
        assert choice.logprob == own[row, token].item()
        assert [token for token, _ in choice.top] == own[row].topk(2).indices.tolist()
    assert score(logits, [8, 0, 4])[0].top == ()


def test_a_complete_grammar_is_stronger_than_the_least_number_of_tokens():
    params = SamplingParams(constraint=Constraint("regex", "."), min_tokens=20)
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(5))
    (choice,) = choose(logits, [state_of(params, allowed=ENDS)])
    assert choice.token_id in ENDS
    (choice,) = choose(logits, [state_of(params, allowed=[0, 7, 13])])
    assert choice.token_id == 13


def test_a_model_with_more_rows_than_its_tokenizer_has_tokens_keeps_to_the_grammar():
    params = SamplingParams(constraint=Constraint("regex", "."))
    logits = torch.zeros(1, 32).index_fill(1, torch.arange(20, 32), 5.0)
    assert choose(logits, [state_of(params)])[0].token_id == 1


def test_a_cut_between_equals_keeps_the_lower_ids():
    logits = torch.zeros(1, 10)
    by_count = sampling_distribution(logits, [SamplingParams(temperature=1.0, top_k=3)])
    by_mass = sampling_distribution(logits, [SamplingParams(temperature=1.0, top_p=0.25)])

    assert by_count[0].nonzero()[:, 0].tolist() == [0, 1, 2]
    assert by_mass[0].nonzero()[:, 0].tolist() == [0, 1, 2]


def test_a_mass_that_is_reached_exactly_needs_no_further_token():
    quarters = torch.zeros(1, 4)
    kept = sampling_distribution(quarters, [SamplingParams(temperature=1.0, top_p=0.5)])
    assert kept.tolist() == [[0.5, 0.5, 0.0, 0.0]]


def test_extreme_temperatures_give_probabilities():
    logits = torch.tensor([[1.0, 2.0, float("-inf")]])
    for temperature in (1e-300, 1e-10, 1e10):
        params = SamplingParams(temperature=temperature, top_k=2, top_p=0.999, min_p=1e-9)
        probabilities = sampling_distribution(logits, [params])
        assert probabilities.isfinite().all()
        assert probabilities.sum().item() == pytest.approx(1.0)
        assert probabilities[0, 2] == 0


def test_the_ends_of_the_unit_interval_draw_possible_tokens():
    probabilities = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]], dtype=torch.float64).repeat(3, 1)
    ends = torch.tensor([0.0, math.nextafter(1.0, 0.0), 0.3], dtype=torch.float64)

    assert draw(probabilities, ends).tolist() == [1, 3, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_without_a_highest_number_are_told(dtype):
    nothing, infinite = float("-inf"), float("inf")
    rows = [
        [1.0, nothing, 3.0],
        [1.0, float("nan"), 3.0],
        [nothing, nothing, nothing],
        [1.0, infinite, nothing],
        [0.0, 0.0, 0.0],
    ]
    logits = torch.tensor(rows, dtype=dtype)
    assert look(logits).sound == [True, False, False, False, True]
    assert look(logits[:0]) == ([], [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_scores_the_first_is_the_highest(dtype):
    scores = torch.tensor([[0.0, 2.0, 2.0, 1.0], [5.0, 5.0, 5.0, 5.0]], dtype=dtype)
    states = [SamplingState(SamplingParams(temperature=0), [0])] * 2
    assert [choice.token_id for choice in choose(scores, states)] == [1, 0]
