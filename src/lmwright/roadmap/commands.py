"""`lmwright roadmap`; nothing here loads torch or the web framework before a command needs it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.step import StepType
from lmwright.roadmap import lab_commands

if TYPE_CHECKING:
    from collections.abc import Iterable

STEPS: tuple[StepType, ...] = ()


def register(app: typer.Typer) -> None:
    """Add this room's verbs to the command line."""
    app.command("roadmap")(roadmap)
    app.add_typer(lab_commands.app, name="lab")


def roadmap(
    what: Annotated[
        str | None,
        typer.Argument(help="A topic, such as 4.6; or `export` or `import`.", metavar="[TOPIC]"),
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(help="Of `export` and `import`.", metavar="[FILE]")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show the road in the browser.")] = False,
    port: Annotated[int, typer.Option(help="Of the page; 0 takes any that is free.")] = 8008,
) -> None:
    """Show the road through the field: topics, labs, where you stand, and what comes next.

    Examples:

        lmwright roadmap

        lmwright roadmap 4.6

        lmwright roadmap --serve

        lmwright roadmap export my_road.jsonl

        lmwright roadmap import my_other_machine.jsonl
    """
    if what in ("export", "import"):
        if file is None:
            raise LmwrightError(
                f"roadmap {what} needs a file", hint=f"lmwright roadmap {what} my_road.jsonl"
            )
        (_export if what == "export" else _import)(file)
    elif file is not None:
        raise LmwrightError(
            f"roadmap takes one topic, not {what} and {file}",
            hint="lmwright roadmap 4.6, or roadmap export FILE, or roadmap import FILE",
        )
    elif serve:
        _serve(port, what)
    else:
        _show(what)


def _show(topic: str | None) -> None:
    from rich.console import Console

    from lmwright.roadmap import display, states

    console, here = Console(), states.here()
    if topic is not None:
        console.print(display.topic_page(here, here.road.topic(topic)))
    elif console.is_terminal:
        console.print(display.tables(here))
    else:
        print(display.plain(here))
    _say(here.problems)


def _export(file: Path) -> None:
    from lmwright.roadmap.record import Record

    record = Record.open()
    count = record.copy_to(file)
    typer.echo(f"{file}: {count} events. On another machine: lmwright roadmap import {file.name}")
    _say(record.problems)


def _import(file: Path) -> None:
    from lmwright.roadmap.record import Record

    record, other = Record.open(), Record.open(file)
    count = record.take(other)
    typer.echo(f"{count} new events of {len(other.events)}; the record has {len(record.events)}.")
    _say(other.problems)


def _serve(port: int, topic: str | None) -> None:
    from lmwright.roadmap import server
    from lmwright.roadmap.topics import load_road

    server.serve(port, "" if topic is None else load_road().topic(topic).id)


def _say(problems: "Iterable[str]") -> None:
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
