"""What a pool of blocks must do, in the order in which it is learnt.

A case is a script of requests. Which free block a pool gives is its own affair, so nothing here
looks at block numbers: only at counts, at prefixes that are found again, and at what would lie in
the blocks that are found.
"""

from dataclasses import replace
from typing import Any

from lmwright.engine.blocks import BlockPool
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.labs.kv_cache.play import Play, Step, Tokens
from lmwright.roadmap.properties import Case, Property, Subject, Twist


def played(subject: Subject, case: Case) -> list[dict[str, Any]]:
    """What is seen after each step of the script."""
    play = Play(subject(**case.kwargs))
    return [play.step(name, detail) for name, detail in case.args[0]]


def emptied(subject: Subject, case: Case) -> list[Any]:
    """How many steps found room, and what is free and known when everyone has left."""
    play = Play(subject(**case.kwargs))
    known = [play.step(name, detail)["known blocks"] for name, detail in case.args[0]]
    while play.running:
        play.step("end", 0)
    return [known, play.pool.free, play.pool.used, play.problem]


def counted(subject: Subject, case: Case) -> list[int]:
    return [subject(**case.kwargs).blocks_for(count) for count in case.args[0]]


def text(draw: Draw, longest: int) -> Tokens:
    """Of two different tokens, so that beginnings are often the same."""
    return tuple(draw.size(0, 1) for _ in range(draw.size(1, longest)))


def case_of(blocks: int, size: int, rows: list[Step]) -> Case:
    sizes = {"num_blocks": blocks, "block_size": size}
    return Case((tuple(rows),), sizes, branches=frozenset(name for name, _ in rows))


def script(
    draw: Draw, kinds: tuple[str, ...], *, steps: int = 30, longest: int = 9, tight: bool = True
) -> Case:
    """A case of steps of these kinds; in a pool of few blocks, or of more than they want."""
    blocks, size = draw.size(2, 8) if tight else 300, draw.choice([1, 2, 3])
    rows: list[Step] = []
    for _ in range(draw.size(3, steps)):
        name = draw.choice(kinds)
        place = draw.random.randrange(9)
        if name == "grow":
            rows.append((name, (place, text(draw, 4))))
        else:
            rows.append((name, place if name in ("end", "fail") else text(draw, longest)))
    return case_of(blocks, size, rows)


def unshared(draw: Draw) -> Case:
    """No block is ever full, so that none has a hash."""
    rows: list[Step] = []
    for _ in range(draw.size(2, 12)):
        name = draw.choice(["apart", "end"])
        rows.append((name, (0,) * draw.size(1, 7) if name == "apart" else draw.random.randrange(9)))
    return case_of(draw.size(2, 9), 8, rows)


def lengths(draw: Draw) -> Case:
    sizes = {"num_blocks": 4, "block_size": draw.size(1, 16)}
    return Case((tuple(draw.size(0, 40) for _ in range(5)),), sizes)


def pressed(draw: Draw) -> Case:
    """Texts that end, and others that need their blocks: what is forgotten first?"""
    size = draw.choice([1, 2])
    blocks = draw.size(3, 9)
    rows: list[Step] = []
    for _ in range(draw.size(2, 8)):
        rows += [("begin", text(draw, 4 * size)), ("end", draw.random.randrange(9))]
        if draw.chance(0.6):
            rows += [("apart", (7,) * draw.size(1, 2 * size)), ("end", 0)]
        rows += [("find", text(draw, 4 * size)) for _ in range(2)]
    return case_of(blocks, size, rows)


def distrusted(draw: Draw) -> Case:
    """Some begin alike, and one of them goes wrong."""
    size = draw.choice([1, 2])
    rows: list[Step] = []
    for _ in range(draw.size(1, 5)):
        beginning = text(draw, 3 * size)
        rows += [("begin", beginning + text(draw, size)) for _ in range(draw.size(1, 3))]
        rows += [("fail", draw.random.randrange(9)), ("find", beginning)]
        rows += [("end", draw.random.randrange(9)), ("find", beginning)]
    return case_of(draw.size(8, 12), size, rows)


def thousand(draw: Draw) -> Case:
    kinds = ("begin", "begin", "apart", "grow", "end", "end", "fail", "find")
    seeds = [draw.random.getrandbits(32) for _ in range(90)]
    rows = [row for seed in seeds for row in script(Draw(seed), kinds).args[0]]
    return case_of(draw.size(4, 12), draw.choice([1, 2, 3]), rows[:1_000])


def nothing_leaks(seen: list[Any], case: Case) -> str | None:
    blocks = case.kwargs["num_blocks"]
    if seen[1] == blocks:
        return None
    return f"{seen[1]} of {blocks} blocks are free when everyone has left"


PROPERTIES = (
    Property("positions take as many blocks as they begin", lengths, observe=counted),
    Property(
        "a block has one holder at a time, and is free again when it is released",
        unshared,
        observe=played,
        branches=frozenset({"apart", "end"}),
    ),
    Property(
        "a block is found by its hash; the longest known beginning of a chain counts",
        lambda draw: script(draw, ("begin", "apart", "find", "torn"), tight=False),
        observe=played,
    ),
    Property(
        "a shared block is free when its last holder lets it go",
        lambda draw: script(draw, ("begin", "begin", "grow", "end"), tight=False),
        observe=played,
        branches=frozenset({"begin", "grow", "end"}),
    ),
    Property(
        "what is free and known is given last: the least recently released first, ends before "
        "beginnings",
        pressed,
        cases=120,
        observe=played,
    ),
    Property(
        "what is released with `forget` is not found again",
        distrusted,
        observe=played,
    ),
    Property(
        "all together",
        lambda draw: script(
            draw, ("begin", "begin", "apart", "grow", "end", "fail", "find"), steps=60
        ),
        observe=played,
    ),
    Property(
        "after 1,000 steps no block is lost",
        thousand,
        cases=3,
        observe=emptied,
        holds=nothing_leaks,
    ),
)


class FrequencyPool(BlockPool):
    """Forgets first what was taken up least often."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        super().__init__(num_blocks, block_size)
        self._taken: dict[int, int] = {}

    def take(self, blocks: Any) -> None:
        super().take(blocks)
        for block in blocks:
            self._taken[block] = self._taken.get(block, 0) + 1

    def _next(self) -> int:
        if not self._plain and self._untouched == self.num_blocks:
            rarest = min(self._known, key=lambda block: self._taken.get(block, 0))
            self._known.move_to_end(rarest, last=False)
        block = super()._next()
        self._taken.pop(block, None)
        return block


class ForgetfulPool(BlockPool):
    """Keeps so many free blocks known, and no more."""

    def __init__(self, num_blocks: int, block_size: int, most_known: int) -> None:
        super().__init__(num_blocks, block_size)
        self.most_known = most_known

    def release(self, blocks: Any, *, forget: bool = False) -> None:
        super().release(blocks, forget=forget)
        while len(self._known) > self.most_known:
            block, _ = self._known.popitem(last=False)
            del self._block_of[self._hash_of.pop(block)]
            self._plain.append(block)


class CountingPool(BlockPool):
    """Knows how many known blocks it had to forget."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        super().__init__(num_blocks, block_size)
        self.evicted = 0

    def _next(self) -> int:
        self.evicted += not self._plain and self._untouched == self.num_blocks
        return super()._next()


def _evictions(subject: Subject, case: Case) -> list[Any]:
    play = Play(subject(**case.kwargs))
    return [(play.step(name, detail), play.pool.evicted) for name, detail in case.args[0]]


def _bounded(draw: Draw) -> Case:
    case = pressed(draw)
    return replace(case, kwargs={**case.kwargs, "most_known": draw.size(0, 4)})


TWISTS = {
    "frequency": Twist(
        "FrequencyPool",
        "A class `FrequencyPool` like `BlockPool`, but where a known block must be forgotten, it "
        "is the one that `take` was called for least often since it was last given out; of those "
        "taken equally often, the least recently released.",
        FrequencyPool,
        (
            Property(
                "what was taken up least often is forgotten first",
                pressed,
                cases=120,
                observe=played,
            ),
        ),
    ),
    "forgetful": Twist(
        "ForgetfulPool",
        "A class `ForgetfulPool(num_blocks, block_size, most_known)` like `BlockPool`, but at most "
        "`most_known` free blocks stay known: after each `release` the least recently released "
        "ones beyond that are forgotten, and are free like those that never had a hash.",
        ForgetfulPool,
        (
            Property(
                "no more than `most_known` free blocks can be found",
                _bounded,
                cases=120,
                observe=played,
            ),
        ),
    ),
    "counting": Twist(
        "CountingPool",
        "A class `CountingPool` like `BlockPool`, with an attribute or property `evicted`: how "
        "many known blocks `allocate` had to forget so far.",
        CountingPool,
        (
            Property(
                "`evicted` counts the known blocks that were given out again",
                pressed,
                observe=_evictions,
            ),
        ),
    ),
}
