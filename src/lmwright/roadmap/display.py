"""The road on a terminal, and as plain lines for pipes and files."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lmwright.roadmap.states import LAB_WORDS, LabState, Standing, TopicWord
from lmwright.roadmap.topics import Topic

_STYLES: dict[TopicWord, str] = {
    "planned": "dim",
    "ready": "cyan",
    "ran": "green",
    "met": "bold green",
}
_SIGNS = dict(zip(LAB_WORDS, "○◔◑●", strict=True))
_LAB_STYLES = dict(zip(LAB_WORDS, ("dim", "yellow", "green", "bold green"), strict=True))
_OLDER = "bright_black"
_START = "Start with `lmwright run quickstart`: from text to a chat model of your own."


def tables(here: Standing) -> RenderableType:
    """One table for each stage, then how far the road goes and what comes next."""
    parts: list[RenderableType] = []
    for stage in here.road.stages:
        table = Table(
            title=f"{stage.id}  {stage.title}",
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
            show_header=False,
        )
        for topic in stage.topics:
            word = here.topics[topic.id].word
            style = _STYLES[word]
            cells = [Text(topic.id, style), Text(word, style), _title(here, topic, style)]
            table.add_row(*cells, *([Text(topic.how, style)] if topic.how else []))
        parts += [table, ""]
    signs = "  ".join(f"{_SIGNS[word]} {word}" for word in LAB_WORDS[1:])
    parts += [Text(f"labs  {signs}", "dim"), ""]
    return Group(*parts, Text("\n".join([_summary(here), *what_next(here)])))


def plain(here: Standing) -> str:
    """One line for each topic, tabs between id, state, title, command, and its labs' states."""
    lines = []
    for stage in here.road.stages:
        lines.append(f"{stage.id}\t{stage.title}")
        for topic in stage.topics:
            labs = ",".join(f"{lab.id}:{here.states[lab.id].word}" for lab in here.labs_of(topic))
            cells = (topic.id, here.topics[topic.id].word, topic.title, topic.how or "", labs)
            lines.append("\t".join(cells).rstrip("\t"))
    return "\n".join([*lines, _summary(here), *what_next(here)])


def what_next(here: Standing) -> list[str]:
    """What to do now, a line each."""
    lines = []
    if all(state.word == "none" for state in here.states.values()):
        lines.append(_START)
    for lab in here.under_way:
        what, command = to_do(here.states[lab.id])
        lines.append(f"Under way: {lab.id}. {what}: `{command}`")
    first = here.next
    if first is not None and first not in here.under_way:
        what, command = to_do(here.states[first.id])
        about = f"{first.id}, {first.title} ({first.minutes} minutes)"
        lines.append(f"Next: {about}. {what}: `{command}`")
    return lines


def to_do(state: LabState) -> tuple[str, str]:
    """What is left to do in a lab, and the command for it."""
    lab = state.lab
    if state.word == "none":
        return "Begin", f"lmwright lab start {lab}"
    if state.word == "started":
        return "Write it, and have it checked", f"lmwright lab check {lab}"
    if state.word == "built" and state.older:
        return "Its specification has changed; have it checked again", f"lmwright lab check {lab}"
    if state.word == "built" and not state.used:
        return "Train a model with it", f"lmwright run quickstart --use mine.{lab}"
    if state.word == "built":
        return "Read production's beside yours", f"lmwright lab diff {lab}"
    if not state.twist:
        return "The check passed; its twist waits", f"lmwright lab twist {lab}"
    if not state.tests:
        return "Your own tests have to catch wrong versions", f"lmwright lab test {lab}"
    return (
        "Check, twist and tests have to pass with one version of your file",
        f"lmwright lab check {lab}",
    )


def told(state: LabState) -> str:
    """A lab's state in words."""
    words: list[str] = [state.word if state.word != "none" else "not begun"]
    if state.solution_seen:
        words[0] += " (solution seen)"
    words += [f"used by {', '.join(state.used)}"] if state.used else []
    words += ["proved on real data"] if state.proved else []
    words += [f"verified {state.verified[:10]}"] if state.verified else []
    words += ["older version"] if state.older else []
    words += ["unverified"] if state.unverified else []
    return ", ".join(words)


def topic_page(here: Standing, topic: Topic) -> RenderableType:
    """Everything known about one topic: what it is, what to read, run and write, what follows."""
    road, state = here.road, here.topics[topic.id]
    stage = next(stage for stage in road.stages if topic in stage.topics)
    rows = [
        ("stage", stage.title),
        ("state", state.word),
        ("works when", topic.works),
        ("so far", topic.note),
        ("needs", _named([road.topic(id) for id in topic.needs])),
        ("read", "\n".join(f"lmwright/{path}" for path in topic.read)),
        ("page", topic.page and f"docs/{topic.page}"),
        ("run it", topic.how),
        ("met when", proof_told(topic)),
        ("ran as", runs_told(here, topic)),
        ("next", _named(road.leads_to(topic.id))),
    ]
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        if label == "next" and here.labs_of(topic):
            table.add_row(Text("labs", "dim"), _labs(here, topic))
        if value:
            style = _STYLES[state.word] if label == "state" else ""
            table.add_row(Text(label, "dim"), Text(value, style))
    return Group(Text(f"{topic.id}  {topic.title}", "bold"), table)


def _title(here: Standing, topic: Topic, style: str) -> Text:
    """A topic's title, and below it its labs with their signs."""
    # A style of the whole would colour the labs, too.
    text, labs = Text.assemble((topic.title, style)), here.labs_of(topic)
    for number, lab in enumerate(labs):
        state = here.states[lab.id]
        text.append("\n" if number == 0 else "  ")
        text.append(f"{_SIGNS[state.word]} {lab.id}", _lab_style(state))
    return text


def _labs(here: Standing, topic: Topic) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for lab in here.labs_of(topic):
        state = here.states[lab.id]
        _, command = to_do(state)
        style = _lab_style(state)
        cells = (f"{_SIGNS[state.word]} {lab.id}", f"{lab.minutes} min", told(state), command)
        table.add_row(
            *(Text(cell, style if place != 3 else "") for place, cell in enumerate(cells))
        )
    return table


def _lab_style(state: LabState) -> str:
    return _OLDER if state.older else _LAB_STYLES[state.word]


def _named(topics: list[Topic]) -> str:
    return "\n".join(f"{topic.id} {topic.title}" for topic in topics)


def proof_told(topic: Topic) -> str | None:
    """What a run has to reach for the topic to be met; None where nothing is asked."""
    proof = topic.proof
    if proof is None:
        return None
    bound = "at least" if proof.better == "higher" else "at most"
    beside = f", and better than `{proof.baseline}`" if proof.baseline else ""
    minutes = max(1, round(proof.seconds / 60))
    return (
        f"`{proof.metric}` is {bound} {proof.at_least:g} on {proof.dataset}{beside} "
        f"(about {minutes} minutes on one slow core)"
    )


def runs_told(here: Standing, topic: Topic) -> str:
    """The runs that show the topic, and the best of what it is measured by."""
    state = here.topics[topic.id]
    runs = ", ".join(state.runs)
    best = f"; best {topic.proof.metric} {state.value:g}" if topic.proof and state.value else ""
    return f"{runs}{best}" if runs else ""


def _summary(here: Standing) -> str:
    words = [state.word for state in here.topics.values()]
    counts = ", ".join(f"{words.count(word)} {word}" for word in _STYLES if word in words)
    line = f"{len(words)} topics: {counts}."
    states = list(here.states.values())
    if not states:
        return line
    earned = [word for word in reversed(LAB_WORDS[1:]) if any(s.word == word for s in states)]
    done = ", ".join(f"{sum(s.word == word for s in states)} {word}" for word in earned)
    return f"{line} {_many(len(states), 'lab')}: {done or 'none begun'}."


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
