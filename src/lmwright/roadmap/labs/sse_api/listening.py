"""Somebody at the other end of a stream whose pieces are known before."""

import asyncio
import inspect
import json
import os
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from lmwright.roadmap.properties import Case, Subject
from lmwright.serving.bench.sse import EventParser
from lmwright.serving.chat_format import ChatFormat
from lmwright.serving.errors import ApiError
from lmwright.serving.pieces import Piece


@dataclass(frozen=True)
class Said:
    """One thing that the engine has to say.

    Args:
        answer: number of the answer.
        text: that may be shown now.
        ending: why the answer ended; None while it goes on.
        error: status of an `ApiError` that comes in its place; -1: of another error.
        silent: nothing came for a while.
    """

    answer: int = 0
    text: str = ""
    ending: Any = None
    error: int = 0
    silent: bool = False


@dataclass
class ScriptedReply:
    """A reply whose pieces are known before."""

    script: tuple[Said, ...]
    answers: list[Any]
    taken: int = 0
    closed: bool = False
    waiting: bool = False
    prompt_tokens: int = 7

    @property
    def completion_tokens(self) -> int:
        return sum(bool(said.text) for said in self.script[: self.taken])

    async def pieces(self, patience: float) -> AsyncIterator[tuple[Any, Piece] | None]:
        for said in self.script:
            self.taken += 1
            await asyncio.sleep(0)
            if said.error:
                raise _error(said.error)
            if said.silent:
                yield None
            else:
                token = 1 if said.text else None
                piece = Piece(text=said.text, token_id=token, ending=said.ending, time=0.0)
                yield self.answers[said.answer], piece

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class _Numbered:
    index: int


class _Named(ChatFormat):
    """Has the same id and the same time in every response."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head = {"id": "chatcmpl-1", "created": 0, "model": "tiny"}


def _error(status: int) -> Exception:
    if status < 0:
        return RuntimeError("a mistake of the server's own")
    return ApiError(status, "it went wrong", code="scripted")


@dataclass
class Heard:
    """What somebody at the other end gets, and what happens behind the stream."""

    events: list[bytes] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    closed: bool = False
    raised: str = ""


def listen(subject: Subject, case: Case) -> Heard:
    """Stream a case's script, and hang up where the case says so."""
    script, facts, hang_up = case.args[0], case.kwargs, case.kwargs["hang_up"]
    reply = ScriptedReply(script, [_Numbered(index) for index in range(facts["answers"])])
    heard = Heard()

    def ended(error: ApiError | None) -> None:
        heard.ended.append((None if error is None else error.status_code, len(heard.events)))

    async def stream() -> None:
        write = _Named("tiny", None, logprobs=False)
        counts = facts["include_usage"]
        found = subject(reply, write, *case.args[1:], include_usage=counts, ended=ended)
        if inspect.iscoroutine(found):  # nothing is yielded anywhere in it
            found = await found
        async for event in found:
            heard.events.append(event)
            heard.taken.append(reply.taken)
            if hang_up is not None and len(heard.events) > hang_up:
                await found.aclose()
                for _ in range(3):  # a generator inside of it is closed by the loop
                    await asyncio.sleep(0)
                return

    try:
        _run(stream())
    except RuntimeError as error:
        heard.raised = str(error)
    heard.closed = reply.closed
    return heard


_runners: dict[int, asyncio.Runner] = {}
"""By process: a fork must not go on with its parent's loop."""


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run it in this process's event loop; a new one for each case would take most of the time."""
    _runners.setdefault(os.getpid(), asyncio.Runner()).run(work)


def read(event: Any) -> Any:
    """The fields of one event, JSON read; what no client could use is told as it is."""
    if not isinstance(event, bytes):
        return f"{type(event).__name__}, not bytes"
    try:
        text = event.decode()
    except UnicodeDecodeError:
        return "bytes that are no UTF-8 on their own"
    if not text.endswith("\n\n"):
        return f"an event without its empty line: {text[-30:]!r}"
    if text.startswith(":"):
        return "comment"
    fields = {}
    for line in text[:-2].split("\n"):
        name, _, value = line.partition(":")
        if name != "data":
            fields[name] = value.removeprefix(" ")
    return [fields, *map(parsed, EventParser().feed(event))]


def parsed(text: str) -> Any:
    """JSON where it is, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return f"no JSON: {text}"
