"""Log lines: structured where they are read by programs, and never in anybody's way."""

import errno
import io
import json
import logging
import threading
import time

import pytest

from lmwright.serving import lines


class Disk(io.StringIO):
    """A stream whose disk may be full."""

    full = False

    def write(self, text):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.fixture
def disk():
    loggers = [logging.getLogger(name) for name in ("lmwright", "uvicorn", "asyncio")]
    before = [(log.handlers, log.propagate, log.level) for log in loggers]
    stream = Disk()
    lines.configure(stream)
    yield stream
    for log, (handlers, propagate, level) in zip(loggers, before, strict=True):
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def written(disk) -> list[dict]:
    logging.getLogger("lmwright").handlers[0].flush()
    return [json.loads(line) for line in disk.getvalue().splitlines()]


def test_a_line_is_an_object_with_its_fields(disk):
    lines.write("request", status=200, route="/v1/models")
    (line,) = written(disk)
    assert (line["event"], line["level"], line["status"]) == ("request", "info", 200)


def test_a_full_disk_costs_lines_and_says_how_many(disk):
    lines.write("before")
    written(disk)
    disk.full = True
    for number in range(7):
        lines.write("lost", number=number)
    written(disk)
    disk.full = False
    lines.write("after")

    first, told, last = written(disk)
    assert (first["event"], last["event"]) == ("before", "after")
    assert (told["event"], told["lines"]) == ("log_lines_lost", 7)


def test_a_reader_that_has_stopped_holds_nobody_up(monkeypatch):
    reading = threading.Event()

    class Pipe(io.StringIO):
        def write(self, text):
            reading.wait(10)
            return super().write(text)

    monkeypatch.setattr(lines, "WAITING_LINES", 5)
    writer, pipe = None, Pipe()
    writer = lines.LineWriter(pipe)
    writer.setFormatter(lines.JsonLines())
    record = logging.makeLogRecord({"msg": "full", "levelname": "INFO"})
    start = time.monotonic()
    for _ in range(20):
        writer.emit(record)
    assert time.monotonic() - start < 1

    reading.set()
    writer.flush()
    writer.emit(record)
    writer.flush()
    events = [json.loads(line)["event"] for line in pipe.getvalue().splitlines()]
    assert (
        events.count("full")
        + next(
            json.loads(line)["lines"]
            for line in pipe.getvalue().splitlines()
            if "log_lines_lost" in line
        )
        == 21
    )


def test_a_stream_to_a_full_device_fails_at_once_and_keeps_nothing():
    with open("/dev/full", "wb") as device:
        stream = lines.unbuffered(device.fileno())
        with pytest.raises(OSError, match="No space left"):
            stream.write("line\n")
        stream.flush()  # nothing is left that could fail once more
