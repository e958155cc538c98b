"""`report.html`: one file, no network: what a run did, how long it took, and what came out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmwright.core.files import write_text
from lmwright.pipeline import parts_used
from lmwright.pipeline.curves import curve_svg
from lmwright.pipeline.plan import Plan
from lmwright.pipeline.progress import number, seconds, size
from lmwright.pipeline.records import environment, read_metrics

_NUMERIC = re.compile(r"[+\-−–]?[\d.,]*\d.*|–|")


@dataclass(frozen=True)
class RunStory:
    """All that a report tells.

    Args:
        name: the run's.
        folder: the run's.
        plan: what was to run.
        results: the finished steps' `step.json`.
        ran: the steps that ran this time; the others were kept.
        unfinished: what a failed or interrupted step had said, or None.
        summary: the run's `summary.json`.
        command: what was typed.
    """

    name: str
    folder: Path
    plan: Plan
    results: Mapping[str, Mapping[str, Any]]
    ran: Sequence[str]
    unfinished: Mapping[str, Any] | None
    summary: Mapping[str, Any]
    command: str


def write_report(story: RunStory) -> Path:
    """Write `report.html` into the run's folder and return its path."""
    import jinja2

    environment_ = jinja2.Environment(
        loader=jinja2.PackageLoader("lmwright.pipeline", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment_.filters |= {"seconds": seconds, "size": size, "number": number}
    environment_.tests["numeric"] = _numeric_column
    page = environment_.get_template("report.html.j2").render(_context(story))
    path = story.folder / "report.html"
    write_text(path, page)
    return path


def _context(story: RunStory) -> dict[str, Any]:
    told = [_told(story, planned.step.name) for planned in story.plan.steps]
    own = {"recipe", "status", "processor_name", "pipeline_seconds", "overhead_seconds"}
    own |= {"peak_rss_bytes", "budget_seconds", *(f"{name}_seconds" for name in story.results)}
    return {
        "name": story.name,
        "recipe": story.plan.recipe,
        "summary": story.summary,
        "findings": {key: v for key, v in story.summary.items() if key not in own},
        "steps": told,
        "longest": max((step["seconds"] or 0.0 for step in told), default=0.0),
        "not_applicable": story.plan.not_applicable,
        "model_from": story.plan.final,
        "parts": parts_used.facts(story.results),
        "environment": _flat(environment(story.command)),
        "recipe_yaml": story.plan.recipe.to_yaml(),
    }


def _told(story: RunStory, name: str) -> dict[str, Any]:
    """One step as the template wants it, whatever became of it."""
    planned = next(p for p in story.plan.steps if p.step.name == name)
    result = story.results.get(name)
    unfinished = story.unfinished if story.unfinished and story.unfinished["name"] == name else None
    source: Mapping[str, Any] = result or unfinished or {}
    record = source.get("record", {})
    if result is not None:
        status = "ran" if name in story.ran else "kept"
    else:
        status = "not reached" if unfinished is None else unfinished["status"]
    metrics = list(read_metrics(story.folder / "steps" / name / "metrics.jsonl"))
    curves = [
        curve_svg(wanted["title"], wanted["x"], wanted["y"], metrics, salt=f"{name}{index}")
        for index, wanted in enumerate(record.get("series", []))
    ]
    return {
        "name": name,
        "type": planned.step.type,
        "status": status,
        "error": (unfinished or {}).get("error", ""),
        "seconds": source.get("seconds"),
        "budget_seconds": source.get("budget_seconds"),
        "peak_rss_bytes": source.get("peak_rss_bytes"),
        "attempts": source.get("attempts", 1),
        "output": source.get("output"),
        "fingerprint": source.get("fingerprint", ""),
        "origins": source.get("origins", {}),
        "code": source.get("code", {}),
        "notes": record.get("notes", []),
        "tables": record.get("tables", []),
        "samples": record.get("samples", []),
        "curves": [curve for curve in curves if curve is not None],
    }


def _numeric_column(table: Mapping[str, Any], index: int) -> bool:
    """Whether a column holds numbers, also such as "0.97 [0.95, 0.98]" or "12 %"."""
    cells = [row[index] for row in table["rows"]]
    return all(
        cell is None
        or (isinstance(cell, (int, float)) and not isinstance(cell, bool))
        or (isinstance(cell, str) and len(cell) < 30 and _NUMERIC.fullmatch(cell) is not None)
        for cell in cells
    )


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested values as lines of a table, names and units in words."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {inner: number(v) for inner, v in value.items()}
        elif key.endswith("_bytes"):
            flat[key.removesuffix("_bytes").replace("_", " ")] = size(value)
        else:
            flat[key.replace("_", " ")] = number(value)
    return flat
