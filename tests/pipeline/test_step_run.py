"""What a step sees: folders, decisions, metrics, notes, across attempts."""

import json

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.run import StepRun


def logged(run):
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()]


def test_output_is_fresh_and_work_survives(tmp_path):
    run = StepRun.standalone(tmp_path / "step", seconds=3.0)
    (run.output / "half").write_text("x")
    (run.work / "checkpoint").write_text("x")
    again = StepRun.standalone(tmp_path / "step")
    assert list(again.output.iterdir()) == []
    assert (again.work / "checkpoint").exists()
    assert run.seconds == 3.0


def test_decisions_are_replayed(tmp_path):
    first = StepRun.standalone(tmp_path)
    assert first.decide("size", lambda: (1, 2)) == [1, 2]
    again = StepRun.standalone(tmp_path)
    assert again.decide("size", lambda: pytest.fail("chosen twice")) == [1, 2]
    assert again.decide("other", lambda: None) is None
    assert again.decide("other", lambda: pytest.fail("chosen twice")) is None


def test_metrics_are_lines_and_what_is_not_finite_is_null(tmp_path):
    run = StepRun.standalone(tmp_path)
    run.log({"loss": 1.5, "stage": "warm-up"}, step=1)
    run.log({"loss": float("nan")}, step=2)
    first, second = logged(run)
    assert (first["step"], first["loss"], first["stage"]) == (1, 1.5, "warm-up")
    assert first["time"] > 1e9
    assert second["loss"] is None


def test_rewind_drops_what_the_checkpoint_never_saw(tmp_path):
    run = StepRun.standalone(tmp_path)
    for step in range(1, 6):
        run.log({"loss": 1.0}, step=step)
    again = StepRun.standalone(tmp_path)
    again.rewind(3)
    again.log({"loss": 2.0}, step=4)
    assert [line["step"] for line in logged(again)] == [1, 2, 3, 4]


def test_a_step_that_starts_over_does_not_log_twice(tmp_path):
    for _ in range(2):
        run = StepRun.standalone(tmp_path)
        for step in range(3):
            run.log({"loss": 1.0}, step=step)
            run.log({"validation_loss": 1.0}, step=step)
    assert [line["step"] for line in logged(run)] == [0, 0, 1, 1, 2, 2]


def test_a_torn_last_line_is_dropped(tmp_path):
    run = StepRun.standalone(tmp_path)
    run.log({"loss": 1.0}, step=1)
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 2, "lo')
    again = StepRun.standalone(tmp_path)
    again.rewind(1)
    again.log({"loss": 2.0}, step=2)
    assert [line["step"] for line in logged(again)] == [1, 2]


def test_notes_are_said_once_across_attempts(tmp_path):
    StepRun.standalone(tmp_path).note("no compiler")
    again = StepRun.standalone(tmp_path)
    again.note("no compiler")
    again.note("other")
    assert again.record.notes == ["no compiler", "other"]


def test_summary_refuses_what_is_no_number(tmp_path):
    run = StepRun.standalone(tmp_path)
    run.summarize(loss=1.0, parameters=4, name="x", missing=None)
    with pytest.raises(LmwrightError, match="accuracy is nan"):
        run.summarize(accuracy=float("nan"))


def test_tables_have_as_many_cells_as_columns(tmp_path):
    run = StepRun.standalone(tmp_path)
    run.table("t", ["a", "b"], [[1, tmp_path]])
    assert run.record.tables[0].rows == [[1, str(tmp_path)]]
    with pytest.raises(AssertionError):
        run.table("t", ["a", "b"], [[1]])
