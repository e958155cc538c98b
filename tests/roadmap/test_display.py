"""What `lmwright roadmap` prints, on a terminal and into a pipe."""

import io

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from lmwright.core.errors import LmwrightError
from lmwright.roadmap import commands, display, states
from lmwright.roadmap.record import Record, road_file
from lmwright.roadmap.states import LabState, standing
from lmwright.roadmap.topics import FinishedRun, load_road
from tests.roadmap.road import LABS, ROAD, SPEC, chain, check, trial, twist

RUNS = [FinishedRun(name="mine", recipe="sort", summary={"f1": 0.9, "f1_chance": 0.2})]
STEPS = [check("alpha", "a"), twist("alpha", "a"), trial("alpha", "a"), ("start", {"lab": "beta"})]


@pytest.fixture(autouse=True)
def unchanged_specifications(monkeypatch):
    monkeypatch.setattr("lmwright.roadmap.lab.Lab.digest", lambda self: SPEC)


@pytest.fixture
def here():
    return standing(ROAD, LABS, chain(STEPS), RUNS)


def printed(renderable, width=100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_plain_lines_are_for_machines(here):
    assert display.plain(here).splitlines()[:4] == [
        "1\tFirst",
        "1.1\tmet\tsorting\tlmwright run sort\talpha:built,beta:started",
        "1.2\tready\tserving\tlmwright serve RUN\tgamma:none",
        "1.3\tplanned\tflying",
    ]
    assert "3 topics: 1 planned, 1 ready, 1 met. 3 labs: 1 built, 1 started." in display.plain(here)
    said = "Under way: beta. Write it, and have it checked: `lmwright lab check beta`"
    assert display.plain(here).endswith(said)


def test_whoever_has_not_begun_is_told_where_to(here):
    begin = display.plain(standing(ROAD, LABS, [], []))
    assert "Start with `lmwright run quickstart`" in begin
    assert "Next: alpha, the part alpha (10 minutes). Begin: `lmwright lab start alpha`" in begin
    assert "Start with" not in display.plain(here)


def test_the_table_shows_every_topic_with_state_labs_and_command(here):
    lines = printed(display.tables(here)).splitlines()
    assert lines[0].strip() == "1  First"
    assert lines[1].split() == ["1.1", "met", "sorting", "lmwright", "run", "sort"]
    assert lines[2].split() == ["●", "alpha", "◔", "beta"]
    assert lines[3].split() == ["1.2", "ready", "serving", "lmwright", "serve", "RUN"]
    assert lines[4].split() == ["○", "gamma"]
    assert lines[5].split() == ["1.3", "planned", "flying"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_whole_road_fits_any_width(width):
    here = standing(load_road(), LABS, [], [])
    lines = printed(display.tables(here), width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith(tuple("12345B")) for line in lines) >= 50


def test_one_topic_tells_all_that_is_known(here):
    page = printed(display.topic_page(here, ROAD.topic("1.3")))
    for words in ("1.3  flying", "planned", "flies", "it `hops`", "lmwright/core/files.py"):
        assert words in page
    assert "1.2 serving" in page, "what it needs"
    assert "ran as" not in page

    page = printed(display.topic_page(here, ROAD.topic("1.1")))
    for words in ("met", "mine; best f1 0.9", "`f1` is at least 0.8 on toys", "than `f1_chance`"):
        assert words in page
    assert "● alpha" in page
    assert "20 min" in page
    assert "1.2 serving" in page, "what comes next"


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        ({}, "lmwright lab start alpha"),
        ({"word": "started"}, "lmwright lab check alpha"),
        ({"word": "checked"}, "lmwright lab twist alpha"),
        ({"word": "checked", "twist": True}, "lmwright lab test alpha"),
        ({"word": "checked", "twist": True, "tests": True}, "lmwright lab check alpha"),
        ({"word": "built"}, "lmwright run quickstart --use mine.alpha"),
        ({"word": "built", "used": ("mine",)}, "lmwright lab diff alpha"),
        ({"word": "built", "older": True}, "lmwright lab check alpha"),
    ],
)
def test_what_is_left_to_do_is_a_command(facts, command):
    assert display.to_do(LabState("alpha", **facts))[1] == command


def test_a_lab_is_told_with_all_that_qualifies_it():
    assert display.told(LabState("alpha")) == "not begun"
    found = LabState("alpha", word="built", solution_seen=True, used=("a", "b"), older=True)
    assert display.told(found) == "built (solution seen), used by a, b, older version"


# ---------------------------------------------------------------- the command


@pytest.fixture
def roadmap(tmp_path, monkeypatch):
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path / "runs"))
    app = typer.Typer()
    app.command("roadmap")(commands.roadmap)
    app.callback()(lambda: None)  # so that the one verb keeps its name

    def run(*words):
        found = CliRunner().invoke(app, ["roadmap", *map(str, words)])
        if isinstance(found.exception, LmwrightError):
            raise found.exception
        assert found.exit_code == 0, found.output
        return found

    return run


def test_the_command_prints_plain_lines_into_a_pipe(roadmap):
    assert "4.6\tplanned\tRLHF" in roadmap().stdout
    assert roadmap("4.6").stdout.startswith("4.6  RLHF")
    with pytest.raises(LmwrightError, match=r"no topic 9\.9"):
        roadmap("9.9")


def test_what_is_wrong_with_the_record_goes_to_the_other_stream(roadmap):
    Record.open().append("start", lab="attention")
    road_file().write_bytes(road_file().read_bytes() + b'{"torn')
    found = roadmap()
    assert "line 2: torn" in found.stderr
    assert "torn" not in found.stdout


def test_a_record_goes_from_one_machine_to_another(roadmap, tmp_path, monkeypatch):
    Record.open().append("start", lab="attention")
    assert "1 event" in roadmap("export", tmp_path / "road.jsonl").output
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "other"))
    assert states.here().states["attention"].word == "none"

    assert "1 new" in roadmap("import", tmp_path / "road.jsonl").output

    assert states.here().states["attention"].word == "started"
    assert "0 new" in roadmap("import", tmp_path / "road.jsonl").output


@pytest.mark.parametrize("words", [("export",), ("import",), ("4.6", "file.jsonl")])
def test_words_that_make_no_sense_are_refused(roadmap, words):
    with pytest.raises(LmwrightError, match=r"file|topic"):
        roadmap(*words)
