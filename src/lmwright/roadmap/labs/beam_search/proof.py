"""stories260K goes on from beginnings with the beam search in use."""

from typing import Any

from lmwright.roadmap.proofs import stories_llm

BEGINNINGS = (
    "Once upon a time, there was a",
    "Lily and Tom went to the",
    "The dog was very",
    "One day, the sun",
    "Mom said,",
    "He found a big",
)
TOKENS = 20
BEAMS = 4


def measure() -> dict[str, Any]:
    """How unlikely the continuations are on average: fewer nats are a better search."""
    import torch

    llm = stories_llm(runner="portable")
    total = 0.0
    for beginning in BEGINNINGS:
        found = llm.beam_search(beginning, beams=BEAMS, max_tokens=TOKENS).token_ids
        ids = [*llm.tokenizer.encode_prompt(beginning), *found]
        with torch.inference_mode():
            logprobs = llm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        before = logprobs[-len(found) - 1 : -1]
        total -= float(before.gather(1, torch.tensor(found)[:, None]).sum())
    return {"nats_per_continuation": total / len(BEGINNINGS)}
