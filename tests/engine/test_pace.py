import random

import pytest

from lmwright.engine.pace import FEWEST_TOKENS, MOST_SHARE, STALE_STEPS, Pace


def simulated(pace, continued, base, each, rng, steps=200, noise=0.2):
    """Steps beside a prompt without end, and how long the slowest was against an idle one."""
    worst = 0.0
    for _ in range(steps):
        tokens = pace.prompt_tokens(continued)
        seconds = (base + each * tokens) * (1 + noise * rng.random())
        pace.observe(continued, tokens, seconds)
        worst = max(worst, seconds / (base * (1 + noise)))
    return worst


def test_without_answers_to_continue_there_is_no_limit():
    assert Pace().prompt_tokens(0) is None


@pytest.mark.parametrize("continued", [1, 2, 8])
def test_a_step_with_a_chunk_takes_at_most_twice_as_long(continued):
    rng = random.Random(0)
    for base, each in [(0.005, 0.00002), (0.05, 0.001), (0.02, 0.0005)]:
        pace = Pace()
        for _ in range(20):
            pace.observe(continued, 0, base * (1 + 0.2 * rng.random()))
        assert simulated(pace, continued, base, each, rng) <= 2.0
        # And the room that there is is used.
        assert pace.prompt_tokens(continued) >= max(FEWEST_TOKENS, 0.5 * base / each)


def test_a_prompt_always_goes_on():
    pace = Pace()
    pace.observe(4, 0, 0.001)
    assert pace.prompt_tokens(4) == FEWEST_TOKENS
    pace.observe(4, 100, 1.0)
    assert pace.prompt_tokens(4) == FEWEST_TOKENS


def test_tokens_that_become_dearer_make_chunks_smaller():
    pace, rng = Pace(), random.Random(1)
    for _ in range(10):
        pace.observe(4, 0, 0.01)
    simulated(pace, 4, 0.01, 0.00005, rng)
    before = pace.prompt_tokens(4)
    simulated(pace, 4, 0.01, 0.0002, rng)
    assert pace.prompt_tokens(4) < before / 2


def test_a_step_without_prompts_is_timed_before_any_and_again_under_load():
    pace, without = Pace(), []
    for step in range(10 * STALE_STEPS):
        tokens = pace.prompt_tokens(9, waiting=50)
        pace.observe(9, tokens, 0.01 + 0.0005 * tokens)
        if not tokens:
            without.append(step)
    assert without[0] == 0
    assert without[1:] == list(range(STALE_STEPS + 1, 10 * STALE_STEPS, STALE_STEPS + 1))
    # Others than these are not known yet.
    assert pace.prompt_tokens(40) == 0


def test_the_more_wait_beside_few_answers_the_more_is_read():
    pace = Pace()
    pace.observe(8, 0, 0.01)
    for _ in range(20):
        pace.observe(8, 200, 0.11)
    few, even, many, crowd = (pace.prompt_tokens(8, waiting=n) for n in (1, 5, 13, 1_000))
    assert few == pace.prompt_tokens(8) == FEWEST_TOKENS  # 14 would cost what it may
    assert abs(even - 20) <= 1  # one step's time at half a millisecond a token
    assert abs(many - 60) <= 1
    assert abs(crowd - 20 * MOST_SHARE) <= 1


def served(pace, clients, seconds):
    """Clients who ask again at once, 120 tokens for an answer of 70: tokens/s, and seconds that
    the answers' beginnings took in the mean."""
    now, tokens, waits = 0.0, 0, []
    asked, left, running = [0.0] * clients, [120] * clients, []
    queue = list(range(clients))
    written = [0] * clients
    while now < seconds:
        limit = pace.prompt_tokens(len(running), waiting=len(queue))
        limit = read = 512 if limit is None else limit
        joined = []
        while queue and limit:
            part = min(limit, left[queue[0]])
            left[queue[0]] -= part
            limit -= part
            if not left[queue[0]]:
                joined.append(queue.pop(0))
        read -= limit
        took = 0.005 + 0.00037 * len(running) + 0.0006 * read
        now += took
        pace.observe(len(running), read, took)
        tokens += len(running)
        for one in list(running):
            written[one] += 1
            if written[one] == 70:
                running.remove(one)
                queue.append(one)
                asked[one], left[one], written[one] = now, 120, 0
        waits += [now - asked[one] for one in joined]
        running += joined
    return tokens / now, sum(waits) / len(waits)


def test_a_crowd_is_served_sooner_than_by_what_one_prompt_is_granted():
    class Unaware(Pace):
        def prompt_tokens(self, continued, waiting=1):
            return super().prompt_tokens(continued)

    speed, wait = served(Pace(), 64, 60)
    speed_unaware, wait_unaware = served(Unaware(), 64, 60)
    assert speed > 1.15 * speed_unaware
    assert wait < 0.6 * wait_unaware


def test_a_step_with_few_tokens_says_nothing_about_a_tokens_time():
    pace = Pace()
    pace.observe(4, 0, 0.01)
    pace.observe(4, 100, 0.02)
    before = pace.prompt_tokens(4)
    pace.observe(0, 1, 0.01)  # nearly all of it a pass's fixed cost
    assert pace.prompt_tokens(4) == before
