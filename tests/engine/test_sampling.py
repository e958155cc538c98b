import math
from random import Random

import pytest
import torch
from scipy.stats import chisquare

from lmwright.core.errors import LmwrightError
from lmwright.engine.sampling import SamplingParams, choose, draw, sampling_distribution

DRAWS = 20_000


def expected_distribution(logits: list[float], temperature: float, top_k: int, top_p: float):
    """The definition, one token at a time in Python: temperature, then top-k, then top-p."""
    weights = [math.exp(value / temperature) for value in logits]
    ranked = sorted(range(len(logits)), key=lambda token: (-weights[token], token))
    if top_k:
        ranked = ranked[:top_k]
    total = sum(weights[token] for token in ranked)
    kept, reached = [], 0.0
    for token in ranked:
        kept.append(token)
        reached += weights[token] / total
        if reached >= top_p:
            break
    total = sum(weights[token] for token in kept)
    return [weights[token] / total if token in kept else 0.0 for token in range(len(logits))]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.5, 5, 1.0), (1.0, 0, 0.8), (1.3, 12, 0.9), (0.5, 1, 1.0)],
)
def test_draws_follow_the_stated_distribution(temperature, top_k, top_p):
    logits = torch.randn(20, generator=torch.Generator().manual_seed(1)) * 1.5
    expected = expected_distribution(logits.tolist(), temperature, top_k, top_p)
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, logprobs=True)
    streams = [Random(seed) for seed in range(DRAWS)]

    tokens, logprobs = choose(logits.expand(DRAWS, -1), [params] * DRAWS, streams)

    counts = torch.bincount(tokens, minlength=20).tolist()
    possible = [token for token in range(20) if expected[token] > 0]
    assert sum(counts[token] for token in possible) == DRAWS
    frequencies = [counts[token] for token in possible]
    if len(possible) > 1:  # one possible token leaves nothing to compare
        assert chisquare(frequencies, [DRAWS * expected[t] for t in possible]).pvalue > 0.001
    torch.testing.assert_close(
        logprobs, torch.tensor(expected, dtype=torch.float64)[tokens].log(), atol=1e-6, rtol=0
    )


def test_one_stream_follows_the_distribution_token_by_token():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    params, stream = SamplingParams(temperature=1.0), Random(3)

    drawn = [choose(logits, [params], [stream])[0].item() for _ in range(4000)]

    expected = (logits[0].softmax(-1) * 4000).tolist()
    counts = [drawn.count(token) for token in range(4)]
    assert chisquare(counts, expected, sum_check=False).pvalue > 0.001


def test_rows_with_different_parameters_do_not_touch_each_other():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(2))
    params = [
        SamplingParams(),
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.3, top_k=3),
        SamplingParams(temperature=2.0, top_p=0.5),
        SamplingParams(logprobs=True),
        SamplingParams(temperature=1.0, top_k=50, top_p=0.99, logprobs=True),
    ]

    def streams(rows):
        return [None if params[row].greedy else Random(row) for row in rows]

    together, logprobs = choose(logits, params, streams(range(6)))

    for row in range(6):
        alone, alone_logprobs = choose(logits[row : row + 1], [params[row]], streams([row]))
        assert alone.item() == together[row].item()
        if params[row].logprobs:
            assert alone_logprobs.item() == logprobs[row].item()


def test_greedy_takes_the_lowest_of_equal_ids_and_reports_the_models_own_probability():
    logits = torch.tensor([[1.0, 3.0, 3.0, 0.0]])
    params = SamplingParams(logprobs=True)

    tokens, logprobs = choose(logits, [params], [None])

    assert tokens.item() == 1
    assert logprobs.item() == pytest.approx(logits.log_softmax(-1)[0, 1].item(), abs=1e-6)


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
        params = SamplingParams(temperature=temperature, top_k=2, top_p=0.999)
        probabilities = sampling_distribution(logits, [params])
        assert probabilities.isfinite().all()
        assert probabilities.sum().item() == pytest.approx(1.0)
        assert probabilities[0, 2] == 0


def test_the_ends_of_the_unit_interval_draw_possible_tokens():
    probabilities = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]], dtype=torch.float64).repeat(3, 1)
    ends = torch.tensor([0.0, math.nextafter(1.0, 0.0), 0.3], dtype=torch.float64)

    assert draw(probabilities, ends).tolist() == [1, 3, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"stop": ("a", "")},
        {"stop": ""},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(LmwrightError, match=next(iter(wrong))):
        SamplingParams(**wrong)


def test_one_stop_string_is_one_stop_string():
    assert SamplingParams(stop="###").stop == ("###",)
