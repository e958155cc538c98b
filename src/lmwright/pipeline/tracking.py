"""Tracking a run to MLflow, where the extra `tracking` is installed and a URI is given."""

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.records import read_metrics
from lmwright.pipeline.report import RunStory

_BATCH = 1_000  # metrics in one request: the most that MLflow's log-batch takes
_PARAMETER_LENGTH = 500  # characters that every MLflow store accepts
_STATUS = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


def tracking_uri(given: str | None) -> str | None:
    """Where to track to: `given`, or the variable LMWRIGHT_MLFLOW, or None.

    Raises:
        LmwrightError: if tracking is wanted and the extra is not installed; said before step 1.
    """
    uri = given or os.environ.get("LMWRIGHT_MLFLOW") or None
    if uri is None:
        return None
    needed = ["mlflow"] + ["sqlalchemy"] * uri.startswith(("sqlite", "postgres", "mysql"))
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise LmwrightError(
                f"tracking to {uri} needs the package {package}, which is not installed",
                hint="pip install 'lmwright[tracking]'",
            )
    return uri


def track(story: RunStory, uri: str) -> str:
    """Log parameters, metrics, summary and report of a run.

    Args:
        story: the run.
        uri: MLflow's tracking URI, such as `sqlite:///mlflow.db` or `http://host:5000`.

    Returns:
        the id of the MLflow run; its experiment is called after the recipe.

    Raises:
        LmwrightError: if the server refuses or cannot be reached.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        return _log(MlflowClient(tracking_uri=uri), story)
    except MlflowException as error:
        first = str(error).splitlines()[0]
        raise LmwrightError(
            f"the run could not be tracked to {uri}: {first}",
            hint=f"the run itself is whole, in {story.folder}",
        ) from error


def _log(client: Any, story: RunStory) -> str:
    from mlflow.entities import Metric

    name = story.plan.recipe.name
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    run_id: str = client.create_run(experiment_id, run_name=story.name).info.run_id
    for key, value in _parameters(story):
        client.log_param(run_id, key, str(value)[:_PARAMETER_LENGTH])
    metrics = [Metric(*point) for point in _logged(story)]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    for key, value in story.summary.items():
        if _is_number(value):
            client.log_metric(run_id, key, value)
        else:
            client.set_tag(run_id, key, value)
    for file in ("report.html", "summary.json", "recipe.yaml", "lineage.json"):
        if (story.folder / file).exists():
            client.log_artifact(run_id, str(story.folder / file))
    client.set_terminated(run_id, status=_STATUS[story.summary["status"]])
    return run_id


def _parameters(story: RunStory) -> Iterator[tuple[str, object]]:
    if story.plan.recipe.budget is not None:
        yield "budget_seconds", story.plan.recipe.budget
    for planned in story.plan.steps:
        config = planned.step.config.model_dump(mode="json")
        yield from _flat(planned.step.name, config)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{key}", value)
        else:
            yield f"{prefix}.{key}", value


def _logged(story: RunStory) -> Sequence[tuple[str, float, int, int]]:
    """Logged numbers as MLflow wants them: name, value, Unix milliseconds, step."""
    points = []
    for planned in story.plan.steps:
        step = planned.step.name
        for line in read_metrics(Path(story.folder) / "steps" / step / "metrics.jsonl"):
            when = int(1000 * line["time"])
            points += [
                (f"{step}/{key}", float(value), when, int(line["step"]))
                for key, value in line.items()
                if key not in ("step", "time") and _is_number(value)
            ]
    return points


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
