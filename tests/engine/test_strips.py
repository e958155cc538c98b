"""Strips hold what a gather would find, whoever joins, leaves, or takes over blocks."""

import random

import torch

from lmwright.engine.strips import GROWTH, Strips

SIZE = 4


def take_part(strips, cache, rows):
    """One pass: `rows` are (table, context); what each strip then holds of its row."""
    arrangement = strips.arrange([t for t, _ in rows], [c for _, c in rows], SIZE)
    keys, values = strips.keys_and_values(0, arrangement, torch.zeros(1, 1, 1, 1))
    assert sorted(arrangement.order) == list(range(len(rows)))
    for strip, row in enumerate(arrangement.order):
        table, context = rows[row]
        content = [cache[table[place // SIZE], place % SIZE] for place in range(context)]
        if strip in arrangement.joining:
            keys[strip] = values[strip] = 0
            keys[strip, 0, :context, 0] = torch.tensor(content)
        keys[strip, 0, context - 1, 0] = content[-1]
        assert keys[strip, 0, :context, 0].tolist() == content
        assert not keys[strip, 0, context:].any(), "what another row left"
    return len(arrangement.joining)


def test_strips_hold_what_the_blocks_do():
    for seed in range(20):
        rng = random.Random(seed)
        strips, cache, stamp, joined, passes = Strips(10_000), {}, 1.0, 0, 0
        free, running = list(range(5000)), []
        for _ in range(60):
            rng.shuffle(running)
            while running and rng.random() < 0.2:
                free += running.pop()[0]
            for row in running:  # its next token, in a new block where the last one is full
                table, context = row
                if context == len(table) * SIZE:
                    table.append(free.pop())
                cache[table[context // SIZE], context % SIZE], stamp = stamp, stamp + 1
                row[1] += 1
            if running:
                joined += take_part(strips, cache, [(t, c) for t, c in running])
                passes += len(running)
            else:
                strips.clear()
            for _ in range(rng.randrange(3)):  # read in this pass, continued in the next
                table, context = [free.pop()], rng.randrange(1, SIZE)
                for place in range(context):
                    cache[table[0], place], stamp = stamp, stamp + 1
                running.append([table, context])
        assert joined < passes / 2


def test_too_much_room_is_not_taken():
    strips = Strips(positions=100)
    assert strips.arrange([[0]], [GROWTH], SIZE) is not None
    assert strips.arrange([[0], [1]], [GROWTH * 3, 1], SIZE) is None
    # Nothing is left of what was known before.
    assert strips.arrange([[0]], [GROWTH], SIZE).joining == [0]
