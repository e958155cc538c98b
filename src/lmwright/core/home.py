"""The user's own folder: what belongs to a person rather than to a project or a run."""

import os
from pathlib import Path


def home() -> Path:
    """LMWRIGHT_HOME, or `lmwright` in the user's data folder (XDG base directories, 0.8).

    It is not made here: whoever writes into it does.
    """
    given = os.environ.get("LMWRIGHT_HOME")
    if given:
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "lmwright"


def passed_file() -> Path:
    """Where `lmwright lab check` keeps the digests of files that passed: JSON, SHA-256 -> facts.

    It stands here, below the road, so that `--use` can refuse an unchecked file.
    """
    return home() / "passed.json"
