"""The last check of each lab in full, for whoever wants to look at it again.

The record keeps that a check was made and what came of it; the properties one by one, and the
smallest failure, are kept here, only the newest. Nothing is derived from them: losing them loses no
progress.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_json
from lmwright.core.home import home


def keep_verdict(
    lab: str, *, sha256: str, verdict: Mapping[str, Any] | None, problem: str = ""
) -> None:
    """Keep a check's verdict in the place of the one before.

    Args:
        lab: its id.
        sha256: of the file that was checked.
        verdict: `Verdict.to_json()`; None where the check did not get so far.
        problem: why there is none.

    Raises:
        LmwrightError: if it cannot be written.
    """
    write_json(_file(lab), {"sha256": sha256, "verdict": verdict, "problem": problem})


def last_verdict(lab: str) -> dict[str, Any] | None:
    """What `keep_verdict` was given last; None if there is nothing that can be read."""
    try:
        found = read_json(_file(lab))
    except (LmwrightError, OSError):
        return None
    return found if isinstance(found, dict) and "verdict" in found else None


def _file(lab: str) -> Path:
    return home() / "checks" / f"{lab}.json"
