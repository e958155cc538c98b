"""Roads, labs, events and records for the tests of what is derived from them."""

import json
from collections.abc import Sequence
from typing import Any

from lmwright.roadmap.chain import Event, next_event, settle
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.lab import Proof as LabProof
from lmwright.roadmap.topics import read_road

SPEC = "5" * 64
"""Digest of the specification that events name unless they say otherwise."""


def lab(name: str, topic: str = "1.1", minutes: int = 10) -> Lab:
    """A lab that exists nowhere."""
    return Lab(
        id=name,
        title=f"the part {name}",
        topics=(topic,),
        target=f"lmwright.core.{name}:{name}",
        minutes=minutes,
        proof=LabProof(says="a run", metric="loss_nats", band=0.1, seconds=1),
    )


def chain(steps: Sequence[tuple[str, dict[str, Any]]], machine: str = "aaaaaaaa") -> list[Event]:
    """What one machine would have written, a second apart.

    Args:
        steps: kind and fields of each.
        machine: which.
    """
    events: list[Event] = []
    for second, (kind, fields) in enumerate(steps):
        now = f"2026-11-28T10:{second // 60:02}:{second % 60:02}.000000Z"
        events.append(next_event(events, kind, fields, machine, now))
    return list(settle(events))


def check(name: str, sha256: str, passed: int = 3, of: int = 3, spec: str = SPEC) -> tuple:
    """A check of a file."""
    fields = {"lab": name, "spec": spec, "sha256": sha256, "seed": 7, "passed": passed, "of": of}
    return "check", {**fields, "worst": 1e-7, "seconds": 0.5, "lines": 12}


def twist(name: str, sha256: str, passed: bool = True) -> tuple:
    """A check of a twist."""
    return "twist", {"lab": name, "twist": "window", "sha256": sha256, "passed": passed}


def trial(name: str, sha256: str, killed: int = 6, own_pass: bool = True) -> tuple:
    """A trial of the learner's own tests."""
    fields = {"lab": name, "sha256": sha256, "killed": killed, "of": 8}
    return "tests", {**fields, "own_pass": own_pass}


def data(events: Sequence[Event]) -> bytes:
    """A file of these events."""
    return b"".join(event.line + b"\n" for event in events)


def edited(event: Event, **fields: Any) -> bytes:
    """Its line with fields changed by hand, and the rest left."""
    row = json.loads(event.line)
    row["fields"].update(fields)
    return json.dumps(row).encode()


ROAD = read_road(
    'stages: [{id: "1", title: First, topics: ['
    '{id: "1.1", title: sorting, works: sorts, recipe: sort, labs: [alpha, beta], '
    "proof: {metric: f1, better: higher, at_least: 0.8, baseline: f1_chance, dataset: toys,"
    " seconds: 90}},"
    '{id: "1.2", title: serving, works: serves, needs: ["1.1"], labs: [gamma],'
    " command: lmwright serve RUN},"
    '{id: "1.3", title: flying, works: flies, needs: ["1.2"], note: it `hops`,'
    " read: [core/files.py]}]}]"
)
LABS = {
    made.id: made
    for made in (lab("alpha"), lab("beta", minutes=20), lab("gamma", "1.2", minutes=30))
}
