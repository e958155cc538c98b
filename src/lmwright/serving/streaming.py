"""Server-sent events, and noticing that nobody listens any more.

`sse-starlette` would do half of it, but it patches uvicorn's signal handling for the whole process,
which the graceful drain needs for itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lmwright.serving.answers import Reply
from lmwright.serving.errors import ApiError
from lmwright.serving.formats import Format

# Proxies cut a connection that is silent for 30 to 60 seconds; a comment every 10 keeps it.
PATIENCE_SECONDS = 10.0

logger = logging.getLogger(__name__)
T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


def event(body: BaseModel) -> str:
    """One server-sent event (HTML standard, section 9.2.5)."""
    return f"data: {body.model_dump_json()}\n\n"


class EventStream(StreamingResponse):
    """A streamed reply; however it ends, the engine stops working on it.

    Args:
        reply: admitted.
        write: the wire format.
        include_usage: end with the token counts.
        done: called at the end, with what went wrong or None.
    """

    def __init__(
        self,
        reply: Reply,
        write: Format,
        *,
        include_usage: bool,
        done: Callable[[ApiError | None], None],
    ) -> None:
        self._reply = reply
        self._write = write
        self._include_usage = include_usage
        self._done = done
        self._error: ApiError | None = ApiError(499, "The client hung up")
        super().__init__(
            self._events(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Also where the iterator below was never started, or waits for its garbage collection.
            self._reply.close()
            self._done(self._error)

    async def _events(self) -> AsyncIterator[str]:
        try:
            for opening in self._write.opening(self._reply):
                yield event(opening)
            async for item in self._reply.pieces(PATIENCE_SECONDS):
                if item is None:
                    yield ": still working\n\n"
                elif (chunk := self._write.chunk(*item)) is not None:
                    yield event(chunk)
            if self._include_usage:
                yield event(self._write.counts(self._reply))
            yield "data: [DONE]\n\n"
            self._error = None
        except ApiError as error:
            # The status line is long gone: the error travels as an event.
            self._error = error
            yield event(error.body())


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up first.

    Raises:
        ClientGone: if it did.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
