"""The events of the record, and the chains that show whether they are as they were written.

An event names the digest of its machine's event before it, so that a line changed or removed
later is seen: the events that follow it still count, marked as unverified. Two machines' events
become one record by union, each machine's chain being its own. None of this keeps anybody from
forging a record of their own; it keeps one from rotting unseen.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lmwright import __version__

SCHEMA = 1
"""Of the lines written here; a file with a larger one is read as far as it goes, never written."""

_TEXTS = ("id", "time", "kind", "package", "machine", "previous", "digest")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Event:
    """One line of the record.

    Args:
        id: random.
        time: UTC, ISO 8601 to the microsecond; later than the machine's event before it.
        kind: one of `KINDS`, or what a stranger wrote.
        fields: what happened.
        package: version of lmwright that wrote it.
        machine: short and anonymous.
        previous: digest of the machine's event before it; empty for its first.
        digest: SHA-256 of all the others, as sorted JSON.
        line: the bytes as they stand in the file.
        intact: whether `digest` is right.
        verified: whether it and all before it in its chain are as they were written.
    """

    id: str
    time: str
    kind: str
    fields: Mapping[str, Any]
    package: str
    machine: str
    previous: str
    digest: str
    line: bytes = field(repr=False)
    intact: bool = True
    verified: bool = True


@dataclass(frozen=True)
class Reading:
    """What a file holds.

    Args:
        events: in order of time, each once.
        problems: what is wrong with it, for the person.
        newer: whether a newer lmwright wrote in it.
    """

    events: tuple[Event, ...] = ()
    problems: tuple[str, ...] = ()
    newer: bool = False


def parse(data: bytes, name: str = "road.jsonl") -> Reading:
    """Read a record; nothing in it makes this fail.

    Args:
        data: the file's bytes.
        name: to name it in what is said.
    """
    found: list[tuple[int, Event]] = []
    problems, newer = [], False
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip(b" \r\t\0"):
            continue
        read = _event(line)
        if isinstance(read, Event):
            found.append((number, read))
        elif isinstance(read, int):
            if not newer:
                problems.append(
                    f"{name}, line {number}: written by a newer lmwright (format {read}; this one "
                    f"knows {SCHEMA}). Nothing is written into it; update lmwright."
                )
            newer = True
        elif number == len(lines):
            problems.append(
                f"{name}, line {number}: torn, as by a crash while it was written. It is left "
                "aside, and everything before it counts."
            )
        else:
            problems.append(f"{name}, line {number}: no event. It is left aside.")
    events = settle(event for _, event in found)
    return Reading(events, (*problems, *_breaks(found, events, name)), newer)


def settle(events: Iterable[Event]) -> tuple[Event, ...]:
    """Events of any number of files as one record: each once, in order of time, chains checked.

    It depends on which events there are, not on where they stand: merging is a union.
    """
    best: dict[str, Event] = {}
    for event in events:
        other = best.get(event.id)
        # An event that was changed in one file is found again in another that has it intact.
        if other is None or _preference(event) < _preference(other):
            best[event.id] = event
    kept = sorted(best.values(), key=lambda event: (event.time, event.machine, event.id))
    sound = _sound(kept)
    return tuple(replace(event, verified=sound[event.id]) for event in kept)


def merged(*records: Iterable[Event]) -> tuple[Event, ...]:
    """The union of several machines' events."""
    return settle(event for record in records for event in record)


def _preference(event: Event) -> tuple[bool, str, bytes]:
    return (not event.intact, event.digest, event.line)


def _sound(events: Iterable[Event]) -> dict[str, bool]:
    """For each event by id: whether it and all that its chain says came before are intact."""
    events = list(events)
    intact = {(e.machine, e.digest): e for e in events if e.intact}
    known: dict[str, bool] = {}
    for event in events:
        chain: list[str] = []
        at: Event | None = event
        sound = True
        while at is not None and at.id not in known:
            chain.append(at.id)
            if not at.intact:
                sound, at = False, None
            elif not at.previous:
                at = None
            else:
                at = intact.get((at.machine, at.previous))
                sound = at is not None
        if at is not None:
            sound = known[at.id]
        known.update(dict.fromkeys(chain, sound))
    return known


def _breaks(found: list[tuple[int, Event]], events: Iterable[Event], name: str) -> list[str]:
    """One sentence for each place at which a chain breaks."""
    events = list(events)
    digests = {(e.machine, e.digest) for e in events}
    intact = {(e.machine, e.digest) for e in events if e.intact}
    kept = {event.line for event in events}
    doubted = sum(not event.verified for event in events)
    said = []
    for number, event in found:
        place = (event.machine, event.previous)
        if event.line not in kept:
            continue
        if not event.intact:
            said.append(f"{name}, line {number}: changed after it was written.")
        elif event.previous and place not in intact and place not in digests:
            said.append(
                f"{name}, line {number}: what came before it on machine {event.machine} was "
                "changed or removed."
            )
    if said:
        count = "1 event counts" if doubted == 1 else f"{doubted} events count"
        said.append(f"{name}: {count}, but unverified, since the chain is broken before them.")
    return said


def _event(line: bytes) -> Event | int | None:
    """The event of a line; its schema where that is newer; None where it is no event."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            return None
        schema = row.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            return schema
        texts: dict[str, Any] = {name: row.get(name) for name in _TEXTS}
        fields = row.get("fields")
        if schema != SCHEMA or not isinstance(fields, dict) or not _are_texts(texts):
            return None
        intact = row["digest"] == _digest({k: v for k, v in row.items() if k != "digest"})
    except (ValueError, RecursionError):
        return None
    return Event(**texts, fields=fields, line=line.rstrip(b"\r"), intact=intact)


def _are_texts(texts: Mapping[str, Any]) -> bool:
    """Whether all are, and the time is one.

    Raises:
        ValueError: if the time has the form of one, and is none.
    """
    if not all(isinstance(text, str) for text in texts.values()):
        return False
    return _TIME.fullmatch(texts["time"]) is not None and bool(
        datetime.fromisoformat(texts["time"])
    )


def _digest(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def next_event(
    events: Iterable[Event], kind: str, fields: Mapping[str, Any], on: str, now: str | None = None
) -> Event:
    """The event that goes on after `events` in a machine's chain.

    Args:
        events: settled.
        kind: of the new one.
        fields: of the new one.
        on: the machine.
        now: time; default: the clock's.
    """
    last = max(
        (event for event in events if event.machine == on), key=lambda e: e.time, default=None
    )
    now = now or _stamp(datetime.now(UTC))
    if last is not None and now <= last.time:  # the clock was set back
        now = _stamp(datetime.fromisoformat(last.time) + timedelta(microseconds=1))
    row = {
        "schema": SCHEMA,
        "id": uuid.uuid4().hex,
        "time": now,
        "kind": kind,
        "fields": json.loads(json.dumps(fields, allow_nan=False)),
        "package": __version__,
        "machine": on,
        "previous": "" if last is None else last.digest,
    }
    made = _event(json.dumps({**row, "digest": _digest(row)}, separators=(",", ":")).encode())
    assert isinstance(made, Event)
    return made


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
