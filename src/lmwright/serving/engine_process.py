"""The engine process: `python -m lmwright.serving.engine_process FD OPTIONS`.

It opens the model, says hello with what there is to know about it, and then does in turn what the
API process asks and what the engine has to do. One thread: what arrives is read between two steps.
It ends when it is told to, and when the API process is gone.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmwright.core import parts, torch_import
from lmwright.core.errors import LmwrightError
from lmwright.engine.params import SamplingParams
from lmwright.serving import lines
from lmwright.serving.channel import Channel, Closed, Message
from lmwright.serving.model import Engine, Loaded
from lmwright.serving.opening import EngineOptions, load
from lmwright.serving.pieces import Piece

# A step that fails once may have met a bad request; one that always fails will not recover.
FAILURES_IN_A_ROW = 3
# Numbers for gauges need not travel with each of a thousand steps a second.
STATS_SECONDS = 0.2

logger = logging.getLogger("lmwright.serving.engine")

Found = Callable[[Path], None]


def serve(channel: Channel, open_model: Callable[[Found], Loaded]) -> int:
    """Open a model and drive its engine until the other end stops it or is gone.

    Args:
        channel: to the API process.
        open_model: given what to call with the model's folder as soon as that is known.

    Returns:
        The process's exit status.
    """
    try:
        try:
            loaded = open_model(lambda f: channel.send({"type": "found", "folder": str(f)}))
        except LmwrightError as error:
            channel.send({"type": "failed", "what": error.what, "hint": error.hint})
            return error.exit_code
        channel.send({"type": "hello", "facts": loaded.facts()})
        EngineLoop(channel, loaded.engine).run()
    except Closed:
        pass  # nobody is left to work for
    except Exception:
        logger.exception("engine_process_failed")
        return 1
    finally:
        channel.close()
    return 0


class EngineLoop:
    """Takes requests in, steps, and sends what came of it.

    Args:
        channel: to the API process.
        engine: driven by nobody else.
    """

    def __init__(self, channel: Channel, engine: Engine) -> None:
        self._channel = channel
        self._engine = engine
        self._numbers: dict[int, int] = {}  # of the API process, by the engine's ids
        self._ids: dict[int, int] = {}  # and the other way
        self._pieces: list[Message] = []  # not sent yet
        self._failures = 0
        self._reported = 0.0
        self._idle = True

    def run(self) -> None:
        """Go on until told to stop.

        Raises:
            Closed: if the API process is gone.
            Exception: the engine's own, once it has failed several times in a row.
        """
        while True:
            for message in self._channel.receive(wait=not self._engine.has_work()):
                if message["type"] == "stop":
                    return
                self._obey(message)
            # What was taken in is told before the step that reads it, which may be long.
            self._report()
            if self._engine.has_work():
                self._step()
                self._report()

    def _obey(self, message: Message) -> None:
        if message["type"] == "add":
            for request in message["requests"]:
                self._add(request)
        elif message["type"] == "abort":
            self._abort(message["number"])
        else:
            raise AssertionError(f"unknown message {message['type']}")

    def _add(self, request: Message) -> None:
        number = request["number"]
        try:
            params = SamplingParams.from_json(request["params"])
            request_id = self._engine.add(request["prompt"], params)
        except LmwrightError as error:
            self._say(number, Piece(ending="refused", error=error.what))
            return
        self._numbers[request_id] = number
        self._ids[number] = request_id
        self._say(number, Piece())  # taken in

    def _abort(self, number: int) -> None:
        request_id = self._ids.get(number)
        if request_id is None:
            return  # it has ended, and the message that says so is on its way
        self._engine.abort(request_id)
        self._end(request_id)
        self._say(number, Piece(ending="abort"))

    def _step(self) -> None:
        try:
            events = self._engine.step()
        except Exception as error:
            # No request can be blamed, so each is told; the engine then goes on with new ones.
            told = parts.told(error)
            fields = {} if told is None else {"problem": told[0], "hint": told[1]}
            logger.exception("engine_step_failed", extra={"fields": fields})
            self._failures += 1
            if self._failures == FAILURES_IN_A_ROW:
                raise
            self._clear()
            return
        self._failures = 0
        for event in events:
            number = self._numbers.get(event.request_id)
            if number is None:
                continue  # the engine's last word on one that was withdrawn
            if event.finish_reason is not None:
                self._end(event.request_id)
            self._say(number, _piece(event))

    def _clear(self) -> None:
        """After a failed step: end every request, so that the engine starts afresh."""
        piece = Piece(ending="error", error="The engine failed while it computed this answer")
        for request_id, number in list(self._numbers.items()):
            self._engine.abort(request_id)
            self._end(request_id)
            self._say(number, piece)

    def _end(self, request_id: int) -> None:
        del self._ids[self._numbers.pop(request_id)]

    def _say(self, number: int, piece: Piece) -> None:
        self._pieces.append({"number": number, **piece.to_json()})

    def _report(self) -> None:
        """Send what there is to say, and now and then the engine's counts."""
        now = time.monotonic()
        idle = not self._engine.has_work()
        counts = now - self._reported >= STATS_SECONDS or idle != self._idle
        if not (self._pieces or counts):
            return
        message: Message = {"type": "pieces", "time": now, "pieces": self._pieces}
        if counts:
            calls = {f"calls_{name}": count for name, count in parts.calls().items()}
            message["stats"] = asdict(self._engine.stats()) | calls
            self._reported, self._idle = now, idle
        self._channel.send(message)
        self._pieces = []


def _piece(event: Any) -> Piece:
    return Piece(
        text=event.text,
        token_id=event.token_id,
        logprob=event.logprob,
        ending=event.finish_reason,
        error=event.error,
        top=event.top,
        prompt_logprobs=event.prompt_logprobs,
        # An embedder's events have a vector, the others' the time.
        vector=getattr(event, "vector", None),
        joined=getattr(event, "joined", None),
    )


def main(arguments: Sequence[str]) -> int:
    """The whole process.

    Args:
        arguments: the descriptor of the channel's socket, and `EngineOptions` as JSON.

    Returns:
        The exit status: 0 when stopped, 2 for a model that cannot be opened, 1 for a failure.
    """
    # Signals to the whole process group (Ctrl-C, a service manager's stop) are the API process's
    # to answer: it lets accepted requests finish, and they finish here.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lines.configure()
    if not parts.active():  # a reader's part may ask of torch whatever it likes
        torch_import.defer()
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    options = EngineOptions.from_json(arguments[1])
    return serve(channel, lambda found: load(options, found))


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    # Nothing is left to save, and taking torch down module by module takes seconds when it is busy.
    os._exit(status)
