"""Wrong streams, each with the idea that it misses."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic import BaseModel

from lmwright.roadmap.properties import Mutant
from lmwright.serving.answers import Reply
from lmwright.serving.errors import ApiError
from lmwright.serving.formats import Format

Ended = Callable[[ApiError | None], None]


def _framed(body: BaseModel, wrong: str) -> bytes:
    text = body.model_dump_json()
    if wrong == "indented":
        text = json.dumps(json.loads(text), indent=1)
    if wrong == "own line breaks":
        text = text.replace("\\n", "\n")
    line = text if wrong == "no data" else f"data: {text}"
    line += "\n" if wrong == "one line end" else "\n\n"
    if wrong == "ascii":
        return line.encode("ascii", errors="replace")
    return line.encode("latin-1", errors="replace") if wrong == "latin" else line.encode()


def _chunks(write: Format, item: Any, wrong: str) -> list[bytes]:
    """What is sent for one piece."""
    if item is None:
        silent = {"silence is data": [b"data: still working\n\n"], "silence is silent": []}
        return silent.get(wrong, [b": still working\n\n"])
    chunk = write.chunk(*item)
    if chunk is None:
        return [b"data: null\n\n"] if wrong == "null" else []
    framed = _framed(chunk, wrong)
    if wrong == "cut":
        return [framed[:30], framed[30:]]
    return [framed]


async def _ending(
    reply: Reply, write: Format, include_usage: bool, wrong: str
) -> AsyncIterator[bytes]:
    counts = _framed(write.counts(reply), wrong)
    if (include_usage or wrong == "always counts") and wrong not in ("no counts", "counts last"):
        yield counts
    if wrong != "no done":
        yield b'data: "[DONE]"\n\n' if wrong == "done as JSON" else b"data: [DONE]\n\n"
    if include_usage and wrong == "counts last":
        yield counts


async def _events(
    reply: Reply, write: Format, include_usage: bool, ended: Ended, wrong: str
) -> AsyncIterator[bytes]:
    try:
        if wrong != "no opening":
            for opening in write.opening(reply)[: 1 if wrong == "one opening" else None]:
                yield _framed(opening, wrong)
        kept = []
        async for item in reply.pieces(10.0):
            for event in _chunks(write, item, wrong):
                if wrong == "all at once":
                    kept.append(event)
                else:
                    yield event
        for event in kept:
            yield event
        async for event in _ending(reply, write, include_usage, wrong):
            yield event
        if wrong != "never ended":
            ended(None)
    except ApiError as error:
        if wrong == "raises":
            raise
        if wrong not in ("never ended", "error untold"):
            ended(error)
        if wrong != "error lost":
            yield _framed(error.body(), wrong)
        if wrong in ("done after error", "error lost"):
            yield b"data: [DONE]\n\n"
    except GeneratorExit:
        if wrong == "hang-up told":
            ended(None)
        raise
    except RuntimeError:
        if wrong != "hides mistakes":
            raise
        yield _framed(ApiError(500, "it went wrong").body(), wrong)
    finally:
        if wrong != "never closed":
            reply.close()


async def _forgetful(
    reply: Reply, write: Format, *, include_usage: bool, ended: Ended
) -> AsyncIterator[bytes]:
    """Closes its reply where nothing goes wrong, and then alone."""
    try:
        for opening in write.opening(reply):
            yield _framed(opening, "")
        async for item in reply.pieces(10.0):
            for event in _chunks(write, item, ""):
                yield event
        async for event in _ending(reply, write, include_usage, ""):
            yield event
        ended(None)
    except ApiError as error:
        ended(error)
        yield _framed(error.body(), "")
    reply.close()


async def _early(
    reply: Reply, write: Format, *, include_usage: bool, ended: Ended
) -> AsyncIterator[bytes]:
    """Says that it has ended before [DONE] was taken."""
    done = False

    def noted(error: ApiError | None) -> None:
        if not done:
            ended(error)

    async for event in _events(reply, write, include_usage, noted, ""):
        if event == b"data: [DONE]\n\n":
            done = True
            ended(None)
        yield event


def _mutant(wrong: str, says: str) -> Mutant:
    def events(
        reply: Reply, write: Format, *, include_usage: bool, ended: Ended
    ) -> AsyncIterator[bytes]:
        return _events(reply, write, include_usage, ended, wrong)

    return Mutant(says, events)


MUTANTS = (
    _mutant("no data", "events without `data: ` before their JSON"),
    _mutant("one line end", "events that end with one line break: an empty line ends an event"),
    _mutant("indented", "JSON on several lines, of which only the first begins with `data: `"),
    _mutant("cut", "events that are sent in two parts"),
    _mutant("no opening", "a stream without `write.opening`: nobody says who speaks"),
    _mutant("no done", "a stream that ends without [DONE]"),
    _mutant("done as JSON", "a [DONE] written as JSON, in quotes"),
    _mutant("always counts", "a stream that ends with the counts whether they are wanted or not"),
    _mutant("one opening", "a stream that opens its first answer only"),
    _mutant("own line breaks", "JSON whose line breaks are real ones: they end the line of data"),
    _mutant("ascii", "text in ASCII: other characters become question marks"),
    _mutant("latin", "text in Latin-1: the stream is UTF-8"),
    _mutant("null", "a stream that sends null where `write.chunk` gives None"),
    _mutant(
        "silence is data", "a stream whose comment in a silence is an event: begin it with `:`"
    ),
    _mutant("silence is silent", "a stream that sends nothing in a silence: proxies cut it off"),
    _mutant("no counts", "a stream without the counts that were wanted"),
    _mutant("counts last", "counts that come after [DONE], where nobody reads any more"),
    _mutant("all at once", "a stream that sends nothing before everything has come"),
    _mutant("raises", "a stream that breaks off where an error should be an event"),
    _mutant("error lost", "a stream that ends with [DONE] as if nothing had gone wrong"),
    _mutant("done after error", "a stream that sends [DONE] after an error"),
    _mutant("error untold", "a stream that does not tell `ended` of its error"),
    _mutant("never ended", "a stream that never calls `ended`"),
    Mutant("a stream that calls `ended` before [DONE] has been taken", _early),
    Mutant(
        "a stream that closes its reply only where nobody hangs up: `finally` always", _forgetful
    ),
    _mutant("never closed", "a stream that does not close its reply"),
    _mutant("hang-up told", "a stream that tells `ended` of a hang-up as if it were done"),
    _mutant("hides mistakes", "a stream that hides the server's own mistakes from its log"),
)
