"""The road equals the project's, points only at what exists, and never claims a state."""

import os
import re
from pathlib import Path

import pytest

import lmwright
from lmwright.core.errors import LmwrightError
from lmwright.pipeline.catalog import room_commands
from lmwright.pipeline.recipe import recipe_names
from lmwright.roadmap.topics import (
    FinishedRun,
    Topic,
    finished_runs,
    load_road,
    read_road,
    state,
)

REPOSITORY = Path(__file__).resolve().parents[2]
ROADMAP = REPOSITORY.parent / "shared" / "ROADMAP.md"
ROW = re.compile(r"\| (\S+) \| (.+?) \| (.*?) ?\|")


def test_ids_titles_and_order_are_those_of_the_roadmap():
    if not ROADMAP.exists():
        assert os.environ.get("CI") != "true", f"{ROADMAP} is missing"
        pytest.skip("the project's ROADMAP.md is not beside this checkout")
    rows = [
        match.groups() for match in map(ROW.fullmatch, ROADMAP.read_text().splitlines()) if match
    ]
    expected = [
        (id.strip("*"), title.strip("*")) for id, title, _ in rows if id not in ("id", "---")
    ]
    assert len(expected) == 50

    road = load_road()

    entries = [[(s.id, s.title), *((t.id, t.title) for t in s.topics)] for s in road.stages]
    assert [entry for stage in entries for entry in stage] == expected


@pytest.mark.parametrize("topic", load_road().topics, ids=lambda topic: topic.id)
def test_a_topic_points_only_at_what_exists(topic):
    package = REPOSITORY / "src" / "lmwright"
    assert [path for path in topic.read if not (package / path).exists()] == []
    assert topic.page is None or (REPOSITORY / "docs" / topic.page).is_file()
    assert topic.recipe is None or topic.recipe in recipe_names()
    assert topic.command is None or topic.command.split()[1] in verbs()


def verbs() -> set[str]:
    """Names of the command line's verbs."""
    import typer

    app = typer.Typer()
    for module in room_commands():
        if hasattr(module, "register"):
            module.register(app)
    return {command.name for command in app.registered_commands if command.name}


def test_a_planned_topic_says_so_and_a_ready_one_needs_no_excuse():
    for topic in load_road().topics:
        assert (state(topic, []) == "planned") == (topic.how is None)
        assert topic.how is None or topic.note is None


def test_states_are_derived_from_recipes_and_finished_runs():
    topic = Topic(id="3.7", title="pre-training", works="it trains", recipe="pretraining")
    assert state(topic, []) == "ready"
    assert state(topic, [FinishedRun(name="mine", recipe="other")]) == "ready"
    assert state(topic, [FinishedRun(name="mine", recipe="pretraining")]) == "ran here"
    planned = topic.model_copy(update={"recipe": None})
    assert state(planned, [FinishedRun(name="mine", recipe="pretraining")]) == "planned"


def test_only_runs_that_finished_count(tmp_path, monkeypatch):
    summaries = {
        "done": '{"recipe": "quickstart", "status": "done"}',
        "stopped": '{"recipe": "quickstart", "status": "interrupted"}',
        "torn": '{"recipe": "quick',
        "foreign": '["done"]',
    }
    for folder, text in summaries.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "summary.json").write_text(text)
    (tmp_path / "underway").mkdir()
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path))

    assert finished_runs() == [FinishedRun(name="done", recipe="quickstart")]


def test_a_real_run_counts_once_it_has_ended_well(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("One thing.\n\nAnother thing.\n" * 40)
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)

    lmwright.run("corpora.build", run_name="mine", quiet=True, path="notes.txt")

    assert finished_runs() == [FinishedRun(name="mine", recipe="corpora.build")]


def test_no_runs_folder_means_no_runs(tmp_path):
    assert finished_runs(tmp_path / "runs") == []


STAGE = 'stages: [{id: "1", title: a, topics: [%s]}]'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: [", "not YAML"),
        (STAGE % '{id: "1.2", title: a, works: b}', "1.2 stands where 1.1 should"),
        (STAGE % '{id: "1.1", title: a, works: b, state: ready}', "state"),
        (STAGE % '{id: "1.1", title: a, works: b, recipe: c, command: lmwright d}', "give one"),
        (STAGE % '{id: "1.1", title: a, works: b, command: rm}', "start with `lmwright`"),
        (STAGE % '{id: "1.1", title: a}', "works"),
    ],
)
def test_a_wrong_topics_file_is_refused_with_the_place(text, said):
    with pytest.raises(LmwrightError, match=re.escape(said)):
        read_road(text)


def test_an_unknown_topic_is_an_error_that_says_where_the_road_goes():
    with pytest.raises(LmwrightError, match=r"no topic 9\.9") as caught:
        load_road().topic("9.9")
    assert "1.1 to B.2" in str(caught.value)
