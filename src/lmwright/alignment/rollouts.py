"""Pairs from the model's own answers: what it says wrong is what it should learn not to say."""

from collections.abc import Sequence

from lmwright.alignment.pairs import Pair
from lmwright.engine.llm import LLM
from lmwright.engine.sampling import SamplingParams


def on_policy_pairs(
    llm: LLM,
    pairs: Sequence[Pair],
    *,
    samples: int,
    temperature: float,
    seed: int,
    max_tokens: int = 64,
) -> tuple[list[Pair], float]:
    """Answer each prompt `samples` times and pair every wrong answer with the chosen one.

    Pairs written beforehand teach a model not to say what it would never have said; its own errors
    are the ones that count (Tajwar et al. 2024, Preference Fine-Tuning of LLMs Should Leverage
    Suboptimal, On-Policy Data, section 5).

    Args:
        llm: the policy, as it is now.
        pairs: prompts and the answers they deserve; their rejected answers are not used.
        samples: answers per prompt.
        temperature: of the samples; the first answer of each prompt is greedy.
        seed: of the samples.
        max_tokens: where answers are cut off.

    Returns:
        one pair for each different wrong answer, and the share of answers that were right.
    """
    prompts = [pair.prompt for pair in pairs for _ in range(samples)]
    params = [
        SamplingParams(
            max_tokens=max_tokens,
            temperature=temperature if number else 0.0,
            seed=seed + index * samples + number if number else None,
        )
        for index in range(len(pairs))
        for number in range(samples)
    ]
    completions = llm.chat(prompts, params)
    found: list[Pair] = []
    right = 0
    for index, pair in enumerate(pairs):
        wanted = pair.chosen[-1]["content"]
        seen = {wanted}
        for completion in completions[index * samples : (index + 1) * samples]:
            text = completion.text.strip()
            right += text == wanted
            if text and text not in seen:
                seen.add(text)
                rejected = [{"role": "assistant", "content": text}]
                found.append(Pair(pair.prompt, pair.chosen, rejected))
    return found, right / max(1, len(completions))
