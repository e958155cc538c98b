"""Who of the running sequences computes how many tokens in the next pass.

Continuous batching: Yu et al. 2022, Orca, section 3.1. Chunks of prompts beside answers that are
being continued: Agrawal et al. 2024, Sarathi-Serve, section 4. Preemption by recomputation: Kwon
et al. 2023, section 4.5.
"""

from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import NamedTuple


class Load(NamedTuple):
    """What a running sequence has, and what it wants of a pass."""

    remaining: int
    """Tokens of it that are not in the cache yet; 1 where its answer goes on, more where its
    prompt is being read."""
    computed: int
    """Tokens of it in the cache."""
    blocks: Items[int]
    """That hold them, by position."""
    drafts: int = 0
    """Guesses that may be checked together with an answer's token."""


class Shares(NamedTuple):
    """How a pass is shared out."""

    tokens: list[int]
    """Of each sequence, its drafts included; 0: it has none in this pass."""
    kept: int
    """So many of the first keep their blocks; the others lose theirs, and begin anew later."""
    left: int
    """Tokens of prompts that others may bring who join in this pass."""


def share_pass(
    running: Items[Load],
    *,
    budget: int,
    free: int,
    block_size: int,
    paced: Callable[[int], int | None],
) -> Shares:
    """Every answer's next token first, then chunks of prompts.

    Args:
        running: in order of rank. Nobody else holds blocks; several of them may hold the same one.
        budget: most tokens of the pass.
        free: blocks that nobody holds.
        block_size: positions of a block.
        paced: most tokens of prompts, by how many answers the pass continues; None: as many as
            the budget allows.

    Returns:
        Their shares. Nobody joins in a pass in which somebody loses his blocks.
    """
    tokens, extra = [0] * len(running), [0] * len(running)
    kept, room = len(running), budget

    def give(place: int, count: int) -> None:
        """Give a sequence tokens and the blocks for them, at the cost of those of lowest rank."""
        nonlocal free, kept, room
        positions, blocks = running[place].computed + count, len(running[place].blocks)
        wanted = max(0, -(-positions // block_size) - blocks - extra[place])
        while wanted > free and kept > place:
            kept -= 1
            held = {block for other in running[:kept] for block in other.blocks}
            free += extra[kept] + len(set(running[kept].blocks) - held)
            tokens[kept] = 0
        if place < kept:  # else it has lost its own
            free -= wanted
            extra[place] += wanted
            room -= count - tokens[place]
            tokens[place] = count

    for place, load in enumerate(running):
        if load.remaining == 1 and room:
            give(place, 1)
            if load.drafts:
                # Drafts are guesses: they cost nobody a block.
                places = (len(load.blocks) + extra[place] + free) * block_size - load.computed
                give(place, min(1 + load.drafts, 1 + room, places))
    limit = paced(sum(count > 0 for count in tokens))
    reading = room if limit is None else min(room, limit)
    for place, load in enumerate(running):
        if load.remaining > 1:
            count = min(load.remaining, reading)
            give(place, count)
            reading -= count
    return Shares(tokens, kept, reading if kept == len(running) else 0)
