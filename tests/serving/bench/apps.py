"""The command line with nothing but the verbs under test."""

import typer

from lmwright.serving.bench import commands


def command_line() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    return app
