"""How a pass must be shared out, in the order in which it is learnt."""

from dataclasses import dataclass, replace
from typing import Any

from lmwright.engine.planning import Load, Shares
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.labs.scheduler.traffic import SIZE, Request, served
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call

PLENTY = 1_000


@dataclass(frozen=True)
class Pace:
    """Prompts may bring `most` tokens, less for each answer that the pass continues."""

    most: int | None = None
    each: int = 0

    def __call__(self, continued: int) -> int | None:
        return None if self.most is None else max(1, self.most - self.each * continued)


def load(draw: Draw, first: int, kind: str, drafts: int = 0) -> Load:
    """A sequence whose blocks are numbered from `first`."""
    computed = draw.size(1 if kind == "answer" else 0, 10)
    # Drafts that were not taken up may have left it a block more than it fills.
    spare = kind == "answer" and draw.chance(0.2)
    blocks = tuple(range(first, first - (-computed // SIZE) + spare))
    remaining = 1 if kind == "answer" else draw.size(2, 20)
    return Load(remaining, computed, blocks, drafts if kind == "answer" else 0)


def case(
    draw: Draw, kinds: tuple[str, ...], *, drafts: int = 0, most: int = 7, **given: Any
) -> Case:
    """Sequences of these kinds; budget, blocks and pace are plenty where they are not given."""
    running: list[Load] = []
    for _ in range(draw.size(1, most)):
        held = sum(len(other.blocks) for other in running)
        running.append(load(draw, held, draw.choice(kinds), draw.size(0, drafts)))
    facts = {"budget": PLENTY, "free": PLENTY, "block_size": SIZE, "paced": Pace()} | given
    hit = {"answer" if one.remaining == 1 else "prompt" for one in running}
    return Case((running,), facts, branches=frozenset(hit))


def shares(subject: Subject, case: Case) -> Any:
    """What the subject returns, as a `Shares` whatever kind of sequence its tokens are in."""
    found = call(subject, case)
    return Shares(list(found[0]), *found[1:]) if isinstance(found, tuple) else found


def within(found: Any, case: Case) -> str | None:
    """The budget is kept, and so are the blocks."""
    total, budget = sum(found.tokens), case.kwargs["budget"]
    if total + found.left > budget:
        return f"{total} tokens and {found.left} for others in a pass of {budget}"
    if any(found.tokens[found.kept :]):
        return "a sequence that loses its blocks has tokens in the pass"
    return None


def answers(draw: Draw) -> Case:
    return case(draw, ("answer",))


def crowded(draw: Draw) -> Case:
    return case(draw, ("answer",), budget=draw.size(1, 6))


def mixed(draw: Draw) -> Case:
    return case(draw, ("answer", "prompt"), budget=draw.size(1, 40))


def slow(draw: Draw) -> Case:
    pace = Pace(draw.size(1, 20), draw.choice([0, 1, 3]))
    return case(draw, ("answer", "prompt"), budget=draw.size(4, 40), paced=pace)


def guessing(draw: Draw) -> Case:
    return case(
        draw, ("answer", "answer", "prompt"), drafts=4, budget=draw.size(2, 30), paced=Pace(9, 1)
    )


def guessing_in_few_blocks(draw: Draw) -> Case:
    given = case(draw, ("answer",), drafts=9, budget=draw.size(8, 60))
    needed = sum(one.computed % SIZE == 0 for one in given.args[0])
    return replace(given, kwargs={**given.kwargs, "free": needed + draw.size(0, 3)})


def few_blocks(draw: Draw) -> Case:
    pace = draw.choice([Pace(), Pace(12, 1)])
    return case(
        draw,
        ("answer", "prompt"),
        drafts=draw.choice([0, 3]),
        budget=draw.size(4, 50),
        free=draw.size(0, 4),
        paced=pace,
    )


def shared_blocks(draw: Draw) -> Case:
    """All of them begin alike, some have more in common, and nothing is free."""
    running: list[Load] = []
    for place in range(draw.size(2, 6)):
        common = draw.size(1, 2)
        own = draw.size(0, 2)
        blocks = (*range(common), *range(100 + 10 * place, 100 + 10 * place + own))
        answer = draw.chance(0.6)
        computed = len(blocks) * SIZE - draw.choice([0, 0, 1])
        running.append(Load(1 if answer else draw.size(2, 9), computed, blocks))
    facts = {"budget": 50, "free": draw.size(0, 1), "block_size": SIZE, "paced": Pace()}
    return Case((running,), facts)


def traffic(draw: Draw) -> Case:
    requests = sorted(
        (
            Request(draw.size(0, 12), draw.size(1, 30), draw.size(1, 12))
            for _ in range(draw.size(2, 9))
        ),
        key=lambda request: request.arrives,
    )
    facts = {"budget": draw.size(4, 24), "blocks": draw.size(11, 20), "paced": Pace(10, 1)}
    return Case((tuple(requests),), facts)


def nobody_starves(trace: list[Any], case: Case) -> str | None:
    return "a request never gets its answer" if trace and trace[-1] is None else None


PROPERTIES = (
    Property("every answer that goes on has one token in the pass", answers, observe=shares),
    Property(
        "the budget is never passed; who came first is first",
        crowded,
        observe=shares,
        holds=within,
    ),
    Property(
        "prompts are read in chunks, with what the answers leave of the budget",
        mixed,
        observe=shares,
        holds=within,
        branches=frozenset({"answer", "prompt"}),
    ),
    Property(
        "the pace bounds what all prompts bring, by how many answers go on",
        slow,
        observe=shares,
        holds=within,
        branches=frozenset({"answer", "prompt"}),
    ),
    Property(
        "drafts come with their answer's token, as far as there is budget",
        guessing,
        observe=shares,
        holds=within,
    ),
    Property(
        "drafts fill free blocks, and cost nobody a block",
        guessing_in_few_blocks,
        observe=shares,
        holds=within,
    ),
    Property(
        "where blocks run out, the last of the running lose theirs, and nobody joins",
        few_blocks,
        cases=150,
        observe=shares,
        holds=within,
        branches=frozenset({"answer", "prompt"}),
    ),
    Property(
        "a shared block is free once none of those who keep theirs holds it",
        shared_blocks,
        cases=100,
        observe=shares,
    ),
    Property(
        "every request gets its whole answer in the end, whatever was lost on the way",
        traffic,
        cases=25,
        observe=served,
        holds=nobody_starves,
    ),
)


def prompts_first(running: list[Load], *, budget: int) -> list[int]:
    tokens = [0] * len(running)
    for reading in (True, False):
        for place, one in enumerate(running):
            if (one.remaining > 1) == reading:
                tokens[place] = min(one.remaining, budget - sum(tokens))
    return tokens


def fair(running: list[Load], *, budget: int) -> list[int]:
    tokens = [0] * len(running)
    while sum(tokens) < budget and any(
        t < r.remaining for t, r in zip(tokens, running, strict=True)
    ):
        for place, one in enumerate(running):
            if tokens[place] < one.remaining and sum(tokens) < budget:
                tokens[place] += 1
    return tokens


def shortest_first(running: list[Load], *, budget: int) -> list[int]:
    tokens = [0] * len(running)
    for place in sorted(range(len(running)), key=lambda place: (running[place].remaining, place)):
        tokens[place] = min(running[place].remaining, budget - sum(tokens))
    return tokens


def _budgeted(draw: Draw) -> Case:
    given = mixed(draw)
    return Case(given.args, {"budget": given.kwargs["budget"]})


_ASKS = (
    "`{name}(running, *, budget)`: the tokens of each of `running` (a list of `Load`) in a pass of "
    "`budget` tokens, as a list; there are blocks enough, and no drafts. {rule}"
)

TWISTS = {
    "prompts_first": Twist(
        "prompts_first",
        _ASKS.format(
            name="prompts_first",
            rule="Prompts come first (an engine that wants a short time to the first token), in "
            "order, each with all that it wants as far as the budget reaches; answers get what is "
            "left, one token each, in order.",
        ),
        prompts_first,
        (Property("prompts come first, then answers, each in order", _budgeted),),
    ),
    "fair": Twist(
        "share_fairly",
        _ASKS.format(
            name="share_fairly",
            rule="They take turns, in order: one token each, again and again, until the budget is "
            "gone or nobody wants more (`remaining` tokens are the most that one takes).",
        ),
        fair,
        (Property("one token each, turn by turn", _budgeted),),
    ),
    "shortest_first": Twist(
        "shortest_first",
        _ASKS.format(
            name="shortest_first",
            rule="Who wants the fewest tokens (`remaining`) is first, of equals the one that came "
            "first; each gets all that it wants as far as the budget reaches.",
        ),
        shortest_first,
        (Property("who wants the fewest tokens is first", _budgeted),),
    ),
}
