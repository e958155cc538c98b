from mine.scheduler import share_pass

from lmwright.engine.planning import Load


def share(running, budget=100, free=100, paced=lambda answers: None):
    found = share_pass(running, budget=budget, free=free, block_size=4, paced=paced)
    return list(found[0]), found[1], found[2]


def answer(*blocks, computed=None, drafts=0):
    return Load(1, 4 * len(blocks) if computed is None else computed, blocks, drafts)


def prompt(remaining):
    return Load(remaining, 0, ())


def test_answers_one_token_each():
    assert share([answer(0), answer(1)]) == ([1, 1], 2, 98)


def test_the_budget_serves_the_first():
    assert share([answer(0), answer(1), answer(2)], budget=2) == ([1, 1, 0], 3, 0)


def test_prompts_get_what_answers_leave_in_chunks():
    assert share([prompt(9), answer(0), prompt(9)], budget=12) == ([9, 1, 2], 3, 0)


def test_the_pace_bounds_all_prompts():
    asked = []

    def paced(answers):
        asked.append(answers)
        return 5

    assert share([answer(0), prompt(3), prompt(9)], paced=paced) == ([1, 3, 2], 3, 0)
    assert asked == [1]
    assert share([answer(0), prompt(3)], paced=paced) == ([1, 3], 2, 2)


def test_drafts():
    assert share([answer(0, drafts=3), answer(1)], budget=3) == ([3, 0], 2, 0)
    assert share([answer(0, drafts=9)], free=1) == ([4], 1, 96)
    assert share([answer(0, drafts=9), answer(1, computed=3)], free=1) == ([4, 1], 2, 95)


def test_the_last_loses_its_blocks():
    assert share([answer(0), answer(1), answer(2, computed=3)], free=1) == ([1, 1, 0], 2, 0)
    assert share([answer(0)], free=0) == ([0], 0, 0)


def test_a_shared_block_is_not_free():
    assert share([answer(0, 1), answer(0, 2), answer(0, 3)], free=0) == ([1, 0, 0], 1, 0)
    assert share([answer(0), answer(0), answer(1)], free=0) == ([1, 0, 0], 1, 0)


def test_lost_tokens_are_free_again():
    running = [prompt(9), answer(0, computed=3), answer(1, computed=3)]
    assert share(running, budget=4, free=0) == ([2, 1, 0], 2, 0)
