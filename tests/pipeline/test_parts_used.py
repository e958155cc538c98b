"""Runs with a reader's own part: what runs again, what is counted, what fails and what is told."""

import json

import pytest

TARGET = "lmwright.engine.stopping:find_stop"
MINE = f"""\
from mine.helpers import offset

REPLACES = "{TARGET}"


def find_stop(text, stops):
    return offset + len(text)
"""
ROOM = {
    "__init__.py": "",
    "commands.py": """
from lmwright.core.config import Config
from lmwright.pipeline.step import StepType


class CallConfig(Config):
    times: int = 3


STEPS = (
    StepType(name="partroom.call", config=CallConfig, function="partroom.calling:call", output="a"),
    StepType(name="partroom.other", config=CallConfig, function="partroom.other:other", output="b"),
)
""",
    "calling.py": """
import time
from lmwright.engine.stopping import find_stop


def call(config, run):
    done = run.work / "done"
    (run.output / "start").write_text("")
    for _ in range(config.times):
        (run.output / "text").write_text(str(find_stop("text", ["x"])))
    if config.times == 5 and not done.exists():
        done.write_text("")
        raise KeyboardInterrupt
""",
    "other.py": """
def other(config, run):
    (run.output / "text").write_text("other")
""",
}
RECIPE = """\
steps:
  - {name: first, step: partroom.call}
  - {name: second, step: partroom.call, times: 2}
  - {name: other, step: partroom.other}
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A working folder with a room whose steps call the part, a recipe, and `mine/`."""
    for name, text in ROOM.items():
        file = tmp_path / "rooms" / "partroom" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stop.py").write_text(MINE)
    (tmp_path / "mine" / "helpers.py").write_text("offset = 1000\n")
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def go(room, command):
    """A function that runs the recipe and gives exit code and all that was said."""

    def run(*words, use="mine.stop"):
        parts = ["--use", use, "--unchecked"] if use else []
        process = command("run", "recipe.yaml", *words, *parts, rooms=room / "rooms")
        out, error = process.communicate(timeout=60)
        return process.returncode, out + error

    return run


def read(runs, name):
    return json.loads((runs / "recipe" / name).read_text())


def test_only_steps_that_can_call_the_part_run_again_and_the_calls_are_kept(go, room, runs):
    code, said = go(use=None)
    assert code == 0, said
    code, said = go()
    assert code == 0, said
    assert said.count("part (stop: mine/stop.py)") == 2
    assert "other: kept" in said
    assert "your stop: mine/stop.py, unchecked" in said
    assert (runs / "recipe/steps/first/output/text").read_text() == "1004"
    assert read(runs, "steps/first/step.json")["calls"] == {"stop": 3}
    assert read(runs, "steps/other/step.json")["part"] == {}
    summary = read(runs, "summary.json")
    assert summary["calls_stop"] == 5
    assert summary["unchecked_parts"] == "stop"
    (part,) = read(runs, "lineage.json")["parts"]
    assert (part["target"], part["file"], part["calls"]) == (TARGET, "mine/stop.py", 5)
    assert "--use mine.stop --unchecked" in read(runs, "environment.json")["command"]
    assert "unchecked" in read(runs, "environment.json")["parts"]["stop"]
    report = (runs / "recipe" / "report.html").read_text()
    assert "Parts of your own" in report
    assert part["sha256"][:16] in report

    # Kept steps' calls count; a changed helper of the reader's counts as a change of the part.
    code, said = go()
    assert (code, said.count(": kept, ")) == (0, 3), said
    assert read(runs, "summary.json")["calls_stop"] == 5
    (room / "mine" / "helpers.py").write_text("offset = 2000\n")
    code, said = go()
    assert (code, said.count(": kept, ")) == (0, 1), said
    assert (runs / "recipe/steps/first/output/text").read_text() == "2004"
    code, said = go(use=None)
    assert said.count("part (stop: mine/stop.py)") == 2
    assert "calls_stop" not in read(runs, "summary.json")
    assert "Parts of your own" not in (runs / "recipe" / "report.html").read_text()


def test_calls_of_an_interrupted_attempt_count(go, runs):
    code, said = go("first.times=5")
    assert code == 130, said
    assert "lmwright run recipe.yaml first.times=5 --use mine.stop --unchecked" in said
    code, said = go("first.times=5")
    assert code == 0, said
    assert read(runs, "steps/first/step.json")["calls"] == {"stop": 10}


def test_a_run_that_never_called_a_named_part_fails(go, runs):
    code, said = go("first.times=0", "second.times=0")
    assert code == 1, said
    assert "error: mine/stop.py was not called once in this run" in said
    assert read(runs, "summary.json")["status"] == "failed"
    code, said = go("first.times=0")
    assert code == 0, said
    assert read(runs, "summary.json")["calls_stop"] == 2


def test_a_part_that_no_step_can_call_is_refused_before_the_run(go, room, runs):
    (room / "mine" / "rouge.py").write_text(
        'REPLACES = "lmwright.metrics.summaries:rouge"\n\n\ndef rouge(): ...\n'
    )
    code, said = go(use="mine.rouge")
    assert code == 1
    assert (
        "mine/rouge.py would not be called: no step of this recipe loads lmwright.metrics" in said
    )
    assert not (runs / "recipe").exists()


def test_parts_of_a_folder_that_nobody_needs_are_only_noted(go, room, runs):
    (room / "mine" / "pace.py").write_text(
        'REPLACES = "lmwright.engine.pace:Pace"\n\n\nclass Pace:\n    pass\n'
    )
    code, said = go(use="mine")
    assert code == 0, said
    assert "not used by this recipe: pace" in said
    assert read(runs, "summary.json")["unused_parts"] == "pace"
    (room / "mine" / "stop.py").unlink()
    code, said = go("--run", "none", use="mine")
    assert code == 1
    assert "mine/pace.py was not called once in this run" in said


def test_an_exception_in_the_readers_code_names_their_file_and_line(go, room):
    (room / "mine" / "stop.py").write_text(MINE.replace("offset +", "offset[0] +"))
    code, said = go()
    assert code == 1
    assert "error: step first: mine/stop.py, line 7: TypeError: 'int' object is not" in said
    assert "lmwright lab check stop" in said
    assert "this looks like a bug" not in said


def test_a_dry_run_says_what_would_run_again(go, runs):
    go(use=None)
    code, said = go("--dry-run")
    assert code == 0
    assert [line.split()[-1] == "kept" for line in said.splitlines() if "partroom." in line] == [
        False,
        False,
        True,
    ], said
