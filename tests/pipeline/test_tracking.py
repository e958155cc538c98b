"""Tracking to MLflow, into a local store."""

import contextlib
import importlib.util
from types import SimpleNamespace

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.launch import launch
from lmwright.pipeline.tracking import tracking_uri

from .conftest import RECIPE


@pytest.mark.slow  # MLflow migrates a fresh database for several seconds
def test_a_run_is_logged_with_its_parameters_metrics_and_report(recipe, tmp_path, monkeypatch):
    mlflow_tracking = pytest.importorskip("mlflow.tracking")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)  # artefacts of a database store go beside the process
    launch(recipe(), ["base.steps=4", "budget=30s"], track_to=uri)
    client = mlflow_tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["base.steps"] == "4"
    assert run.data.params["base.optimizer.beta"] == "0.9"
    assert run.data.metrics["documented_names"] == 3
    history = client.get_metric_history(run.info.run_id, "base/loss")
    assert [(m.step, m.value) for m in history] == [(i, 3.0 / i) for i in range(1, 5)]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "summary.json", "recipe.yaml", "lineage.json"} <= files


class Client:
    """What `track` asks of an MLflow client, kept in memory."""

    def __init__(self):
        self.experiments, self.params, self.metrics, self.tags = {}, {}, {}, {}
        self.artifacts, self.points, self.status = [], [], None

    def get_experiment_by_name(self, name):
        return self.experiments.get(name)

    def create_experiment(self, name):
        self.experiments[name] = SimpleNamespace(experiment_id="1")
        return "1"

    def create_run(self, experiment_id, run_name):
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment_id}-{run_name}"))

    def log_param(self, run_id, key, value):
        self.params[key] = value

    def log_metric(self, run_id, key, value):
        self.metrics[key] = value

    def set_tag(self, run_id, key, value):
        self.tags[key] = value

    def log_batch(self, run_id, metrics):
        self.points += metrics

    def log_artifact(self, run_id, path):
        self.artifacts.append(path.rpartition("/")[2])

    def set_terminated(self, run_id, status):
        self.status = status


@pytest.mark.parametrize(("how", "status"), [("", "FINISHED"), ("bug", "FAILED")])
def test_what_is_sent(recipe, monkeypatch, how, status):
    pytest.importorskip("mlflow.tracking")
    client = Client()
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda tracking_uri: client)
    failing = "  - {name: broken, step: fakesteps.fail}\n" * bool(how)
    path = recipe(RECIPE.replace("final:", failing + "final:"))
    with contextlib.suppress(LmwrightError):
        launch(path, ["base.steps=4", "budget=30s"], track_to="http://host")
    assert client.status == status
    assert client.params["base.steps"] == "4"
    assert client.params["base.optimizer.beta"] == "0.9"
    assert client.metrics["documented_names"] == 3
    assert client.tags["recipe"] == "tiny"
    losses = [(p.step, p.value) for p in client.points if p.key == "base/loss"]
    assert losses == [(i, 3.0 / i) for i in range(1, 5)]
    assert {"report.html", "summary.json", "recipe.yaml"} <= set(client.artifacts)
    assert ("lineage.json" in client.artifacts) == (not how)


def test_the_variable_names_the_store(monkeypatch):
    monkeypatch.setenv("LMWRIGHT_MLFLOW", "http://host:5000")
    assert tracking_uri("file:x") == "file:x"
    assert tracking_uri(None) == "http://host:5000"
    monkeypatch.delenv("LMWRIGHT_MLFLOW")
    assert tracking_uri(None) is None


def test_without_the_extra_it_is_named_before_step_1(recipe, runs, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else real(name, *a)
    )
    with pytest.raises(LmwrightError, match="needs the package mlflow") as caught:
        launch(recipe(), track_to="sqlite:///x.db")
    assert "lmwright[tracking]" in caught.value.hint
    assert not (runs / "tiny").exists()


def test_a_store_that_refuses_is_one_line(recipe, runs):
    pytest.importorskip("mlflow.tracking")
    with pytest.raises(LmwrightError, match="could not be tracked to nowhere"):
        launch(recipe(), track_to="nowhere://x")
    assert (runs / "tiny" / "model").exists()
