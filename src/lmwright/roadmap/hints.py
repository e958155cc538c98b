"""Five levels of help, from the specification to the answer, and when each may be had.

0 is the specification, 1 a question, 2 the invariant on a small case by hand, 3 what the last
failing check found, 4 the shapes, 5 production's source. 1 and 2 are free. 3 and 4 want one more
try first: a hint read before thinking teaches little. 5 is always there, since the source lies on
the learner's disk anyway; that it was read is written down.
"""

import hashlib
import re
from collections.abc import Sequence

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.chain import Event
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.source import production_source
from lmwright.roadmap.stub import stub

LAST = 5
_FREE = (0, 1, 2, LAST)
_TITLES = {
    0: "the specification",
    1: "a question",
    2: "a case by hand",
    3: "what the last failing check found",
    4: "the shapes",
    5: "production's own",
}


def title(level: int) -> str:
    """What a level gives, in a few words."""
    return _TITLES[level]


def hint_text(lab: Lab, level: int, events: Sequence[Event]) -> str:
    """The hint itself.

    Args:
        lab: whose.
        level: 0 to 5.
        events: the record, for level 3.

    Raises:
        LmwrightError: if there is no such level.
    """
    if level not in _TITLES:
        raise LmwrightError(f"there is no hint {level}", hint=f"hints go from 0 to {LAST}")
    if level == 0:
        return lab.text("spec.md").strip()
    if level == LAST:
        return production_source(lab.target).strip()
    return _last_failure(lab, events) if level == 3 else sections(lab.text("hints.md"))[level]


def sections(text: str) -> dict[int, str]:
    """The parts of a `hints.md` by level.

    Args:
        text: with a line `# LEVEL` before each part.
    """
    parts = re.split(r"^# (\d)[^\n]*\n", text, flags=re.MULTILINE)[1:]
    return {int(n): body.strip("\n") for n, body in zip(parts[::2], parts[1::2], strict=True)}


def next_level(lab: Lab, events: Sequence[Event]) -> int:
    """The first level that has not been had yet, 5 left out; 4 when all have."""
    had = {event.fields["level"] for event in _of(lab, "hint", events)}
    return next((level for level in range(1, LAST) if level not in had), LAST - 1)


def why_not(lab: Lab, level: int, events: Sequence[Event]) -> str | None:
    """What has to be done before a level may be had; None: it may.

    3 and 4 are given after a failing check of a file that had not been checked when the last of
    them was given, and that is not the stub. What was had once is given again.
    """
    if level in _FREE or level not in _TITLES:
        return None
    mine = [event for event in events if event.fields.get("lab") == lab.id]
    # A lab that was put back to its stub begins anew.
    begun = max((i for i, event in enumerate(mine) if event.kind == "reset"), default=-1) + 1
    mine = mine[begun:]
    given = [i for i, e in enumerate(mine) if e.kind == "hint" and e.fields["level"] in (3, 4)]
    if any(mine[i].fields["level"] == level for i in given):
        return None
    last = given[-1] if given else 0
    known = {hashlib.sha256(stub(lab).encode()).hexdigest()}
    known |= {e.fields["sha256"] for e in mine[:last] if e.kind == "check"}
    tries = [e for e in mine[last:] if e.kind == "check" and e.fields["sha256"] not in known]
    if any(e.fields["of"] == 0 or e.fields["passed"] < e.fields["of"] for e in tries):
        return None
    return (
        f"hint {level} ({title(level)}) comes after a try: change your file and let "
        f"`lmwright lab check {lab.id}` look at it"
    )


def _last_failure(lab: Lab, events: Sequence[Event]) -> str:
    failing = [
        event
        for event in _of(lab, "check", events)
        if event.fields["of"] == 0 or event.fields["passed"] < event.fields["of"]
    ]
    if not failing:
        return "No check has failed yet."
    found = failing[-1].fields
    lines = [f"What does not hold: {found['failed']}."] if found.get("failed") else []
    if found.get("diagnosis"):
        lines.append(f"Your output equals {found['diagnosis']}.")
    else:
        lines.append("It equals none of the wrong versions that this lab knows.")
    if found.get("problem"):
        lines.append(str(found["problem"]))
    lines.append(f"Once more, in full: lmwright lab check {lab.id} --seed {found['seed']}")
    return "\n".join(lines)


def _of(lab: Lab, kind: str, events: Sequence[Event]) -> list[Event]:
    return [e for e in events if e.kind == kind and e.fields.get("lab") == lab.id]
