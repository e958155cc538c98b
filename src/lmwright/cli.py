"""The command `lmwright`: verbs of every room, assembled without loading torch."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.pipeline.catalog import commands_of, room_commands

_ABOUT = """One readable stack for the whole life of a language model.

Start with: lmwright run quickstart"""

_RUN = """Run a recipe or a single step; run it again to go on or to do only what changed.

Examples:

  lmwright run quickstart

  lmwright run quickstart budget=3m corpus.path=my_folder --run mine

  lmwright run training.pretrain input.shards=FOLDER input.tokenizer=FOLDER budget=2m

  lmwright run training.pretrain --help"""


_RECORDS_CALLS = ("run", "serve", "lab", "roadmap")
"""Verbs that keep their own count of the calls of a reader's parts, or never call any."""


class _RunCommand(TyperCommand):
    """The verb `run`, whose help for a step or a recipe tells what may be set."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Answer `run STEP --help` and `run RECIPE --help`; everything else is typer's."""
        # Asked for before parsing: typer answers --help before it has read what is meant.
        named = [word for word in args if word != "--help"]
        if "--help" in args and named and not named[0].startswith("-"):
            from lmwright.pipeline.step_help import help_for

            typer.echo(help_for(named[0]))
            raise typer.Exit
        return super().parse_args(ctx, args)


_WAITED_FOR = {"serve": "serving"}
"""Verbs whose room alone is imported, which spares a quarter of a second until they begin."""


def make_app(verb: str | None = None) -> typer.Typer:
    """The command with the verbs of every room that has some.

    Args:
        verb: the one that is wanted, where it is known; others may then be missing.
    """
    app = typer.Typer(
        help=_ABOUT,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    app.command("run", cls=_RunCommand, help=_RUN)(_run)
    room = _WAITED_FOR.get(verb or "")
    for commands in (commands_of(room),) if room else room_commands():
        register = getattr(commands, "register", None)
        if register is not None:
            register(app)
    return app


def main() -> None:
    """Run the command line; bad input is one clear line and exit 2, `--debug` shows the traceback.

    Exit codes: 0 done, 2 the user's input, 130 interrupted, 1 a failed check or a bug.
    """
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:
        # Every verb takes it, at any place, so it is read here rather than by each of them.
        arguments.remove("--debug")
    try:
        arguments = _put_parts_in_place(arguments)
        with _calls_told(arguments):
            make_app(next(iter(arguments), None))(arguments, prog_name="lmwright")
    except LmwrightError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # A bug of ours shows its traceback; one in a reader's own part is theirs to find.
        told = parts.told(error)
        if told is None or debug:
            raise
        what, hint = told
        print(f"error: {LmwrightError(what, hint=hint)}", file=sys.stderr)
        sys.exit(1)


def _put_parts_in_place(arguments: list[str]) -> list[str]:
    """Obey `--use NAME` and `--unchecked` wherever they stand, and give the other words."""
    words, rest, unchecked = [], [], False
    given = iter(arguments)
    for word in given:
        if word == "--use":
            words.append(next(given, ""))
        elif word.startswith("--use="):
            words.append(word.partition("=")[2])
        elif word == "--unchecked":
            unchecked = True
        else:
            rest.append(word)
    if "" in words:
        raise LmwrightError("--use needs a name", hint="as in --use mine.attention")
    if unchecked and not words:
        raise LmwrightError(
            "--unchecked is about the files that --use names, and there is no --use",
            hint="as in --use mine.attention --unchecked",
        )
    if words:
        parts.use(*words, unchecked=unchecked)
    return rest


@contextlib.contextmanager
def _calls_told(arguments: list[str]) -> Iterator[None]:
    """Say at the end how often the reader's parts were called, where no record says it."""
    try:
        yield
    finally:
        verb = next(iter(arguments), "-")
        if not verb.startswith("-") and verb not in _RECORDS_CALLS:
            for name, count in parts.calls().items():
                print(f"calls of your {name}: {count:,}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lmwright import __version__

        typer.echo(f"lmwright {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; any verb takes it.")
    ] = False,
    use: Annotated[
        list[str] | None,
        typer.Option(
            "--use",
            metavar="NAME",
            help="Run with a part of your own, such as mine.attention, or with all in the folder "
            "mine; may be repeated; any verb takes it.",
        ),
    ] = None,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked", help="Let --use take files that have not passed `lmwright lab check`."
        ),
    ] = False,
) -> None:
    pass


def _run(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE|STEP", help="A recipe's name or path, or a step's name."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="budget=3m, step.key=value; for a single step key=value and input.NAME=FOLDER.",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Name of the run, the folder runs/NAME; default: the recipe's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print steps, times, sizes and memory; run nothing.")
    ] = False,
    track: Annotated[
        str | None, typer.Option(help="Track to this MLflow URI (or set LMWRIGHT_MLFLOW).")
    ] = None,
) -> None:
    from lmwright.pipeline.launch import launch
    from lmwright.pipeline.preview import preview
    from lmwright.pipeline.progress import Printed

    if dry_run:
        preview(recipe, overrides or [], name=run, display=Printed())
    else:
        launch(recipe, overrides or [], name=run, track_to=track, display=Printed())


if __name__ == "__main__":
    main()
