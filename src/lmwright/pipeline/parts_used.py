"""What a run keeps of the parts that a reader's own code replaces: their code and their calls."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from lmwright.core import parts
from lmwright.core.errors import CheckFailed
from lmwright.core.parts import Part
from lmwright.pipeline.closure import code_digests
from lmwright.pipeline.step import StepType

Results = Mapping[str, Mapping[str, Any]]
"""The finished steps' `step.json` by their names."""


def part_digests(code: Collection[str]) -> dict[str, str]:
    """The parts in use that code may call, and the digest of all code that stands in their place.

    Args:
        code: dotted names of the modules that a step's function may load.

    Returns:
        "attention: mine/attention.py" -> hexadecimal SHA-256.
    """
    within = [part for part in parts.active() if part.target_module in code]
    return {label(part): _digest(part) for part in within}


def label(part: Part) -> str:
    """How a part is called in fingerprints, and in the reasons why a step runs again."""
    return f"{part.name}: {part.shown}"


def more_calls(before: Mapping[str, int], start: Mapping[str, int]) -> dict[str, int]:
    """The calls of earlier attempts, and those in this process since `start`."""
    return {
        name: before.get(name, 0) + now - start.get(name, 0) for name, now in parts.calls().items()
    }


def total_calls(results: Results) -> dict[str, int]:
    """Calls of each part in use over all steps, kept ones included."""
    return {
        part.name: sum(result.get("calls", {}).get(part.name, 0) for result in results.values())
        for part in parts.active()
    }


def facts(results: Results) -> list[dict[str, Any]]:
    """Each part in use: what it replaces, by which file, and how often that was called."""
    calls = total_calls(results)
    return [
        {
            "name": part.name,
            "target": part.target,
            "file": part.shown,
            "sha256": part.sha256,
            "checked": part.checked,
            "calls": calls[part.name],
        }
        for part in parts.active()
    ]


def summary(results: Results) -> dict[str, Any]:
    """What `summary.json` says: calls of each part, those unchecked, and those not used."""
    calls = total_calls(results)
    said: dict[str, Any] = {f"calls_{name}": count for name, count in calls.items()}
    unchecked = [part.name for part in parts.active() if not part.checked]
    unused = [name for name, count in calls.items() if not count]
    if unchecked:
        said["unchecked_parts"] = ", ".join(unchecked)
    if unused:
        said["unused_parts"] = ", ".join(unused)
    return said


def described() -> dict[str, str]:
    """Each part in use in one line, for `environment.json`."""
    return {
        part.name: ", ".join(
            [f"{part.shown} for {part.target}"]
            + [f"sha256 {part.sha256}"] * bool(part.sha256)
            + ["unchecked"] * (not part.checked)
        )
        for part in parts.active()
    }


def check_callable(steps: Iterable[StepType]) -> None:
    """Refuse, before it begins, a run in which no step can call a part asked for by its name.

    Raises:
        CheckFailed: naming the part.
    """
    named = [part for part in parts.active() if part.named]
    if not named:
        return
    codes = [code_digests(step.function.partition(":")[0]) for step in steps]
    for part in named:
        if not any(part.target_module in code for code in codes):
            raise CheckFailed(
                f"{part.shown} would not be called: no step of this recipe loads "
                f"{part.target_module}"
            )


def check_called(results: Results) -> str | None:
    """See that the parts were called in a finished run.

    Returns:
        A note about those that nobody needed, where the whole folder was named; None: none.

    Raises:
        CheckFailed: if a part that was asked for by its name was not called once, or none was.
    """
    calls = total_calls(results)
    unused = [part for part in parts.active() if not calls[part.name]]
    if not unused:
        return None
    missed = [part for part in unused if part.named]
    if missed or len(unused) == len(calls):
        shown = ", ".join(part.shown for part in missed or unused)
        were = "was" if len(missed or unused) == 1 else "were"
        raise CheckFailed(
            f"{shown} {were} not called once in this run",
            hint="its settings lead around that part of production; nothing was shown of yours",
        )
    return f"not used by this recipe: {', '.join(part.name for part in unused)}"


def _digest(part: Part) -> str:
    """Of the reader's file as it was when the process began, and of all that it imports."""
    if part.file is None:
        return "production's own"
    code = code_digests(part.module) | {part.module: part.sha256}
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()
