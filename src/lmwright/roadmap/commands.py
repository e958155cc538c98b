"""`lmwright roadmap`; nothing here loads torch."""

from typing import Annotated

import typer

from lmwright.pipeline.step import StepType

STEPS: tuple[StepType, ...] = ()


def register(app: typer.Typer) -> None:
    """Add this room's verbs to the command line."""
    app.command("roadmap")(roadmap)


def roadmap(
    topic: Annotated[
        str | None, typer.Argument(help="Show this one topic, for example 4.6.", metavar="TOPIC")
    ] = None,
) -> None:
    """Show the road through the field: every topic, its state, and the command that runs it.

    Examples:

        lmwright roadmap

        lmwright roadmap 4.6
    """
    from rich.console import Console

    from lmwright.roadmap import display
    from lmwright.roadmap.topics import finished_runs, load_road

    console = Console()
    road, runs = load_road(), finished_runs()
    if topic is not None:
        console.print(display.topic_page(road, road.topic(topic), runs))
    elif console.is_terminal:
        console.print(display.tables(road, runs))
    else:
        print(display.plain(road, runs))
