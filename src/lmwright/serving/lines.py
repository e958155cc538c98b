"""Log lines that never hold the server up: written by a thread of their own, dropped if need be.

A full disk, a closed pipe or a collector that has stopped reading costs lines, and nothing else.
How many were lost is said in the next line that gets through.
"""

import contextlib
import io
import json
import logging
import queue
import threading
import time
from datetime import UTC, datetime
from typing import Any, TextIO, cast

# Of a few hundred bytes each: what a busy server says in some seconds.
WAITING_LINES = 10_000
# How long the end of the process waits for lines that have not been written.
FLUSH_SECONDS = 2.0

logger = logging.getLogger("lmwright.serving")


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, event and fields."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """The same for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """`12:34:56 request status=200 ...`."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        shown = " ".join(f"{k}={v}" for k, v in fields.items() if v is not None)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.getMessage()} {shown}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class LineWriter(logging.Handler):
    """Formats where it is called, writes in a thread.

    Args:
        stream: may fail or block; neither is noticed by whoever logs.

    Attributes:
        lost: lines that were dropped and not yet told of.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(WAITING_LINES)
        self.lost = 0
        threading.Thread(target=self._write_all, name="lmwright-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line, or drop it."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:  # noqa: BLE001  a field that cannot be formatted; logging's own rule
            self.handleError(record)

    def flush(self) -> None:
        """Wait until everything is written, for `FLUSH_SECONDS` at most."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.002)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            try:
                if self.lost:
                    self._write(self._losses())
                    self.lost = 0
                self._write(line)
            except (OSError, ValueError):  # full, gone, or closed
                self.lost += 1
            finally:
                self._lines.task_done()

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    def _losses(self) -> str:
        record = logging.makeLogRecord(
            {"msg": "log_lines_lost", "levelname": "WARNING", "fields": {"lines": self.lost}}
        )
        return self.format(record)


def unbuffered(descriptor: int) -> TextIO:
    """A text stream that keeps nothing back: a line that could not be written is gone.

    Python's own keep it, try again at the end of the process, and turn its exit status into 120.
    """
    raw = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(cast(Any, raw), "utf-8", "backslashreplace", write_through=True)


def say(text: str) -> None:
    """Print a line for the person who started the server, if there is anywhere to print it."""
    with contextlib.suppress(OSError, ValueError):
        unbuffered(1).write(text + "\n")


def configure(stream: TextIO | None = None) -> None:
    """Send all log lines of the process to `stream`: plain at a terminal, else JSON.

    Args:
        stream: None: the process's standard error.
    """
    stream = stream or unbuffered(2)
    handler = LineWriter(stream)
    handler.setFormatter(PlainLines() if stream.isatty() else JsonLines())
    levels = {"lmwright": logging.INFO, "uvicorn": logging.WARNING, "asyncio": logging.WARNING}
    for name, level in levels.items():
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.propagate = False
        log.setLevel(level)


def write(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields."""
    logger.log(level, event, extra={"fields": fields})
