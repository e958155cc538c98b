from types import SimpleNamespace

from lmwright.engine.blocks import BlockPool
from lmwright.engine.params import SamplingParams
from lmwright.engine.scheduler import Scheduler
from lmwright.engine.sequence import Sequence

FREE = SimpleNamespace(end_ids=frozenset())


def sequence(number, length, **params):
    chosen = SamplingParams(max_tokens=50, **params)
    return Sequence(number, [number] * length, chosen, limit=50, text=None, state=FREE)


def scheduler(num_blocks=100, **changes):
    bounds = {"max_sequences": 8, "max_batch_tokens": 64, "prefix_caching": False}
    return Scheduler(BlockPool(num_blocks, 4), **(bounds | changes))


def step(given, paced=lambda continued: None):
    """One pass in which every sequence that chooses gets a token; what was planned."""
    portions = given.plan(paced)
    for portion in portions:
        if portion.chooses:
            portion.sequence.push(1)
        given.commit(portion)
        given.check()
    return {portion.sequence.request_id: portion.tokens for portion in portions}


def test_answers_go_on_beside_a_long_prompt_that_is_read_in_chunks():
    given = scheduler(max_batch_tokens=64)
    for number in range(3):
        given.add(sequence(number, 2))
    step(given)
    given.add(sequence(3, 200))
    plans = [step(given) for _ in range(4)]
    assert plans == [{0: 1, 1: 1, 2: 1, 3: 61}] * 3 + [{0: 1, 1: 1, 2: 1, 3: 17}]
    assert step(given) == dict.fromkeys(range(4), 1)


def test_the_pace_bounds_chunks_by_how_many_answers_go_on():
    given, asked = scheduler(), []

    def paced(continued):
        asked.append(continued)
        return 5 if continued else None

    given.add(sequence(0, 10))
    given.add(sequence(1, 10))
    assert step(given, paced) == {0: 10, 1: 10}
    given.add(sequence(2, 12))
    given.add(sequence(3, 3))
    # What is left of the room is not wasted; who came first is read first.
    assert [step(given, paced) for _ in range(3)] == [
        {0: 1, 1: 1, 2: 5},
        {0: 1, 1: 1, 2: 5},
        {0: 1, 1: 1, 2: 2, 3: 3},
    ]
    assert asked == [0, 2, 2, 2]


def test_nobody_joins_without_blocks_for_all_that_it_brings():
    given = scheduler(num_blocks=5)
    given.add(sequence(0, 11))
    given.add(sequence(1, 11))
    assert step(given) == {0: 11}
    assert [s.request_id for s in given.waiting] == [1]
    given.remove(given.running[0])
    assert step(given) == {1: 11}


def test_who_loses_its_blocks_in_a_pass_is_not_in_it():
    given = scheduler(num_blocks=4)
    for number, priority in enumerate([1, 0]):
        given.add(sequence(number, 6, priority=priority))
    assert step(given) == {0: 6, 1: 6}
    plans = [step(given) for _ in range(3)]
    # Both want a third block after the eighth token; the one of higher priority takes it.
    assert plans == [{0: 1, 1: 1}, {0: 1, 1: 1}, {1: 1}]
    assert given.preemptions == 1
    assert [s.request_id for s in given.waiting] == [0]
    assert given.waiting[0].computed == 0
