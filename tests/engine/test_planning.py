import random

from lmwright.engine.planning import Load, share_pass

SIZE = 4


def share(running, budget=50, free=50, limit=None):
    return share_pass(
        running, budget=budget, free=free, block_size=SIZE, paced=lambda continued: limit
    )


def answer(*blocks, short=0, drafts=0):
    return Load(1, SIZE * len(blocks) - short, blocks, drafts)


def test_drafts_take_free_blocks_and_nobody_elses():
    # Three positions are left in its block; a fourth draft would need the block of the other.
    running = [answer(0, short=3, drafts=6), answer(1, short=1)]
    assert share(running, free=0) == ([3, 1], 2, 46)
    assert share(running, free=1) == ([7, 1], 2, 42)
    assert share(running, budget=5) == ([5, 0], 2, 0)


def test_a_block_is_free_once_the_last_who_shares_it_has_lost_his():
    own = {"short": 1}
    running = [answer(0), answer(1, 2, **own), answer(1, 3, **own), answer(1, 2, **own)]
    # Others hold both blocks of the last one. Block 3 is the next one's alone.
    assert share(running, free=0) == ([1, 1, 0, 0], 2, 0)


def test_what_prompts_may_bring_is_shared_and_the_rest_is_left():
    running = [Load(3, 0, ()), answer(0, short=1), Load(9, 8, (1, 2))]
    assert share(running, limit=10) == ([3, 1, 7], 3, 0)
    assert share(running, limit=20) == ([3, 1, 9], 3, 8)
    assert share(running, budget=6, limit=20) == ([3, 1, 2], 3, 0)


def test_budget_and_blocks_are_kept():
    source = random.Random(0)
    for _ in range(500):
        running, blocks = [], 0
        for _ in range(source.randint(1, 6)):
            computed = source.randint(0, 12)
            held = -(-computed // SIZE)
            remaining = source.choice([1, source.randint(2, 20)])
            own = tuple(range(blocks, blocks + held))
            running.append(Load(remaining, computed, own, source.randint(0, 3)))
            blocks += held
        budget, free = source.randint(1, 30), source.randint(0, 5)
        shares = share(running, budget, free, source.choice([None, 1, 7]))
        kept = list(zip(running, shares.tokens, strict=True))[: shares.kept]
        assert sum(shares.tokens) + shares.left <= budget
        assert not any(shares.tokens[shares.kept :])
        wanted = sum(max(-(-(one.computed + n) // SIZE), len(one.blocks)) for one, n in kept)
        assert wanted <= blocks + free
        assert all(n <= one.remaining + one.drafts for one, n in kept)
        # Of those who kept theirs, an answer without a token means that the budget was gone.
        if any(one.remaining == 1 and not n for one, n in kept):
            assert sum(shares.tokens) == budget
