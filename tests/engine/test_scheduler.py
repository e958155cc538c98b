from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.engine import scheduler as scheduler_module
from lmwright.engine.llm import LLM
from lmwright.engine.sampling import SamplingParams
from lmwright.engine.scheduler import prefill_groups
from lmwright.engine.sequence import Sequence

PARAMS = SamplingParams(max_tokens=12, temperature=1.0, top_k=40)


def drain(llm, events):
    while llm.has_work():
        for event in llm.step():
            events.setdefault(event.request_id, []).append(event)
        llm._scheduler.check()
    return events


def token_ids(events):
    return [event.token_id for event in events if event.token_id is not None]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(3, 319), min_size=1, max_size=30)),
        st.tuples(st.just("step"), st.integers(1, 6)),
        st.tuples(st.just("abort"), st.integers(0, 12)),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(operations=OPERATIONS, max_sequences=st.integers(1, 5))
def test_every_request_ends_once_and_answers_as_alone(model, tokenizer, operations, max_sequences):
    llm = LLM.from_model(model, tokenizer, max_sequences=max_sequences)
    prompts, aborted, events = {}, set(), {}
    for name, detail in operations:
        if name == "add":
            request = llm.add(detail, replace(PARAMS, seed=len(prompts)))
            prompts[request] = detail
        elif name == "abort":
            aborted.add(detail)
            llm.abort(detail)
        else:
            for _ in range(detail):
                for event in llm.step():
                    events.setdefault(event.request_id, []).append(event)
        llm._scheduler.check()
    drain(llm, events)

    assert events.keys() == prompts.keys()
    for request, prompt in prompts.items():
        reasons = [event.finish_reason for event in events[request]]
        assert reasons[:-1] == [None] * (len(reasons) - 1)
        whole = llm.generate([prompt], replace(PARAMS, seed=request))[0]
        if reasons[-1] == "abort":
            assert request in aborted
            ids = token_ids(events[request])
            assert ids == whole.token_ids[: len(ids)]
        else:
            assert reasons[-1] == whole.finish_reason
            assert token_ids(events[request]) == whole.token_ids
            assert "".join(event.text for event in events[request]) == whole.text


def test_an_aborted_request_ends_at_the_next_step_and_frees_its_place(llm):
    endless = SamplingParams(max_tokens=90, ignore_eos=True)
    requests = [llm.add([5, 6, number], endless) for number in range(5)]  # four may run
    llm.step()
    assert (llm.running, llm.waiting) == (4, 1)

    llm.abort(requests[1])
    llm.abort(requests[4])
    llm.abort(999)
    events = llm.step()

    assert (llm.running, llm.waiting) == (3, 0)
    ends = {event.request_id: event.finish_reason for event in events if event.finish_reason}
    assert ends == {requests[1]: "abort", requests[4]: "abort"}


def test_requests_join_while_others_run(llm):
    endless = SamplingParams(max_tokens=30, ignore_eos=True)
    first = llm.add([5, 6], endless)
    for _ in range(3):
        llm.step()
    second = llm.add([7], endless)
    assert {event.request_id for event in llm.step()} == {first, second}


def test_a_request_whose_scores_are_not_numbers_fails_alone(tiny_model, tokenizer):
    model = tiny_model()
    poison = 7
    with torch.no_grad():
        model.embed_tokens.weight[poison] = float("nan")
    # With tied weights the poison would be in every row's scores: this head is healthy.
    model.lm_head = torch.nn.Linear(32, 320, bias=False)
    llm = LLM.from_model(model, tokenizer, max_sequences=4)
    healthy = SamplingParams(max_tokens=8, temperature=1.0, top_k=1, ignore_eos=True)
    alone = llm.generate([[5, 6, 8]], healthy)[0]
    assert poison not in alone.token_ids

    bad = llm.add([5] * 20 + [poison] * 10, SamplingParams())
    good = llm.add([5, 6, 8], healthy)
    events = drain(llm, {})
    later = llm.add([5, 6, 8], healthy)  # may get the slot the poison was in
    drain(llm, events)

    assert [event.finish_reason for event in events[bad]] == ["error"]
    assert "not finite" in events[bad][0].error
    for request in (good, later):
        assert token_ids(events[request]) == alone.token_ids


def test_a_request_whose_processing_raises_fails_alone(llm, monkeypatch):
    params = SamplingParams(max_tokens=5, ignore_eos=True)
    bad, good = llm.add([5, 6], params), llm.add([5, 6], params)
    push = Sequence.push

    def failing(self, token_id, logprob):
        if self.request_id == bad and len(self.token_ids) == 2:
            raise ValueError("a broken decoder")
        return push(self, token_id, logprob)

    monkeypatch.setattr(Sequence, "push", failing)
    events = drain(llm, {})

    assert events[bad][-1].finish_reason == "error"
    assert "a broken decoder" in events[bad][-1].error
    assert len(token_ids(events[good])) == 5


@pytest.mark.parametrize("budget", [50, 4096])
def test_prefill_groups_keep_every_prompt_and_little_padding(monkeypatch, budget):
    monkeypatch.setattr(scheduler_module, "PREFILL_TOKENS", budget)
    lengths = [1, 3, 900, 5, 30, 2, 31, 29, 400, 1, 1, 60]
    waiting = [
        Sequence(number, [5] * length, PARAMS, limit=1, end_ids=(), text=None)
        for number, length in enumerate(lengths)
    ]

    groups = list(prefill_groups(waiting))

    assert sorted(s.request_id for group in groups for s in group) == list(range(len(lengths)))
    for group in groups:
        real = [len(s.prompt_ids) for s in group]
        padded = len(real) * max(real)
        assert len(group) == 1 or padded <= budget
        assert padded - sum(real) <= sum(real) / 4 + scheduler_module.PADDING_WORTH_A_PASS
