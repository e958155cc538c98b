"""Wrong ways to share a pass out, each with the idea that it misses."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from lmwright.engine.planning import Load, Shares
from lmwright.roadmap.properties import Mutant


@dataclass
class _Pass:
    """A pass that is being shared out, wrong in one place."""

    running: Items[Load]
    budget: int
    free: int
    size: int
    wrong: str
    tokens: list[int] = field(default_factory=list)
    extra: list[int] = field(default_factory=list)
    kept: int = 0

    def __post_init__(self) -> None:
        self.tokens = [0] * len(self.running)
        self.extra = [0] * len(self.running)
        self.kept = len(self.running)

    @property
    def room(self) -> int:
        return self.budget - sum(self.tokens)

    def give(self, place: int, count: int) -> bool:
        load = self.running[place]
        positions = load.computed + (0 if self.wrong == "old positions" else count)
        blocks = positions // self.size if self.wrong == "floor" else -(-positions // self.size)
        wanted = max(0, blocks - len(load.blocks) - self.extra[place])
        if self.wrong == "nobody loses" and wanted > self.free:
            return False
        while wanted > self.free and self.kept > place:
            self.preempt()
        if self.kept <= place:
            return False
        self.free -= wanted
        if self.wrong != "forgets extra":
            self.extra[place] += wanted
        self.tokens[place] = count
        return True

    def preempt(self) -> None:
        self.kept -= 1
        held = {block for other in self.running[: self.kept] for block in other.blocks}
        own = set(self.running[self.kept].blocks)
        self.free += self.extra[self.kept]
        self.free += len(own if self.wrong == "shared is free" else own - held)
        if self.wrong != "victim runs":
            self.tokens[self.kept] = 0


def _share(
    running: Items[Load],
    budget: int,
    free: int,
    block_size: int,
    paced: Callable[[int], int | None],
    wrong: str,
) -> Shares:
    now = _Pass(running, budget, free, block_size, wrong)
    places = range(len(running))
    answers = [place for place in places if running[place].remaining == 1]
    prompts = [place for place in places if running[place].remaining > 1]
    if wrong == "last first":
        answers, prompts = answers[::-1], prompts[::-1]
    if wrong == "prompts first":
        left = _read(now, prompts, paced(len(answers)))
        _continue(now, answers)
    elif wrong == "in order":
        left = now.room
        for place in places:
            if now.room and place < now.kept:
                now.give(place, min(running[place].remaining, now.room))
        left = now.room
    else:
        _continue(now, answers)
        counted = len(running) if wrong == "paces all" else sum(map(bool, now.tokens))
        left = _read(now, prompts, paced(counted))
    joins = now.kept == len(running) or wrong == "joins anyway"
    return Shares(now.tokens, now.kept, left if joins else 0)


def _continue(now: _Pass, answers: list[int]) -> None:
    for place in answers:
        load = now.running[place]
        if place >= now.kept or (now.room <= 0 and now.wrong != "no budget"):
            continue
        if not now.give(place, 1) or not load.drafts or now.wrong == "no drafts":
            continue
        most = 1 + load.drafts
        if now.wrong != "drafts beyond":
            most = min(most, 1 + now.room)
        positions = (len(load.blocks) + now.extra[place] + now.free) * now.size - load.computed
        if now.wrong != "drafts cost":
            most = min(most, positions)
        now.give(place, most)


def _read(now: _Pass, prompts: list[int], limit: int | None) -> int:
    reading = now.room if limit is None or now.wrong == "no pace" else min(now.room, limit)
    whole = reading
    for place in prompts:
        remaining = now.running[place].remaining
        count = min(remaining, reading)
        if now.wrong == "pace each":
            count = min(remaining, now.room, now.room if limit is None else limit)
        if now.wrong == "whole prompts" and remaining > reading:
            continue
        if count > 0 and place < now.kept and now.give(place, count):
            reading = max(reading - count, 0)
    if now.wrong == "left is room":
        return max(now.room, 0)
    return whole if now.wrong == "left is all" else reading


def _mutant(wrong: str, says: str) -> Mutant:
    def share_pass(
        running: Items[Load],
        *,
        budget: int,
        free: int,
        block_size: int,
        paced: Callable[[int], int | None],
    ) -> Shares:
        return _share(running, budget, free, block_size, paced, wrong)

    return Mutant(says, share_pass)


MUTANTS = (
    _mutant("no budget", "a pass in which answers take tokens that the budget does not have"),
    _mutant("last first", "a pass in which those who came last are served first"),
    _mutant("prompts first", "a pass that reads prompts before answers go on: answers stall"),
    _mutant("no pace", "a pass that does not ask `paced`"),
    _mutant("in order", "a pass that takes all in order of rank: a prompt can stall later answers"),
    _mutant("whole prompts", "a pass that reads a prompt only when all of it fits: no chunks"),
    _mutant("left is all", "a `left` from which what the prompts took is not taken"),
    _mutant("pace each", "a pace that bounds each prompt: it bounds all of them together"),
    _mutant("paces all", "a pace that is asked with all that run, not with the answers that go on"),
    _mutant("left is room", "a `left` that is the whole room, whatever the pace allows"),
    _mutant("no drafts", "a pass without drafts"),
    _mutant("drafts beyond", "a pass whose drafts go beyond the budget"),
    _mutant("drafts cost", "drafts that take blocks from others: they are guesses"),
    _mutant(
        "nobody loses", "a pass in which a sequence without a block waits, and nobody loses his"
    ),
    _mutant("old positions", "blocks counted for the tokens before this pass, not after it"),
    _mutant("floor", "blocks rounded down: a block that is begun counts"),
    _mutant("forgets extra", "a pass that forgets which blocks it has given out already"),
    _mutant("victim runs", "a pass in which who lost his blocks still has his tokens"),
    _mutant("joins anyway", "a pass that others may join although somebody lost his blocks"),
    _mutant("shared is free", "a pass that counts blocks as free that others still hold"),
)
