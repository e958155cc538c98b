"""The evaluation of labelled tasks: every model of a run, and baselines, on the same test split."""

from pathlib import Path
from typing import TYPE_CHECKING

from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.evaluation import task_tables
from lmwright.evaluation.commands import TaskEvaluationConfig
from lmwright.evaluation.task_systems import Answers, Material, answers, baselines, gather

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

SCORED = {"classification": "label", "tagging": "tags", "question_answering": "answers"}
"""Tasks, and the column that says what is right."""


def evaluate(
    config: TaskEvaluationConfig,
    run: "StepRun",
    *,
    dataset: Path,
    examples: Path,
    **models: Path | None,
) -> None:
    """Score the models that exist on the test split; write `evaluation.json` with every answer.

    Args:
        config: what to show.
        run: the step's run; gets tables, samples and the summary.
        dataset: its rows.
        examples: the same, encoded.
        models: folders of trained models by their names.

    Raises:
        LmwrightError: if there is no model, or the task is none that is scored here.
    """
    present = {name: folder for name, folder in models.items() if folder is not None}
    if not present:
        raise LmwrightError(f"step {run.name} has no model to evaluate")
    material = gather(dataset, examples)
    if material.description.task not in SCORED:
        raise LmwrightError(
            f"{run.name} scores {' and '.join(SCORED)}; dataset {material.description.name} is for "
            f"{material.description.task}"
        )
    with run.progress("evaluating", len(present) + 1) as task:
        systems = baselines(material)
        task.advance(1)
        for name, folder in present.items():
            systems.append(answers(name, folder, material))
            task.advance(1, model=name)
    best = task_tables.report(run, systems, material, config.compare_by)
    run.samples(f"Errors of {best.name}", task_tables.errors(best, material, config.shown_errors))
    write_json(run.output / "evaluation.json", to_json(systems, material))


def to_json(systems: list[Answers], material: Material) -> dict[str, object]:
    """Every answer of every system, beside what was expected."""
    column = SCORED[material.description.task]
    return {
        "dataset": material.description.name,
        "expected": [row[column] for row in material.test],
        "systems": {system.name: system.predicted for system in systems},
    }
