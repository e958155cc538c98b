"""What the road's page is told: the standing as plain JSON values, a specification as HTML."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt

from lmwright.roadmap import display
from lmwright.roadmap.chain import Event
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.states import LabState, Standing
from lmwright.roadmap.topics import Topic


def road_view(here: Standing) -> dict[str, Any]:
    """The map, the labs' states, and what to do next."""
    return {
        "stages": [
            {
                "id": stage.id,
                "title": stage.title,
                "topics": [topic_view(here, topic) for topic in stage.topics],
            }
            for stage in here.road.stages
        ],
        "labs": {lab.id: lab_view(lab, here.states[lab.id]) for lab in here.labs.values()},
        "next": here.next.id if here.next else None,
        "begun": any(state.word != "none" for state in here.states.values()),
        "problems": list(here.problems),
    }


def topic_view(here: Standing, topic: Topic) -> dict[str, Any]:
    """A topic, its state, and its neighbours."""
    state = here.topics[topic.id]
    return {
        "id": topic.id,
        "title": topic.title,
        "state": state.word,
        "works": topic.works,
        "note": topic.note,
        "needs": list(topic.needs),
        "leads_to": [later.id for later in here.road.leads_to(topic.id)],
        "read": list(topic.read),
        "how": topic.how,
        "proof": display.proof_told(topic),
        "ran": display.runs_told(here, topic),
        "labs": [lab.id for lab in here.labs_of(topic)],
    }


def lab_view(lab: Lab, state: LabState) -> dict[str, Any]:
    """A lab, its state, and what is left to do."""
    what, command = display.to_do(state)
    return {
        "id": lab.id,
        "title": lab.title,
        "minutes": lab.minutes,
        "topics": list(lab.topics),
        "target": lab.target,
        "word": state.word,
        "told": display.told(state),
        "older": state.older,
        "twist": state.twist,
        "tests": state.tests,
        "used": bool(state.used),
        "to_do": what,
        "command": command,
        "attempts": state.attempts,
        "hints": state.hints,
    }


def lab_page(
    lab: Lab, state: LabState, events: Sequence[Event], verdict: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Everything about one lab: its specification, and its last check.

    Args:
        lab: which.
        state: where the learner stands with it.
        events: the record.
        verdict: the last that `verdicts` kept; shown only if it is of the last check's file.
    """
    checks = [e for e in events if e.kind == "check" and e.fields.get("lab") == lab.id]
    tried = checks[len(checks) - state.attempts :]
    return {
        **lab_view(lab, state),
        "spec": to_html(lab.text("spec.md")),
        "tries": [_try(event) for event in tried],
        "check": None if state.check is None else _check(state.check, verdict),
    }


def to_html(markdown: str) -> str:
    """Markdown as HTML that holds no markup but its own: no HTML passes, no picture is fetched."""
    html: str = _markdown().render(markdown)
    return html


@functools.cache
def _markdown() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False})
    return reader.enable("table").disable(["image", "html_block", "html_inline"])


def _try(event: Event) -> dict[str, Any]:
    names = ("passed", "of")
    return {"time": event.time, **{name: event.fields.get(name) for name in names}}


def _check(event: Event, verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """The newest check, with its properties where they were kept."""
    names = ("seed", "passed", "of", "worst", "seconds", "lines", "sha256")
    found = {name: event.fields.get(name) for name in names}
    same = verdict is not None and verdict.get("sha256") == event.fields.get("sha256")
    kept = verdict.get("verdict") if verdict is not None and same else None
    results = kept.get("results", []) if isinstance(kept, Mapping) else []
    return {
        **found,
        "time": event.time,
        "problem": event.fields.get("problem") or "",
        "diagnosis": event.fields.get("diagnosis") or "",
        "results": results,
        "again": f"lmwright lab check {event.fields.get('lab')} --seed {found['seed']}",
    }
