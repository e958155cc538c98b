"""Telling the person what happens: bars on a terminal, plain lines elsewhere, or nothing."""

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Task(Protocol):
    """Something long that moves forward."""

    def advance(self, n: int = 1, **shown: float | str) -> None:
        """Move by `n`; `shown` are current values to show beside the bar."""


class Display(Protocol):
    """Where a step's progress and notes go."""

    def note(self, text: str) -> None:
        """Say one plain line."""

    def task(self, description: str, total: int | None) -> contextlib.AbstractContextManager[Task]:
        """Show a task of `total` units, or of unknown length."""


class Silent:
    """Shows nothing: for steps called from Python and in tests."""

    def note(self, text: str) -> None:
        """Say nothing."""

    @contextlib.contextmanager
    def task(self, description: str, total: int | None) -> Iterator["Silent"]:  # noqa: ARG002
        """Show nothing."""
        yield self

    def advance(self, n: int = 1, **shown: float | str) -> None:
        """Show nothing."""
