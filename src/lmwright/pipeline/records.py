"""The files that tell of a whole run: summary, metrics, lineage, environment, and its model."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmwright import __version__
from lmwright.core.device import available_memory_bytes, physical_cores, processor_name
from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, read_json, replaced_folder, write_json, write_text
from lmwright.pipeline import parts_used
from lmwright.pipeline.plan import Plan

_PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "pydantic", "scikit-learn")
_LINEAGE = (
    *("name", "type", "fingerprint", "config", "origins", "reads", "output", "code", "versions"),
    *("time", "part", "started", "finished", "attempts", "seconds", "processor_name"),
)
_VARIABLES = ("CC", "CXX", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def run_state(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Digest of all that a finished run's files are made from."""
    made = {
        "lmwright": __version__,
        "recipe": plan.recipe.to_yaml(),
        "not_applicable": dict(plan.not_applicable),
        "parts": parts_used.facts(results),
        "steps": {n: [r["fingerprint"], r["output"]["digest"]] for n, r in results.items()},
    }
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def is_up_to_date(folder: Path, plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the run's files were written, whole, from exactly these results."""
    wanted = ["summary.json", "report.html", "recipe.yaml"] + ["model"] * (plan.final is not None)
    if not all((folder / name).exists() for name in wanted):
        return False
    try:
        # Lineage is written last: it vouches for the others.
        return bool(read_json(folder / "lineage.json")["state"] == run_state(plan, results))
    except (LmwrightError, KeyError, TypeError):
        return False


def withdraw(folder: Path) -> None:
    """Remove what says that the run is whole, before anything in it changes."""
    (folder / "lineage.json").unlink(missing_ok=True)
    (folder / "summary.json").unlink(missing_ok=True)


def write_metrics(folder: Path, plan: Plan) -> None:
    """Join the steps' metrics into `metrics.jsonl`; each line says its step as `phase`."""
    lines = []
    for planned in plan.steps:
        for values in read_metrics(folder / "steps" / planned.step.name / "metrics.jsonl"):
            lines.append(json.dumps({"phase": planned.step.name, **values}) + "\n")
    write_text(folder / "metrics.jsonl", "".join(lines))


def read_metrics(file: Path) -> Iterator[dict[str, Any]]:
    """The logged lines of a step; a last one that a kill tore is left out."""
    if not file.exists():
        return
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def merged_summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The steps' summaries, flat.

    Where several steps give a value of one name, each appears as STEP_NAME, and the plain name is
    that of the step that took longest.
    """
    given = Counter(name for result in results.values() for name in result["record"]["summary"])
    by_time = sorted(results, key=lambda name: float(results[name]["seconds"]))
    longest = {
        name: value
        for step in by_time
        for name, value in results[step]["record"]["summary"].items()
    }
    merged: dict[str, Any] = {}
    for step, result in results.items():
        for name, value in result["record"]["summary"].items():
            merged[name] = longest[name]
            if given[name] > 1:
                merged[f"{step}_{name}"] = value
    return merged


def write_summary(
    folder: Path,
    plan: Plan,
    results: Mapping[str, Mapping[str, Any]],
    *,
    status: str,
    overhead_seconds: float,
) -> dict[str, Any]:
    """Write `summary.json`: flat, names with units.

    Args:
        folder: the run's folder.
        plan: the plan.
        results: the finished steps.
        status: "done", "interrupted" or "failed".
        overhead_seconds: time outside steps: start, checks, report.
    """
    steps = {f"{name}_seconds": round(r["seconds"], 3) for name, r in results.items()}
    total = sum(r["seconds"] for r in results.values()) + overhead_seconds
    summary = {
        "recipe": plan.recipe.name,
        "status": status,
        "pipeline_seconds": round(total, 3),
        "overhead_seconds": round(overhead_seconds, 3),
        "peak_rss_bytes": max((r["peak_rss_bytes"] for r in results.values()), default=0),
        "processor_name": processor_name(),
        **steps,
        **merged_summary(results),
        **parts_used.summary(results),
    }
    if plan.recipe.budget is not None:
        summary["budget_seconds"] = plan.recipe.budget
    write_json(folder / "summary.json", summary)
    return summary


def write_lineage(folder: Path, plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `lineage.json`: what each artefact was made from, and by which code."""
    write_json(
        folder / "lineage.json",
        {
            "state": run_state(plan, results),
            "recipe": plan.recipe.name,
            "model_from": plan.final,
            "not_applicable": dict(plan.not_applicable),
            "parts": parts_used.facts(results),
            "steps": [{key: result[key] for key in _LINEAGE} for result in results.values()],
        },
    )


def write_environment(folder: Path, command: str) -> None:
    """Write `environment.json`: the machine, the versions, and the command."""
    write_json(folder / "environment.json", environment(command))


def environment(command: str) -> dict[str, Any]:
    """The machine, the versions, and the command of this process."""
    return {
        "command": command,
        "lmwright": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor_name": processor_name(),
        "physical_cores": physical_cores(),
        "available_memory_bytes": available_memory_bytes(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "byte_order": sys.byteorder,
        "parts": parts_used.described(),
    }


def publish_model(folder: Path, plan: Plan) -> None:
    """Make `model/` the final step's model: hard links where the disk allows, else a copy."""
    if plan.final is None:
        return
    source = folder / "steps" / plan.final / "output"
    with replaced_folder(folder / "model") as fresh, disk_errors(folder / "model"):
        shutil.copytree(source, fresh, dirs_exist_ok=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no hard links; a full disk then fails in the copy, and says so.
        shutil.copy2(source, target)
    return target


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
