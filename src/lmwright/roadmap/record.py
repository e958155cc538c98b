"""The learner's record: `road.jsonl`, one line for every attempt, only ever appended to."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, sync_folder, write_bytes
from lmwright.core.home import home
from lmwright.roadmap.chain import Event, Reading, merged, next_event, parse, settle

__all__ = ["KINDS", "Event", "Record", "learner", "machine", "road_file"]

KINDS: Mapping[str, frozenset[str]] = {
    "start": frozenset({"lab"}),
    "check": frozenset(
        {"lab", "spec", "sha256", "seed", "passed", "of", "worst", "seconds", "lines"}
    ),
    "hint": frozenset({"lab", "level"}),
    "twist": frozenset({"lab", "twist", "sha256", "passed"}),
    "tests": frozenset({"lab", "sha256", "killed", "of", "own_pass"}),
    "solve": frozenset({"lab"}),
    "reset": frozenset({"lab"}),
    "prove": frozenset(
        {"lab", "sha256", "metric", "production", "yours", "band", "calls", "passed"}
    ),
    "verify": frozenset({"lab", "spec", "sha256", "seeds", "passed", "by"}),
}
"""What may be appended, and the fields that each kind must have."""

_ELSEWHERE = "LMWRIGHT_HOME names another folder for what is your own"


def road_file() -> Path:
    """Where the record is kept."""
    return home() / "road.jsonl"


class Record:
    """The record in a file.

    Args:
        path: of the file; it need not exist.
        reading: what it holds.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        self._reading = reading

    @classmethod
    def open(cls, path: Path | None = None) -> "Record":
        """Read the record.

        Args:
            path: default: the user's own.

        Raises:
            LmwrightError: if the file cannot be read at all.
        """
        path = road_file() if path is None else path
        return cls(path, parse(_bytes(path), path.name))

    @property
    def events(self) -> tuple[Event, ...]:
        """All of them, in order of time."""
        return self._reading.events

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file, for the person."""
        return self._reading.problems

    @property
    def newer(self) -> bool:
        """Whether a newer lmwright wrote in it, so that this one must not."""
        return self._reading.newer

    def append(self, kind: str, **fields: Any) -> Event:
        """Write an event at the end, and return once the disk has it.

        Args:
            kind: one of `KINDS`.
            fields: its fields, JSON values; more than it must have are kept.

        Raises:
            LmwrightError: if a newer lmwright wrote the file, or it cannot be written.
        """
        assert kind in KINDS, kind
        assert KINDS[kind] <= fields.keys(), f"{kind} lacks {sorted(KINDS[kind] - fields.keys())}"
        with _locked(self.path) as descriptor:
            before = self._again(descriptor)
            event = next_event(before.events, kind, fields, machine())
            _write(descriptor, [event.line], self.path)
            self._reading = replace(before, events=settle([*before.events, event]))
        return event

    def take(self, other: "Record") -> int:
        """Append the events of another record that are not here yet.

        Args:
            other: as `Record.open` reads it; its lines are kept as they are.

        Returns:
            How many there were.

        Raises:
            LmwrightError: if it holds no event, or one of the two is from a newer lmwright.
        """
        if other.newer:
            raise _from_newer(other.path)
        if not other.events:
            raise LmwrightError(
                f"{other.path} holds no event", hint="is it what `lmwright roadmap export` wrote?"
            )
        with _locked(self.path) as descriptor:
            here = self._again(descriptor)
            both = merged(here.events, other.events)
            have = {event.line for event in here.events}
            fresh = [event for event in both if event.line not in have]
            _write(descriptor, [event.line for event in fresh], self.path)
            self._reading = replace(here, events=both)
        return len(fresh)

    def copy_to(self, path: Path) -> int:
        """Write a copy, byte for byte.

        Returns:
            How many events it has.

        Raises:
            LmwrightError: if something stands there already, or there is no record yet.
        """
        if path.exists():
            raise LmwrightError(f"{path} exists", hint="choose another name; nothing was written")
        data = _bytes(self.path)
        if not data:
            raise LmwrightError("there is no record yet", hint="`lmwright lab start` begins one")
        write_bytes(path, data)
        return len(parse(data).events)

    def _again(self, descriptor: int) -> Reading:
        """What the locked file holds now: another process may have written since."""
        reading = parse(_all(descriptor), self.path.name)
        if reading.newer:
            raise _from_newer(self.path)
        return reading


def learner() -> str:
    """A random name for this person, made once; it says which twist they get."""
    path = home() / "learner.json"
    with _locked(path) as descriptor:
        try:
            return str(json.loads(_all(descriptor))["learner"])
        except (ValueError, KeyError, TypeError):  # not written yet, or torn
            name = uuid.uuid4().hex[:12]
            os.ftruncate(descriptor, 0)
            _write(descriptor, [json.dumps({"learner": name}).encode()], path)
            return name


def machine() -> str:
    """A short name for this machine that tells nobody which it is."""
    return hashlib.sha256(f"{learner()}@{platform.node()}".encode()).hexdigest()[:8]


def _from_newer(path: Path) -> LmwrightError:
    return LmwrightError(
        f"{path} was written by a newer lmwright, so this one leaves it as it is",
        hint="update lmwright (pip install --upgrade lmwright) and run the command again",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for appending; others wait. The kernel lets go if the process dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LmwrightError(
            f"{path} cannot be written: {error.strerror}", hint=_ELSEWHERE
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if fresh:
            sync_folder(path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, lines: list[bytes], path: Path) -> None:
    """Append whole lines; one that a crash left without its end is ended first."""
    if not lines:
        return
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    data = (b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines)
    with disk_errors(path):
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)


def _all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _bytes(path: Path) -> bytes:
    """The file's bytes, none if it does not exist; waits for whoever is writing."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise LmwrightError(f"{path} cannot be read: {error.strerror}", hint=_ELSEWHERE) from error
