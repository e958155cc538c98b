"""The road on a terminal, and as plain lines for pipes and files."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lmwright.roadmap.topics import FinishedRun, Road, Topic, runs_of, state

_STYLES = {"planned": "dim", "ready": "cyan", "ran here": "green"}
_START = "Start with `lmwright run quickstart`: from text to a chat model of your own."


def tables(road: Road, runs: Sequence[FinishedRun]) -> RenderableType:
    """One table for each stage, then how far the road goes."""
    parts: list[RenderableType] = []
    for stage in road.stages:
        table = Table(
            title=f"{stage.id}  {stage.title}",
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
            show_header=False,
        )
        for topic in stage.topics:
            word = state(topic, runs)
            cells = [topic.id, word, topic.title, *([topic.how] if topic.how else [])]
            table.add_row(*(Text(cell, style=_STYLES[word]) for cell in cells))
        parts += [table, ""]
    return Group(*parts, Text(_summary(road, runs)), Text(_START))


def plain(road: Road, runs: Sequence[FinishedRun]) -> str:
    """One line for each topic: id, state, title and the command, tabs between them."""
    lines = []
    for stage in road.stages:
        lines.append(f"{stage.id}\t{stage.title}")
        for topic in stage.topics:
            cells = (topic.id, state(topic, runs), topic.title, topic.how or "")
            lines.append("\t".join(cells).rstrip("\t"))
    return "\n".join([*lines, _summary(road, runs), _START])


def topic_page(road: Road, topic: Topic, runs: Sequence[FinishedRun]) -> RenderableType:
    """Everything known about one topic."""
    stage = next(stage for stage in road.stages if topic in stage.topics)
    word = state(topic, runs)
    rows = [
        ("stage", stage.title),
        ("state", word),
        ("works when", topic.works),
        ("run it", topic.how),
        ("so far", topic.note),
        ("ran as", ", ".join(run.name for run in runs_of(topic, runs))),
        ("read", ", ".join(f"lmwright/{path}" for path in topic.read)),
        ("page", topic.page and f"docs/{topic.page}"),
    ]
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        if value:
            style = _STYLES[word] if label == "state" else ""
            table.add_row(Text(label, style="dim"), Text(value, style=style))
    return Group(Text(f"{topic.id}  {topic.title}", style="bold"), table)


def _summary(road: Road, runs: Sequence[FinishedRun]) -> str:
    words = [state(topic, runs) for topic in road.topics]
    counts = ", ".join(f"{words.count(word)} {word}" for word in _STYLES if word in words)
    return f"{len(words)} topics: {counts}."
