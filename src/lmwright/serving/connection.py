"""One engine process as the API process sees it: what it said of itself, and what it works on."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.serving.answers import Answer, Reply
from lmwright.serving.channel import Closed, Message, packed, receive
from lmwright.serving.model import Served
from lmwright.serving.pieces import Piece
from lmwright.serving.processes import Handle

# An engine that was told to stop ends after its step.
STOP_SECONDS = 5.0
# What may lie unread before the channel is held up; a step's pieces are a few kilobytes.
_READ_BYTES = 2**20


class EngineDied(Exception):
    """The engine process ended without being asked to."""


class Connection:
    """The channel to one engine process; used in the event loop.

    Args:
        handle: of the process, which has been started.
        ended: called after answers have ended.
        over: called once when the process is gone, with this connection.
        counted: called with the engine's counts, those now and those before.

    Attributes:
        answers: in flight there, by their numbers.
        stats: the engine's last counts, by the names of `engine.EngineStats`.
        is_over: whether the process is gone.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        ended: Callable[[], None],
        over: Callable[["Connection"], None],
        counted: Callable[[Mapping[str, int], Mapping[str, int]], None],
    ) -> None:
        self.handle = handle
        self.answers: dict[int, tuple[Answer, Reply]] = {}
        self.stats: Mapping[str, int] = {}
        self.is_over = False
        self._ended = ended
        self._over = over
        self._counted = counted
        self._numbers = itertools.count()
        self._loaded = False
        self._retired = False
        self._heard = time.monotonic()
        self._writer: asyncio.StreamWriter | None = None
        self._gone = asyncio.Event()

    async def open(self) -> Served:
        """Connect, and wait until the model is loaded.

        Raises:
            LmwrightError: if the model cannot be opened.
            EngineDied: if the process ended.
        """
        loop = asyncio.get_running_loop()
        reader, self._writer = await asyncio.open_unix_connection(
            sock=self.handle.socket, limit=_READ_BYTES
        )
        self._hello: asyncio.Future[Served] = loop.create_future()
        self._tokenizer: asyncio.Task[Any] | None = None
        self._listening = asyncio.create_task(self._listen(reader))
        return await self._hello

    def silent_seconds(self) -> float:
        """For how long it has said nothing although it has work; 0 if it has none."""
        return time.monotonic() - self._heard if self.answers else 0.0

    def add(self, reply: Reply) -> None:
        """Send the answers of a reply to the engine, all in one message."""
        requests = []
        if not self.answers:
            self._heard = time.monotonic()  # it had nothing to say before
        for answer in reply.answers:
            answer.number = next(self._numbers)
            self.answers[answer.number] = (answer, reply)
            params = answer.params.to_json()
            requests.append({"number": answer.number, "prompt": answer.prompt, "params": params})
        self._send({"type": "add", "requests": requests})

    def cancel(self, answer: Answer) -> None:
        """Make the engine forget an answer before its next step."""
        self._send({"type": "abort", "number": answer.number})

    def retire(self) -> None:
        """End the process when nothing is in flight there any more."""
        self._retired = True
        self._settle()

    def stop(self) -> None:
        """End the process after its current step; what is in flight ends now, unfinished."""
        self._end_all("abort")
        if self._loaded:
            self._send({"type": "stop"})
        else:
            self.handle.kill()  # it would only listen once it has loaded

    async def close(self) -> int | None:
        """Wait for the end of a stopped process, and make it end if it does not.

        Returns:
            Its exit status.
        """
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            self.handle.kill()
        status = await asyncio.to_thread(self.handle.wait, STOP_SECONDS)
        if status is None:  # it has hung up, and does not end
            self.handle.kill()
            status = await asyncio.to_thread(self.handle.wait, STOP_SECONDS)
        if self._writer is not None:
            self._writer.close()
        return status

    def _send(self, message: Message) -> None:
        # Not awaited: what waits here is bounded by what is in flight, which the worker bounds.
        if self._writer is not None and not self.is_over:
            self._writer.write(packed(message))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = await receive(reader)
                self._heard = time.monotonic()
                if message["type"] == "pieces":
                    self._deliver(message)
                else:
                    await self._greet(message)
        except Closed:
            if not self._hello.done():
                self._hello.set_exception(EngineDied("it ended while it loaded the model"))
        finally:
            self.is_over = True
            self._gone.set()
            self._end_all("lost")
            self._over(self)

    async def _greet(self, message: Message) -> None:
        """What comes before the first piece: the folder, then all facts, or why there are none."""
        if message["type"] == "found":
            self._tokenizer = self._open_tokenizer(Path(message["folder"]))
        elif message["type"] == "failed":
            self._hello.set_exception(LmwrightError(message["what"], hint=message["hint"]))
        else:
            opened = self._tokenizer or self._open_tokenizer(None)
            try:
                self._hello.set_result(Served.from_facts(message["facts"], await opened))
                self._loaded = True
            except LmwrightError as error:
                self._hello.set_exception(error)

    def _open_tokenizer(self, folder: Path | None) -> asyncio.Task[Any]:
        return asyncio.create_task(asyncio.to_thread(self.handle.open_tokenizer, folder))

    def _deliver(self, message: Message) -> None:
        at = message["time"]
        ended = False
        for said in message["pieces"]:
            number = said.pop("number")
            if number not in self.answers:
                continue  # it was ended here when the process was told to stop
            answer, reply = self.answers[number]
            piece = Piece.from_json(said, at)
            reply.put(answer, piece)
            if piece.ending is not None:
                del self.answers[number]
                ended = True
        if "stats" in message:
            before, self.stats = self.stats, message["stats"]
            self._counted(self.stats, before)
        if ended:
            self._settle()

    def _end_all(self, ending: Any) -> None:
        answers, self.answers = self.answers, {}
        for answer, reply in answers.values():
            reply.put(answer, Piece(ending=ending))
        self._settle()

    def _settle(self) -> None:
        if self._retired and not self.answers:
            self._send({"type": "stop"})
        self._ended()
