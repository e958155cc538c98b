"""Greedy answers of every decoder family equal transformers', however they are computed."""

import pytest

from lmwright.engine.params import SamplingParams
from lmwright.engine.speculation import NgramProposer
from tests.engine.generations import TIE, answers, generation, reference_greedy, same_until_a_tie
from tests.models.family_cases import DECODERS, case

NEW = 12
WAYS = {
    "alone": {"max_sequences": 1, "prefix_caching": False},
    "together": {"prefix_caching": False},
    "known prefixes": {"max_sequences": 2},
    "preempted": {"num_blocks": 8},
    "in chunks": {"max_batch_tokens": 3},
    "in chunks, preempted": {"max_batch_tokens": 5, "num_blocks": 9, "block_size": 3},
    "with drafts": {"proposer": NgramProposer(longest=2, shortest=1)},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize(
    ("family", "seed"),
    [
        pytest.param(family, seed, marks=[] if seed == 0 else pytest.mark.slow)
        for family in DECODERS
        for seed in range(4)
    ],
)
def test_greedy_equals_transformers(family, seed, root):
    given = case(family, seed, root)
    first, second, third = given.tokens.tolist()
    prompts = [first[:12], second[:1], third[:7], first[:9] + second[:5], third[:7]]
    expected = [reference_greedy(given.reference, prompt, NEW) for prompt in prompts]

    for way, settings in WAYS.items():
        over = generation(given.ours, **settings)
        found = answers(over, prompts, SamplingParams(max_tokens=NEW))
        for ids, (wanted, gaps) in zip(found, expected, strict=True):
            assert same_until_a_tie(ids, wanted, gaps), way
        stats = over.stats()
        assert (stats.preemptions > 0) == ("preempted" in way)
        assert (stats.prefix_hit_tokens > 0) >= (way == "known prefixes")
        assert (stats.draft_tokens > 0) == (way == "with drafts")

    compared = sum(min(gaps) >= TIE for _, gaps in expected)
    assert compared >= len(prompts) / 2  # or the test says little
