"""What `lmwright roadmap` prints, on a terminal and into a pipe."""

import io

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from lmwright.roadmap import commands, display
from lmwright.roadmap.topics import FinishedRun, load_road, read_road

ROAD = read_road(
    'stages: [{id: "1", title: First, topics: ['
    '{id: "1.1", title: sorting, works: sorts, recipe: sort},'
    '{id: "1.2", title: serving, works: serves, command: lmwright serve RUN},'
    '{id: "1.3", title: flying, works: flies, note: it hops, read: [core/files.py]}]}]'
)
RUNS = [FinishedRun(name="mine", recipe="sort")]


def printed(renderable, width=100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_plain_lines_are_for_machines():
    assert display.plain(ROAD, RUNS).splitlines()[:4] == [
        "1\tFirst",
        "1.1\tran here\tsorting\tlmwright run sort",
        "1.2\tready\tserving\tlmwright serve RUN",
        "1.3\tplanned\tflying",
    ]
    assert "3 topics: 1 planned, 1 ready, 1 ran here." in display.plain(ROAD, RUNS)


def test_the_table_shows_every_topic_with_state_and_command():
    lines = printed(display.tables(ROAD, RUNS)).splitlines()
    assert lines[0].strip() == "1  First"
    rows = [line.split() for line in lines[1:4]]
    assert rows[0] == ["1.1", "ran", "here", "sorting", "lmwright", "run", "sort"]
    assert rows[1] == ["1.2", "ready", "serving", "lmwright", "serve", "RUN"]
    assert rows[2] == ["1.3", "planned", "flying"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_whole_road_fits_any_width(width):
    lines = printed(display.tables(load_road(), []), width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith(tuple("12345B")) for line in lines) >= 50


def test_one_topic_tells_all_that_is_known():
    page = printed(display.topic_page(ROAD, ROAD.topic("1.3"), RUNS))
    for words in ("1.3  flying", "planned", "flies", "it hops", "lmwright/core/files.py"):
        assert words in page
    assert "ran as" not in page
    page = printed(display.topic_page(ROAD, ROAD.topic("1.1"), RUNS))
    assert "ran here" in page
    assert "mine" in page


def test_the_command_prints_plain_lines_into_a_pipe(tmp_path, monkeypatch):
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path))
    app = typer.Typer()
    commands.register(app)
    app.callback()(lambda: None)  # so that the one verb keeps its name

    result = CliRunner().invoke(app, ["roadmap"])

    assert result.exit_code == 0
    assert "4.6\tplanned\tRLHF" in result.output
    assert CliRunner().invoke(app, ["roadmap", "4.6"]).output.startswith("4.6  RLHF")
