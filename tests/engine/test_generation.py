from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.core.errors import LmwrightError
from lmwright.engine.generation import Generation
from lmwright.engine.params import SamplingParams
from lmwright.engine.sequence import Sequence
from tests.engine.generations import drain, sequence
from tests.engine.remembering_runner import VOCABULARY, RememberingRunner, continuation

PARAMS = SamplingParams(max_tokens=6)


class Oracle:
    """Drafts of which some are right: the true continuation, spoiled at a place."""

    def __init__(self, spoiled):
        self.spoiled = spoiled

    def propose(self, sequence_ids, most):
        drafts = []
        for ids in sequence_ids:
            draft = continuation(ids, min(most, len(ids) % 5))
            if draft and self.spoiled < len(draft):
                draft[self.spoiled] = (draft[self.spoiled] + 1) % VOCABULARY
            drafts.append(draft)
        return drafts


def over(num_blocks=64, block_size=2, poison=None, **changes):
    values = {"max_sequences": 4, "max_batch_tokens": 64, "prefix_caching": True}
    return Generation(RememberingRunner(num_blocks, block_size, poison), **(values | changes))


def add(generation, number, prompt, params=PARAMS):
    generation.add(sequence(number, prompt, params))


def token_ids(events):
    return [event.token_id for event in events if event.token_id is not None]


PROMPT = st.lists(st.integers(0, 1), min_size=1, max_size=12)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.tuples(PROMPT, st.integers(1, 8), st.integers(0, 2))),
        st.tuples(st.just("step"), st.integers(1, 5)),
        st.tuples(st.just("abort"), st.integers(0, 12)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    operations=OPERATIONS,
    num_blocks=st.integers(10, 24),
    block_size=st.integers(2, 3),
    max_sequences=st.integers(1, 5),
    max_batch_tokens=st.integers(1, 20),
    prefix_caching=st.booleans(),
    spoiled=st.sampled_from([None, 0, 1, 2, 9]),
    paced=st.booleans(),
)
def test_every_request_ends_once_and_answers_as_alone(
    operations, num_blocks, block_size, spoiled, paced, **bounds
):
    proposer = None if spoiled is None else Oracle(spoiled)
    generation = over(num_blocks, block_size, proposer=proposer, **bounds)
    wanted, aborted, events = {}, set(), {}
    for name, detail in operations:
        if name == "add":
            prompt, length, priority = detail
            number = len(wanted)
            wanted[number] = continuation(prompt, length)
            add(generation, number, prompt, SamplingParams(max_tokens=length, priority=priority))
        elif name == "abort":
            aborted.add(detail)
            generation.abort(detail)
        else:
            for _ in range(detail):
                for event in generation.step(paced=paced):
                    events.setdefault(event.request_id, []).append(event)
                generation.scheduler.check()
        generation.scheduler.check()
    for number, more in drain(generation, paced=paced).items():
        events.setdefault(number, []).extend(more)

    assert events.keys() == wanted.keys()
    for number, ids in wanted.items():
        reasons = [event.finish_reason for event in events[number]]
        assert reasons[:-1] == [None] * (len(reasons) - 1)
        found = token_ids(events[number])
        if reasons[-1] == "abort":
            assert number in aborted
            assert found == ids[: len(found)]
        else:
            assert (reasons[-1], found) == ("length", ids)
    for new in generation.runner.passes:
        assert sum(tokens for tokens, _ in new) <= bounds["max_batch_tokens"]
        assert len(new) <= bounds["max_sequences"]


def test_a_known_beginning_is_not_computed_again_but_one_token_always_is():
    generation = over(block_size=2)
    prompt = [1, 2, 3, 4, 5, 6]
    add(generation, 0, prompt)
    drain(generation)
    generation.runner.passes.clear()

    add(generation, 1, prompt)
    add(generation, 2, [*prompt, 7])
    first = generation.step(paced=False)

    assert generation.runner.passes == [[(2, 6), (1, 7)]]
    assert [event.token_id for event in first] == [
        continuation(prompt, 1)[0],
        continuation([*prompt, 7], 1)[0],
    ]
    assert generation.stats().prefix_hit_tokens == 4 + 6


def test_prompts_that_begin_alike_and_arrive_together_are_computed_once():
    generation = over(block_size=2, max_sequences=8)
    prompt = [1, 2, 3, 4, 5, 6, 7, 8]
    for number in range(3):
        add(generation, number, [*prompt, number])
    events = drain(generation)
    assert generation.stats().prefix_hit_tokens == 2 * len(prompt)
    for number in range(3):
        assert token_ids(events[number]) == continuation([*prompt, number], 6)


def test_what_an_adapter_computed_is_its_own():
    generation = over(block_size=2)
    prompt = [1, 2, 3, 4, 5]
    for number, adapter in enumerate([None, "a", "b", "a"]):
        add(generation, number, prompt, replace(PARAMS, adapter=adapter))
        drain(generation)
    assert generation.stats().prefix_hit_tokens == 4
    assert generation.runner.adapters[0] is None
    assert generation.runner.adapters[-1] == ("a",)


def test_the_next_turn_of_a_conversation_finds_the_last_ones_answer():
    generation = over(block_size=2)
    add(generation, 0, [1, 2, 3])
    answer = token_ids(drain(generation)[0])
    add(generation, 1, [1, 2, 3, *answer, 4])
    drain(generation)
    # Of the 9 tokens the last was chosen, but never computed.
    assert generation.stats().prefix_hit_tokens == 8


def test_lower_priorities_go_first_then_who_came_first():
    generation = over(max_sequences=1)
    for number, priority in enumerate([5, 0, 5, -1]):
        add(generation, number, [1, 2], replace(PARAMS, priority=priority, max_tokens=1))
    order = []
    while generation.has_work:
        order += [event.request_id for event in generation.step(paced=False)]
    assert order == [3, 1, 0, 2]


def test_the_last_of_the_lowest_priority_gives_way_and_comes_back():
    generation = over(num_blocks=8, block_size=2, prefix_caching=False)
    for number, priority in enumerate([1, 0, 1]):
        add(generation, number, [number] * 3, SamplingParams(max_tokens=8, priority=priority))
    events = drain(generation)
    assert generation.stats().preemptions > 0
    ends = [number for number in events if events[number][-1].finish_reason == "length"]
    assert sorted(ends) == [0, 1, 2]
    for number in range(3):
        assert token_ids(events[number]) == continuation([number] * 3, 8)


def test_drafts_save_passes_and_are_counted():
    plain, drafting = over(), over(proposer=Oracle(spoiled=2))
    for generation in (plain, drafting):
        add(generation, 0, [1, 2, 3], SamplingParams(max_tokens=20))
        assert token_ids(drain(generation)[0]) == continuation([1, 2, 3], 20)
    stats = drafting.stats()
    assert len(drafting.runner.passes) == len(plain.runner.passes) - stats.accepted_tokens
    assert 0 < stats.accepted_tokens < stats.draft_tokens
    assert stats.generation_tokens == 20


def test_an_end_token_among_accepted_drafts_ends_the_answer():
    whole = continuation([1, 2, 3], 20)
    end = whole[4]
    generation = over(proposer=Oracle(spoiled=9))
    generation.add(sequence(0, [1, 2, 3], SamplingParams(max_tokens=20), frozenset({end})))
    events = drain(generation)[0]
    assert token_ids(events) == whole[: whole.index(end) + 1]
    assert events[-1].finish_reason == "stop"


def test_an_aborted_request_ends_at_the_next_step_and_frees_its_blocks():
    generation = over(max_sequences=4)
    for number in range(5):
        add(generation, number, [number, 1, 2], SamplingParams(max_tokens=50))
    generation.step(paced=False)
    for number in (1, 4, 999):
        generation.abort(number)
    generation.scheduler.check()
    ends = {e.request_id: e.finish_reason for e in generation.step(paced=False) if e.finish_reason}
    assert ends == {1: "abort", 4: "abort"}
    assert (generation.stats().running, generation.stats().waiting) == (3, 0)
    for number in (0, 2, 3):
        generation.abort(number, report=False)
    assert generation.stats().kv_blocks_used == 0
    assert not generation.has_work


def test_a_request_whose_scores_are_not_numbers_fails_alone():
    generation = over(poison=200)
    add(generation, 0, [1, 2, 200, 3, 4])
    add(generation, 1, [1, 2, 3])
    events = drain(generation)
    assert [event.finish_reason for event in events[0]] == ["error"]
    assert "not finite" in events[0][0].error
    assert token_ids(events[1]) == continuation([1, 2, 3], 6)


@pytest.mark.parametrize("part", ["push", "choose"])
def test_a_request_whose_processing_raises_fails_alone(part, monkeypatch):
    generation = over()
    sequences = [sequence(number, [1, 2, number], PARAMS) for number in range(3)]
    if part == "push":
        push = Sequence.push

        def failing(self, *arguments):
            if self.request_id == 1 and len(self.token_ids) == 2:
                raise ValueError("a broken decoder")
            return push(self, *arguments)

        monkeypatch.setattr(Sequence, "push", failing)
    else:

        class Broken:
            mask = property(lambda self: 1 / 0)

        sequences[1].state.matcher = Broken()
    for each in sequences:
        generation.add(each)
    events = drain(generation)

    assert events[1][-1].finish_reason == "error"
    assert ("broken decoder" if part == "push" else "ZeroDivisionError") in events[1][-1].error
    for number in (0, 2):
        assert token_ids(events[number]) == continuation([1, 2, number], 6)


def test_a_pass_that_raised_can_be_tried_again(monkeypatch):
    generation = over()
    add(generation, 0, [1, 2, 3])
    generation.step(paced=False)
    add(generation, 1, [1, 2, 3, 4])
    forward = generation.runner.forward
    with monkeypatch.context() as patch:
        patch.setattr(generation.runner, "forward", lambda batch: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generation.step(paced=False)
    generation.scheduler.check()
    generation.runner.forward = forward
    events = drain(generation)
    assert token_ids(events[0]) == continuation([1, 2, 3], 6)[1:]
    assert token_ids(events[1]) == continuation([1, 2, 3, 4], 6)


def test_only_scoring_the_prompt_generates_nothing():
    generation = over(max_batch_tokens=4, block_size=2)
    prompt = [1, 2, *continuation([1, 2], 5), 8]
    params = SamplingParams(max_tokens=0, prompt_logprobs=True, top_logprobs=1)
    for number in range(2):  # the second time its beginning is known, and is needed all the same
        add(generation, number, prompt, params)
        (event,) = drain(generation)[number]
        assert (event.token_id, event.finish_reason) == (None, "length")
        assert [token for token, _, _ in event.prompt_logprobs] == prompt[1:]
        likeliest = [top[0][0] == token for token, _, top in event.prompt_logprobs]
        assert likeliest[1:-1] == [True] * 5
        assert all(logprob < 0 for _, logprob, _ in event.prompt_logprobs)


def test_prompt_scores_come_with_the_first_token():
    generation = over(max_batch_tokens=3)
    add(generation, 0, [1, 2, 3, 4, 5], replace(PARAMS, prompt_logprobs=True))
    events = drain(generation)[0]
    assert [token for token, _, _ in events[0].prompt_logprobs] == [2, 3, 4, 5]
    assert all(event.prompt_logprobs is None for event in events[1:])
    assert token_ids(events) == continuation([1, 2, 3, 4, 5], 6)


def test_people_are_told_their_own_mistakes_in_words(monkeypatch):
    generation = over()
    add(generation, 0, [1])

    def refuse(self, *arguments):
        raise LmwrightError("nothing can follow")

    monkeypatch.setattr(Sequence, "push", refuse)
    assert drain(generation)[0][0].error == "nothing can follow"
