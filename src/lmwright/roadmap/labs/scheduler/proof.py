"""16 requests at once in small passes and few blocks, against each of them alone."""

from typing import Any

from lmwright.roadmap.proofs import stories_llm

BEGINNINGS = (
    "Once upon a time",
    "One day, Tom and Lily went to the park.",
    "The big dog",
    "A bird",
)
TOKENS = 40


def measure() -> dict[str, Any]:
    """Tokens that differ between a request in the crowd and the same request alone."""
    from lmwright.engine import SamplingParams

    prompts = [
        f"{beginning} {'and then ' * (n // 4)}" for n, beginning in enumerate(BEGINNINGS * 4)
    ]
    params = [
        SamplingParams(max_tokens=TOKENS, temperature=0.7 * (n % 2), seed=n, ignore_eos=True)
        for n in range(len(prompts))
    ]
    alone = stories_llm(runner="portable")
    crowded = stories_llm(
        runner="portable", max_sequences=8, max_batch_tokens=12, kv_blocks=24, prefix_caching=False
    )
    expected = [alone.generate([p], own)[0] for p, own in zip(prompts, params, strict=True)]
    found = crowded.generate(prompts, params)
    different = sum(
        mine != right
        for answer, reference in zip(found, expected, strict=True)
        for mine, right in zip(answer.token_ids, reference.token_ids, strict=True)
    )
    errors = sum(answer.finish_reason != "length" for answer in found)
    return {
        "different_tokens": different,
        "errors": errors,
        "preemptions": crowded.stats().preemptions,
    }
