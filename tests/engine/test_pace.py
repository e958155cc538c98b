import random

from lmwright.engine.pace import FEWEST_TOKENS, Pace


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


def test_a_step_with_a_chunk_takes_at_most_twice_as_long():
    rng = random.Random(0)
    for base, each in [(0.005, 0.00002), (0.05, 0.001), (0.02, 0.0005)]:
        pace = Pace()
        for _ in range(20):
            pace.observe(8, 0, base * (1 + 0.2 * rng.random()))
        assert simulated(pace, 8, base, each, rng) <= 2.0
        # And the room that there is is used.
        assert pace.prompt_tokens(8) >= max(FEWEST_TOKENS, 0.5 * base / each)


def test_a_prompt_always_goes_on():
    pace = Pace()
    assert pace.prompt_tokens(4) == FEWEST_TOKENS
    pace.observe(4, 0, 0.001)
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


def test_the_nearest_known_number_of_answers_stands_for_an_unknown_one():
    pace = Pace()
    pace.observe(1, 0, 0.01)
    pace.observe(64, 0, 0.1)
    pace.observe(2, 200, 0.04)
    assert pace.prompt_tokens(2) < pace.prompt_tokens(40)


def test_a_step_with_few_tokens_says_nothing_about_a_tokens_time():
    pace = Pace()
    pace.observe(4, 0, 0.01)
    pace.observe(4, 100, 0.02)
    before = pace.prompt_tokens(4)
    pace.observe(0, 1, 0.01)  # nearly all of it a pass's fixed cost
    assert pace.prompt_tokens(4) == before
