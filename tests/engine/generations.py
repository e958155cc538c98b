"""Sequences run to their end without a tokenizer, every invariant checked after every step."""

import torch

from lmwright.engine.generation import Generation
from lmwright.engine.params import SamplingParams
from lmwright.engine.runner import PortableRunner
from lmwright.engine.sampling import SamplingState
from lmwright.engine.sequence import Sequence

TIE = 1e-4  # the reference's two best logits closer than this: either may be taken


def sequence(number, prompt, params, end_ids=frozenset()):
    """A request whose text nobody reads."""
    state = SamplingState(params, prompt, end_ids=end_ids)
    return Sequence(number, prompt, params, limit=params.max_tokens, text=None, state=state)


def generation(model, *, num_blocks=64, block_size=4, stored=None, **settings):
    """A generation over a portable runner with small blocks."""
    defaults = {"max_sequences": 8, "max_batch_tokens": 512, "prefix_caching": True}
    runner = PortableRunner(model, num_blocks, block_size, stored=stored)
    return Generation(runner, **(defaults | settings))


def drain(over, *, paced=False):
    """Step until nothing is left to do; the events, by request."""
    events = {}
    while over.has_work:
        for event in over.step(paced=paced):
            events.setdefault(event.request_id, []).append(event)
        over.scheduler.check()
    assert over.scheduler.pool.used == 0
    return events


def answers(over, prompts, params=None):
    """The answers' ids to these prompts, run together."""
    params = params or SamplingParams(max_tokens=10)
    sequences = [sequence(number, prompt, params) for number, prompt in enumerate(prompts)]
    for each in sequences:
        over.add(each)
    drain(over)
    assert all(each.error is None for each in sequences)
    return [each.token_ids for each in sequences]


def reference_greedy(reference, prompt, max_tokens, end_ids=()):
    """Greedy ids by transformers' own loop, and the gap of its two best logits at each step."""
    out = reference.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=sorted(end_ids) or None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = [step[0].topk(2).values for step in out.logits]
    return out.sequences[0, len(prompt) :].tolist(), [(a - b).item() for a, b in best]


def same_until_a_tie(ours, expected, gaps):
    """Whether ids agree up to the reference's first tie (which ends the comparison)."""
    for position, gap in enumerate(gaps):
        if gap < TIE:
            return ours[:position] == expected[:position]
    return ours == expected
