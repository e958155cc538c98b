"""stories260K tells stories by sampling with the probabilities in use."""

from typing import Any

from lmwright.roadmap.proofs import stories_llm

BEGINNINGS = ("Once upon a time", "One day, a big dog", "The little girl", "Tom had a red car")
FILTERS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.8},
    {"temperature": 1.0, "top_k": 20},
    {"temperature": 1.2, "top_p": 0.8},
    {"temperature": 0.9, "min_p": 0.1, "top_k": 50},
)
TOKENS = 60


def measure() -> dict[str, Any]:
    """How surprising 16 seeded stories are to the distributions that they were drawn from.

    Another token anywhere changes the number, and so does another probability.
    """
    from lmwright.engine import SamplingParams

    prompts = [beginning for beginning in BEGINNINGS for _ in FILTERS]
    params = [
        SamplingParams(
            max_tokens=TOKENS, seed=seed, ignore_eos=True, logprobs=True, **FILTERS[seed % 4]
        )
        for seed in range(len(prompts))
    ]
    answers = stories_llm(runner="portable").generate(prompts, params)
    surprise = -sum(sum(answer.logprobs or ()) for answer in answers)
    tokens = sum(len(answer.token_ids) for answer in answers)
    return {"nats_per_token": surprise / tokens, "tokens": tokens}
