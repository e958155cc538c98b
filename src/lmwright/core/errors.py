"""Errors for people: what is wrong, where, and what to do about it."""


class LmwrightError(Exception):
    """Bad input, told in one line; the command prints it and exits 2.

    Args:
        what: what is wrong, naming the thing the user gave and where it stands.
        hint: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n       {self.hint}" if self.hint else self.what


class CheckFailed(LmwrightError):
    """A run finished or stopped and a check of its own failed (a guard, a promise); exits 1."""

    exit_code = 1
