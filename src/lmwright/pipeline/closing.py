"""What a person reads when a run has ended: ledger, results, samples, and what to do next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmwright.pipeline.plan import Plan
from lmwright.pipeline.progress import Display, seconds, size

_SAMPLES = 3
_ROWS = 12  # longer tables are in the report


def print_closing(
    display: Display,
    plan: Plan,
    folder: Path,
    results: Mapping[str, Mapping[str, Any]],
    summary: Mapping[str, Any],
) -> None:
    """Print the ledger, the steps' tables, up to three samples, and the next commands.

    Args:
        display: where to.
        plan: the plan.
        folder: the run's.
        results: the finished steps' `step.json`.
        summary: the run's `summary.json`.
    """
    _ledger(display, results, summary)
    for name, result in results.items():
        for table in result["record"]["tables"]:
            shown = table["rows"][:_ROWS]
            display.table(f"{name}: {table['title']}", table["columns"], shown)
            if len(table["rows"]) > _ROWS:
                display.note(f"{len(table['rows']) - _ROWS} more rows are in the report")
            if table["note"]:
                display.note(table["note"])
    _samples(display, results)
    display.line(f"report   {folder / 'report.html'}")
    if plan.final is not None:
        display.line(f"chat     lmwright chat {folder}", "bold")
        display.line(f"serve    lmwright serve {folder}", "bold")


def _ledger(
    display: Display, results: Mapping[str, Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    rows = [
        [
            name,
            seconds(result["seconds"]),
            "" if result["budget_seconds"] is None else seconds(result["budget_seconds"]),
            size(result["output"]["bytes"]),
            size(result["peak_rss_bytes"]),
        ]
        for name, result in results.items()
    ]
    rows.append(["start, checks, report", seconds(summary["overhead_seconds"]), "", "", ""])
    total = seconds(summary["pipeline_seconds"])
    budget = summary.get("budget_seconds")
    planned = "" if budget is None else seconds(budget)
    rows.append(["in all", total, planned, "", size(summary["peak_rss_bytes"])])
    display.table("time", ["step", "time", "planned", "size", "peak memory"], rows)


def _samples(display: Display, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the first samples of the last step that has any: it saw the finished model."""
    groups: list[Mapping[str, Any]] = []
    for result in results.values():
        groups = result["record"]["samples"] or groups
    for row in [row for group in groups for row in group["rows"]][:_SAMPLES]:
        for key, value in row.items():
            display.line(f"  {key.replace('_', ' ')}: {value}")
        display.line("")
