"""`lmwright.run("quickstart", budget="3m")`: the command as a Python call."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lmwright.pipeline.launch import RunResult, launch
from lmwright.pipeline.progress import Printed, Silent


def run(
    recipe: str,
    *,
    run_name: str | None = None,
    quiet: bool = False,
    track_to: str | None = None,
    **overrides: object,
) -> RunResult:
    """Run a recipe or a step, as `lmwright run` does, and return where the result lies.

    Args:
        recipe: a recipe's name or path, or a step's name.
        run_name: the folder `runs/NAME`; None: the recipe's name.
        quiet: print nothing.
        track_to: MLflow's URI.
        overrides: `budget="3m"`, `corpus={"path": "folder"}`, or `**{"corpus.path": "folder"}`.

    Raises:
        LmwrightError: for bad input or a failed step.
    """
    # JSON is YAML, which overrides are read as; paths and durations stand as their text.
    given = [f"{key}={json.dumps(value, default=str)}" for key, value in _dotted("", overrides)]
    display = Silent() if quiet else Printed()
    return launch(recipe, given, name=run_name, track_to=track_to, display=display)


def _dotted(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
