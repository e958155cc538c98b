from pathlib import Path

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.models import hub
from lmwright.models.locate import find_model


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMWRIGHT_RUNS", raising=False)
    return tmp_path / "runs"


def make_run(folder: Path, *, finished: bool = True) -> None:
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").touch()
    if finished:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").touch()


def test_names_and_folders_of_runs_and_models_are_found(runs):
    make_run(runs / "quickstart")
    for name in ("quickstart", "runs/quickstart", "runs/quickstart/model", "quickstart/model"):
        assert find_model(name).resolve() == runs.resolve() / "quickstart" / "model"


def test_runs_may_be_kept_elsewhere(runs, tmp_path, monkeypatch):
    make_run(tmp_path / "elsewhere" / "mine")
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path / "elsewhere"))
    assert find_model("mine") == tmp_path / "elsewhere" / "mine" / "model"


def test_an_unknown_name_lists_the_nearest_runs(runs):
    make_run(runs / "quickstart")
    make_run(runs / "tiny")
    for name in ("quikstart", "runs/quikstart"):
        with pytest.raises(LmwrightError, match=name) as error:
            find_model(name)
        assert "nearest runs in runs: quickstart" in str(error.value)
    with pytest.raises(LmwrightError) as error:
        find_model("zzz")
    assert "runs in runs: quickstart, tiny" in str(error.value)


def test_without_any_run_the_error_says_how_to_make_one(runs):
    with pytest.raises(LmwrightError, match="zzz") as error:
        find_model("zzz")
    assert "lmwright run quickstart" in str(error.value)


def test_an_unfinished_run_says_so(runs):
    make_run(runs / "half", finished=False)
    with pytest.raises(LmwrightError, match="no finished model yet"):
        find_model("half")


def test_a_folder_that_holds_no_model_is_not_asked_of_the_hub(runs):
    (runs.parent / "owner" / "name").mkdir(parents=True)
    with pytest.raises(LmwrightError, match="neither a model folder nor a run"):
        find_model("owner/name")


def test_an_owner_and_a_name_are_looked_for_on_the_hub(runs, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "locate", lambda name, **_: tmp_path / name)
    assert find_model("owner/name") == tmp_path / "owner" / "name"


def test_a_file_must_become_a_folder_first(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(LmwrightError, match=r"is a file.*\n.*lmwright convert .*model.gguf FOLDER"):
        find_model(str(tmp_path / "model.gguf"))


def test_a_run_of_task_models_tells_where_they_are(runs):
    make_run(runs / "sentiment", finished=False)
    (runs / "sentiment" / "summary.json").touch()
    with pytest.raises(LmwrightError, match="made no language model") as error:
        find_model("sentiment")
    assert "runs/sentiment/steps/NAME/output" in str(error.value)
