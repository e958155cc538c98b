"""stories260K in too few blocks, with shared beginnings, against no cache at all."""

from typing import Any

from lmwright.roadmap.proofs import stories_llm

SHARED = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but "
)
BEGINNINGS = (
    "Once upon a time",
    *(
        SHARED + more
        for more in ("", "it was", "her mom said", "the dog", "it was too high", "Tom")
    ),
    *("The cat sat.", "Tom ran.", "A bird sang.", "Mom said hi.", "It was dark."),
)
TOKENS = 40
BLOCKS = 24  # about a quarter of what all of them together want


def measure() -> dict[str, Any]:
    """Tokens that differ from the likeliest ones of a forward pass over the whole text.

    By both runners; the pool is theirs in common.
    """
    import torch

    from lmwright.engine import SamplingParams

    params = SamplingParams(max_tokens=TOKENS, ignore_eos=True)
    portable = stories_llm(runner="portable", kv_blocks=BLOCKS, max_sequences=8)
    automatic = stories_llm(kv_blocks=BLOCKS, max_sequences=8)
    different = preempted = hits = 0
    for llm in (portable, automatic):
        for _ in range(2):  # the second time, beginnings are known
            answers = llm.generate(list(BEGINNINGS), params)
            for beginning, answer in zip(BEGINNINGS, answers, strict=True):
                ids = [*llm.tokenizer.encode_prompt(beginning), *answer.token_ids]
                with torch.inference_mode():
                    logits = llm.model(torch.tensor([ids])).logits[0, -TOKENS - 1 : -1]
                likeliest = logits.amax(-1) - 1e-3  # what is as likely is as right
                own = logits.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]
                different += int((own < likeliest).sum())
        stats = llm.stats()
        preempted += stats.preemptions
        hits += stats.prefix_hit_tokens
    return {"different_tokens": different, "preemptions": preempted, "prefix_hit_tokens": hits}
