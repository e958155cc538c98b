"""Whole runs of tiny steps: kept, resumed, interrupted, failed, locked, told."""

import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

import lmwright
from lmwright.core.errors import CheckFailed, LmwrightError
from lmwright.pipeline.execution import StepCrashed
from lmwright.pipeline.launch import launch

from .conftest import HERE, RECIPE

FAILING = """\
steps:
  - {name: corpus, step: fakesteps.corpus}
  - {name: base, step: fakesteps.train}
  - {name: broken, step: fakesteps.fail}
"""


class Listener:
    """A display that keeps what is said."""

    def __init__(self):
        self.said = []

    def line(self, text, style=""):
        self.said.append(text)

    note = line

    def table(self, title, columns, rows):
        self.said.append(title)

    def task(self, description, total):
        from lmwright.pipeline.progress import Silent

        return Silent().task(description, total)

    @property
    def text(self):
        return "\n".join(self.said)


@pytest.fixture
def go():
    """A function that runs a recipe and gives its result and what was said."""

    def run(path, *overrides, **options):
        listener = Listener()
        return launch(path, list(overrides), display=listener, **options), listener.text

    return run


def expected_weights(steps, text="builtin " * 3, learning_rate=0.1):
    """The chain of hashes that `fakesteps.train` must come to, computed apart from it."""
    state = hashlib.sha256(text.encode()).hexdigest()
    for _ in range(steps):
        state = hashlib.sha256(f"{state} {learning_rate}".encode()).hexdigest()
    return state


def summary_of(runs, name="tiny"):
    return json.loads((runs / name / "summary.json").read_text())


def ran(text):
    """Names of the steps that a run did not skip."""
    lines = [line for line in text.splitlines() if line.startswith("[") and ": kept," not in line]
    return [line.split("] ")[1].split(":")[0] for line in lines]


def test_a_run_leaves_everything_that_later_work_relies_on(go, recipe, runs):
    result, text = go(recipe(), "budget=30s")
    folder = runs / "tiny"
    assert result.folder == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        *["environment.json", "lineage.json", "metrics.jsonl", "model"],
        *["recipe.yaml", "report.html", "steps", "summary.json"],
    ]
    assert (folder / "model" / "weights.txt").read_text() == expected_weights(3) + "!"
    summary = summary_of(runs)
    assert result.summary == summary
    assert summary["status"] == "done"
    assert summary["documented_names"] == 3
    assert summary["peak_rss_bytes"] > 1e6
    assert summary["processor_name"]
    steps = sum(summary[f"{s}_seconds"] for s in ("corpus", "base", "aligned", "evaluation"))
    assert summary["pipeline_seconds"] == pytest.approx(
        steps + summary["overhead_seconds"], abs=0.01
    )
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(m["phase"], m["step"]) for m in metrics] == [("base", 1), ("base", 2), ("base", 3)]
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["steps"][2]["origins"]["model"]["step"] == "base"
    assert not (folder / "steps" / "base" / "work").exists()
    for said in (
        "report.html",
        f"lmwright chat {folder}",
        f"lmwright serve {folder}",
        "What is a?",
    ):
        assert said in text
    assert text.count("  question:") == 3


def test_run_again_skips_every_step_and_touches_nothing(go, recipe, runs):
    go(recipe(), "budget=30s")
    before = {path: path.stat().st_mtime_ns for path in sorted(runs.rglob("*")) if path.is_file()}
    _, text = go(recipe(), "budget=30s")
    after = {path: path.stat().st_mtime_ns for path in sorted(runs.rglob("*")) if path.is_file()}
    assert ran(text) == []
    unchanged = {p for p in before if before[p] == after[p]}
    assert {p.name for p in set(after) - unchanged} <= {".lock"}


def test_a_changed_key_runs_only_what_depends_on_it(go, recipe):
    go(recipe())
    _, text = go(recipe(), "evaluation.limit=5")
    assert ran(text) == ["evaluation"]
    assert "config (limit)" in text
    _, text = go(recipe(), "evaluation.limit=5", "base.learning_rate=0.2")
    assert ran(text) == ["base", "aligned", "evaluation"]


def test_equal_output_keeps_what_comes_after(go, recipe):
    go(recipe())
    _, text = go(recipe(), "base.pause=0.001")  # another config, the same weights
    assert ran(text) == ["base"]


def test_the_budget_counts_only_for_steps_that_train_on_it(go, recipe):
    go(recipe(), "budget=30s")
    _, text = go(recipe(), "budget=40s")
    assert ran(text) == ["base", "aligned"]


def test_outside_content_counts(go, recipe, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("one")
    go(recipe(), f"corpus.path={file}")
    assert ran(go(recipe(), f"corpus.path={file}")[1]) == []
    file.touch()
    assert ran(go(recipe(), f"corpus.path={file}")[1]) == []
    file.write_text("two")
    assert ran(go(recipe(), f"corpus.path={file}")[1])[:2] == ["corpus", "base"]


def test_an_artefact_changed_by_hand_runs_what_depends_on_it(go, recipe, runs):
    go(recipe())
    (runs / "tiny" / "steps" / "base" / "output" / "weights.txt").write_text("mine")
    assert ran(go(recipe())[1]) == ["aligned", "evaluation"]


def test_a_damaged_record_runs_the_step_again(go, recipe, runs):
    go(recipe())
    (runs / "tiny" / "steps" / "base" / "step.json").write_text('{"torn')
    assert ran(go(recipe())[1]) == ["base"]


def test_lost_files_of_the_run_are_written_again(go, recipe, runs):
    go(recipe())
    shutil.rmtree(runs / "tiny" / "model")
    (runs / "tiny" / "report.html").unlink()
    go(recipe())
    assert (runs / "tiny" / "model" / "weights.txt").exists()
    assert (runs / "tiny" / "report.html").exists()


def test_steps_that_do_not_apply_are_said_first_and_not_run(go, recipe, runs):
    _, text = go(recipe(), "corpus.kinds=[text]")
    lines = text.splitlines()
    assert lines[1] == "not applicable: aligned (the corpus has no preferences)"
    assert lines[2].startswith("[1/3] corpus")
    assert not (runs / "tiny" / "steps" / "aligned").exists()
    evaluation = json.loads(
        (runs / "tiny" / "steps" / "evaluation" / "output" / "evaluation.json").read_text()
    )
    assert evaluation == {"base": True, "aligned": False}
    assert (
        "not applicable: the corpus has no preferences"
        in (runs / "tiny" / "report.html").read_text()
    )
    assert (runs / "tiny" / "model" / "weights.txt").read_text() == expected_weights(3)


def test_a_single_step_runs_on_folders(go, recipe, runs):
    go(recipe())
    result, _ = go("fakesteps.train", f"input.corpus={runs}/tiny/steps/corpus", "steps=5")
    assert (result.folder / "model" / "weights.txt").read_text() == expected_weights(5)
    _, text = go("fakesteps.train", f"input.corpus={runs}/tiny/steps/corpus", "steps=5")
    assert ran(text) == []


@pytest.mark.parametrize(
    ("how", "kind", "code", "what"),
    [
        ("input", LmwrightError, 2, "step broken: the file is empty"),
        ("check", CheckFailed, 1, "step broken: the weights did not change"),
        ("bug", StepCrashed, 1, "step broken failed with ValueError: what a"),
        ("disk", LmwrightError, 2, "the disk is full"),
        ("wrapped disk", LmwrightError, 2, "the disk is full"),
    ],
)
def test_a_failed_step_leaves_nothing_half_written_and_a_report(
    go, recipe, runs, how, kind, code, what
):
    path = recipe(FAILING, "failing")
    with pytest.raises(kind) as caught:
        go(path, f"broken.how={how}")
    assert caught.value.exit_code == code
    assert what in caught.value.what
    step = runs / "failing" / "steps" / "broken"
    assert not (step / "output").exists()
    assert not list(step.rglob("half.txt"))
    assert not (step / "step.json").exists()
    assert not (runs / "failing" / "model").exists()
    assert summary_of(runs, "failing")["status"] == "failed"
    assert "half" not in summary_of(runs, "failing")
    report = (runs / "failing" / "report.html").read_text()
    assert ">failed<" in report
    assert ("ValueError" in (step / "traceback.txt").read_text()) if how == "bug" else True
    assert not (runs / "failing" / "lineage.json").exists()


def test_a_full_disk_while_publishing_leaves_no_finished_step(go, recipe, runs, monkeypatch):
    real, full = os.fsync, [False]

    def fsync(descriptor):
        if full[0] and "base" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    full[0] = True
    with pytest.raises(LmwrightError, match="disk is full"):
        go(recipe())
    assert not (runs / "tiny" / "steps" / "base" / "step.json").exists()
    full[0] = False
    go(recipe())
    assert (runs / "tiny" / "steps" / "base" / "output" / "weights.txt").read_text() == (
        expected_weights(3)
    )


def test_interrupting_is_safe_and_says_how_to_go_on(recipe, runs):
    listener = Listener()
    path = recipe(FAILING, "failing")
    with pytest.raises(KeyboardInterrupt):
        launch(path, ["broken.how=interrupt"], name="mine", display=listener)
    assert listener.said[-1] == f"  lmwright run {path} broken.how=interrupt --run mine"
    assert summary_of(runs, "mine")["status"] == "interrupted"
    assert ">interrupted<" in (runs / "mine" / "report.html").read_text()


def wait_for(condition, seconds=30):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.01)


def steps_logged(runs):
    file = runs / "tiny" / "steps" / "base" / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_killed_at_random_moments_it_comes_to_the_same_weights(command, recipe, runs):
    chance = random.Random(0)
    arguments = ("run", recipe(), "base.steps=40", "base.pause=0.02", "budget=30s")
    decided = runs / "tiny" / "steps" / "base" / "work" / "decisions.json"
    decisions = set()
    for _ in range(3):
        before = steps_logged(runs)
        process = command(*arguments)
        more = before + chance.randint(1, 9)
        wait_for(lambda more=more: steps_logged(runs) >= more)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.wait()
        decisions.add(decided.read_text())
    process = command(*arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "goes on with the work of an attempt that stopped after" in out
    assert "resumed at step" in out
    output = runs / "tiny" / "steps" / "base" / "output" / "weights.txt"
    assert output.read_text() == expected_weights(40)
    metrics = (runs / "tiny" / "steps" / "base" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == list(range(1, 41))
    assert len(decisions) == 1  # the time was decided once, then replayed
    step = json.loads((runs / "tiny" / "steps" / "base" / "step.json").read_text())
    assert step["attempts"] == 4


def test_unfinished_work_that_no_longer_fits_is_dropped_and_that_is_said(command, recipe, runs, go):
    process = command("run", recipe(), "base.steps=1000", "base.pause=0.02")
    wait_for(lambda: steps_logged(runs) >= 3)
    process.kill()
    process.wait()
    _, text = go(recipe(), "base.steps=4")
    assert "unfinished work is dropped, since it no longer fits: config (pause, steps)" in text
    assert "resumed" not in text
    weights = runs / "tiny" / "steps" / "base" / "output" / "weights.txt"
    assert weights.read_text() == expected_weights(4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_run_with_130(command, recipe, runs, number):
    process = command("run", recipe(), "base.steps=1000", "base.pause=0.02")
    wait_for(lambda: steps_logged(runs) >= 3)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out.splitlines()[-1].startswith("  lmwright run ")
    assert summary_of(runs)["status"] == "interrupted"


def test_a_second_process_is_told_who_holds_the_run(command, recipe, runs):
    first = command("run", recipe(), "base.steps=1000", "base.pause=0.02")
    wait_for(lambda: steps_logged(runs) >= 1)
    second = command("run", recipe())
    _, err = second.communicate(timeout=30)
    assert second.returncode == 2
    assert f"is in use by process {first.pid} on " in err
    assert "base.steps=1000" in err
    first.kill()
    first.wait()
    third = command("run", recipe(), "base.steps=2")
    assert third.wait(timeout=30) == 0  # the kernel let go of a killed process's lock


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    from lmwright.pipeline.lock import locked

    with locked(tmp_path, "first"):
        worker = os.fork()
        if worker == 0:
            time.sleep(10)
            os._exit(0)

    def is_free():
        with open(tmp_path / ".lock") as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    try:
        wait_for(is_free, seconds=5)  # the child closes its copy as soon as it gets to run
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_editing_a_module_runs_only_the_steps_that_load_it(command, recipe, tmp_path, runs):
    room = tmp_path / "rooms" / "fakesteps"
    shutil.copytree(HERE / "fakesteps", room, ignore=shutil.ignore_patterns("__pycache__"))

    def again():
        process = command("run", recipe(RECIPE), rooms=room.parent)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return ran(out)

    assert again() == ["corpus", "base", "aligned", "evaluation"]
    (room / "evaluation.py").write_text((room / "evaluation.py").read_text() + "\n# edited\n")
    assert again() == ["evaluation"]
    (room / "arithmetic.py").write_text((room / "arithmetic.py").read_text() + "\n# edited\n")
    # Its steps run again; their output is the same, so the evaluation is kept.
    assert again() == ["corpus", "base", "aligned"]


def test_no_torch_is_loaded_when_everything_is_kept(recipe, go, runs):
    import subprocess
    import sys

    path = recipe()
    go(path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import lmwright\n"
        "lmwright.run(sys.argv[2], quiet=True)\n"
        "print([m for m in ('torch', 'numpy', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(HERE), path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_python_call_takes_nested_and_dotted_overrides(recipe, runs):
    result = lmwright.run(
        recipe(), run_name="called", quiet=True, base={"steps": 5}, **{"aligned.steps": 2}
    )
    assert result.folder == Path(runs) / "called"
    weights = result.folder / "steps" / "base" / "output" / "weights.txt"
    assert weights.read_text() == expected_weights(5)


def test_a_run_needs_a_name_that_can_name_a_folder(recipe):
    with pytest.raises(LmwrightError, match="cannot name a run"):
        launch(recipe(), name="../up")
