"""What a stream of events must be, in the order in which it is learnt."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.labs.sse_api.listening import Said, listen, parsed, read
from lmwright.roadmap.properties import Case, Property, Subject, Twist
from lmwright.serving.bench.sse import EventParser
from lmwright.serving.errors import ApiError
from lmwright.serving.streaming import events

ALPHABET = [
    *"aZ 09.,:",
    *'\n\r\t"\\\0',
    *"éßñ\u2028\ufeff",
    *"日本語",
    *"🙂🙃",
    "data: ",
    "\n\n",
    "\r\n",
    "[DONE]",
]


def sent(subject: Subject, case: Case) -> Any:
    """The events, one by one."""
    heard = listen(subject, case)
    return [read(event) for event in heard.events], heard.raised


def arrived(subject: Subject, case: Case) -> Any:
    """The data that a client reads from the bytes, which the network cuts anywhere."""
    heard = listen(subject, case)
    stream, parser, found = b"".join(heard.events), EventParser(), []
    for start in range(0, len(stream), 7):
        found += [parsed(text) for text in parser.feed(stream[start : start + 7])]
    return [read(event) for event in heard.events], found


def timed(subject: Subject, case: Case) -> Any:
    """After how many pieces each event was sent."""
    heard = listen(subject, case)
    return list(zip(heard.taken, map(read, heard.events), strict=True))


def behind(subject: Subject, case: Case) -> Any:
    """The events, what `ended` was told after how many of them, and whether the reply is closed."""
    heard = listen(subject, case)
    rows = [read(event) for event in heard.events]
    return {"events": rows, "ended": heard.ended, "closed": heard.closed, "raised": heard.raised}


def words(draw: Draw) -> str:
    return "".join(
        draw.choice(["Hello", " there", " str", "a", "b"]) for _ in range(draw.size(1, 3))
    )


def anything(draw: Draw) -> str:
    return "".join(draw.choice(ALPHABET) for _ in range(draw.size(1, 6)))


def script(draw: Draw, *, answers: int = 1, write: Any = words, quiet: float = 0.0) -> list[Said]:
    """Pieces of so many answers mixed, each with its end."""
    rows: list[list[Said]] = []
    for number in range(answers):
        texts = [write(draw) if not draw.chance(quiet) else "" for _ in range(draw.size(1, 5))]
        own = [Said(number, text) for text in texts]
        ending = draw.choice(["stop", "length"])
        together = draw.chance(0.5)
        own = (
            [*own[:-1], replace(own[-1], ending=ending)]
            if together
            else [*own, Said(number, ending=ending)]
        )
        rows.append(own)
    mixed: list[Said] = []
    while any(rows):
        mixed.append(draw.choice([own for own in rows if own]).pop(0))
    return mixed


def case_of(
    rows: list[Said], *, answers: int = 1, usage: bool = False, hang_up: Any = None
) -> Case:
    facts = {"answers": answers, "include_usage": usage, "hang_up": hang_up}
    return Case((tuple(rows),), facts)


def plain(draw: Draw) -> Case:
    return case_of(script(draw))


def several(draw: Draw) -> Case:
    answers = draw.size(2, 4)
    return case_of(script(draw, answers=answers), answers=answers)


def strange(draw: Draw) -> Case:
    return case_of(script(draw, write=anything))


def quiet(draw: Draw) -> Case:
    """With tokens that show no text, and times when nothing comes."""
    rows = script(draw, quiet=0.4)
    for _ in range(draw.size(1, 3)):
        rows.insert(draw.random.randrange(len(rows)), Said(silent=True))
    return case_of(rows)


def counted(draw: Draw) -> Case:
    answers, usage = draw.size(1, 2), draw.chance(0.7)
    case = case_of(script(draw, answers=answers), answers=answers, usage=usage)
    return replace(case, branches=frozenset({"counts" if usage else "none"}))


def failing(draw: Draw) -> Case:
    rows = script(draw)
    status = draw.choice([500, 503, 504, 400])
    rows[draw.random.randrange(len(rows)) :] = [Said(error=status)]
    return case_of(rows, usage=draw.chance(0.5))


def broken(draw: Draw) -> Case:
    rows = script(draw)
    rows[draw.random.randrange(len(rows)) :] = [Said(error=-1)]
    return case_of(rows)


def left(draw: Draw) -> Case:
    rows = script(draw, quiet=0.2)
    error = draw.chance(0.3)
    if error:
        rows[-1] = Said(error=500)
    usage = draw.chance(0.5)
    most = len(listen(events, case_of(rows, usage=usage)).events)
    return case_of(rows, usage=usage, hang_up=draw.random.randrange(most))


PROPERTIES = (
    Property("the role first, an event for each piece, [DONE] last", plain, observe=sent),
    Property("several answers share one stream", several, cases=40, observe=sent),
    Property(
        "any text arrives as it is, wherever the network cuts the bytes", strange, observe=arrived
    ),
    Property("what tells nothing is not sent; silence is a comment", quiet, observe=sent),
    Property(
        "the counts come after the answers and before [DONE], where they are wanted",
        counted,
        observe=sent,
        branches=frozenset({"counts", "none"}),
    ),
    Property("each event is sent before the next piece is waited for", plain, observe=timed),
    Property("`ended` is told once, after [DONE]; then the reply is closed", plain, observe=behind),
    Property(
        "an error is the last event; no [DONE] follows, and `ended` is told",
        failing,
        observe=behind,
    ),
    Property("whoever hangs up closes the reply, and nothing else happens", left, observe=behind),
    Property("other errors go their way, and the reply is closed", broken, observe=behind),
)


async def numbered(
    reply: Any, write: Any, *, include_usage: bool, ended: Any
) -> AsyncIterator[bytes]:
    number = 0
    async for event in events(reply, write, include_usage=include_usage, ended=ended):
        if event.startswith(b":"):
            yield event
        else:
            number += 1
            yield b"id: %d\n" % number + event


async def named(reply: Any, write: Any, *, include_usage: bool, ended: Any) -> AsyncIterator[bytes]:
    failed: list[ApiError | None] = []

    def noted(error: ApiError | None) -> None:
        failed.append(error)
        ended(error)

    async for event in events(reply, write, include_usage=include_usage, ended=noted):
        yield b"event: error\n" + event if failed else event


async def retried(
    reply: Any, write: Any, milliseconds: int, *, include_usage: bool, ended: Any
) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % milliseconds
    async for event in events(reply, write, include_usage=include_usage, ended=ended):
        yield event


def _mixed(draw: Draw) -> Case:
    return draw.choice([quiet, counted, failing])(draw)


def _retried(draw: Draw) -> Case:
    case = _mixed(draw)
    return replace(case, args=(*case.args, draw.size(1, 5_000)))


_LIKE = (
    "An asynchronous generator `{name}(reply, write, {more}*, include_usage, ended)` like `events`"
)

TWISTS = {
    "numbered": Twist(
        "numbered_events",
        _LIKE.format(name="numbered_events", more="")
        + ", whose events (comments are none) have a line `id: N` before their data, N counting "
        "from 1, so that a client that was cut off can say what it saw last.",
        numbered,
        (Property("events are numbered from 1", _mixed, observe=sent),),
    ),
    "named": Twist(
        "named_events",
        _LIKE.format(name="named_events", more="")
        + ", whose error event has a line `event: error` before its data; the others have none.",
        named,
        (Property("an error has a name of its own", _mixed, observe=sent),),
    ),
    "retried": Twist(
        "retried_events",
        _LIKE.format(name="retried_events", more="milliseconds, ")
        + ", which begins with an event that has no data, only a line `retry: ` with the "
        "milliseconds after which a client should try again.",
        retried,
        (Property("it begins with a `retry`", _retried, observe=sent),),
    ),
}
