"""The road equals the project's, points only at what exists, and never claims a state."""

import os
import re
from pathlib import Path

import pytest

import lmwright
from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.pipeline.catalog import room_commands
from lmwright.pipeline.recipe import recipe_names
from lmwright.roadmap.lab import all_labs
from lmwright.roadmap.states import topic_state
from lmwright.roadmap.topics import (
    FinishedRun,
    PartUsed,
    Topic,
    finished_runs,
    load_road,
    read_road,
)

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "src" / "lmwright" / "recipes"
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


def test_every_lab_stands_at_its_topics_and_every_topics_lab_exists():
    at = {lab: [] for topic in load_road().topics for lab in topic.labs}
    for topic in load_road().topics:
        for lab in topic.labs:
            at[lab].append(topic.id)
    assert at == {lab.id: sorted(lab.topics) for lab in all_labs().values()}


def test_a_proof_asks_for_what_the_recipe_measures():
    for topic in load_road().topics:
        if topic.proof is None:
            continue
        steps = set(re.findall(r"- name: (\w+)", (RECIPES / f"{topic.recipe}.yaml").read_text()))
        names = "|".join(steps | {"commonest_class"})
        measured = rf"(({names})_accuracy|bits_per_byte_({names}))"
        assert re.fullmatch(measured, topic.proof.metric)
        assert topic.proof.baseline is None or re.fullmatch(measured, topic.proof.baseline)
        page = (REPOSITORY / "docs" / topic.page).read_text()
        assert re.search(rf"(\[|, |\| | to ){topic.proof.at_least:.3f}", page), topic.id


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
        assert (topic_state(topic, []).word == "planned") == (topic.how is None)
        assert topic.how is None or topic.note is None


def test_states_are_derived_from_recipes_and_finished_runs():
    topic = Topic(id="3.7", title="pre-training", works="it trains", recipe="pretraining")
    mine = FinishedRun(name="mine", recipe="pretraining")
    assert topic_state(topic, []).word == "ready"
    assert topic_state(topic, [FinishedRun(name="mine", recipe="other")]).word == "ready"
    assert topic_state(topic, [mine]).word == "ran"
    planned = topic.model_copy(update={"recipe": None})
    assert topic_state(planned, [mine]).word == "planned"


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


def test_a_run_tells_which_parts_it_called(tmp_path):
    target = "lmwright.models.layers.attention:attend"
    (tmp_path / "mine").mkdir()
    summary = '{"recipe": "quickstart", "status": "done", "calls_attention": 40}'
    (tmp_path / "mine" / "summary.json").write_text(summary)
    part = {"name": "attention", "target": target, "sha256": "ab"}
    write_json(tmp_path / "mine" / "lineage.json", {"parts": [part, 3, {}]})

    assert finished_runs(tmp_path)[0].parts == (PartUsed(target, "ab", 40),)

    for torn in ('{"parts": [', "[]", '{"parts": {}}', "{}"):
        (tmp_path / "mine" / "lineage.json").write_text(torn)
        assert finished_runs(tmp_path)[0].parts == ()


def test_what_a_topic_needs_is_followed_to_the_end():
    road = load_road()
    assert road.all_needs("3.4") == ["1.1", "1.3", "2.1", "2.4", "3.1"]
    assert road.all_needs("1.1") == []
    assert [topic.id for topic in road.leads_to("2.4")] == ["2.5", "3.4"]


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
        (STAGE % '{id: "1.1", title: a, works: b, needs: ["7.7"]}', "needs 7.7, which is none"),
        (STAGE % '{id: "1.1", title: a, works: b, needs: ["1.1"]}', "need each other"),
        (
            STAGE % '{id: "1.1", title: a, works: b, needs: ["1.2"]},'
            '{id: "1.2", title: a, works: b, needs: ["1.1"]}',
            "need each other",
        ),
        (
            STAGE % '{id: "1.1", title: a, works: b, proof: {metric: m, better: higher,'
            " at_least: 1, dataset: d, seconds: 1}}",
            "no recipe",
        ),
    ],
)
def test_a_wrong_topics_file_is_refused_with_the_place(text, said):
    with pytest.raises(LmwrightError, match=re.escape(said)):
        read_road(text)


def test_an_unknown_topic_is_an_error_that_says_where_the_road_goes():
    with pytest.raises(LmwrightError, match=r"no topic 9\.9") as caught:
        load_road().topic("9.9")
    assert "1.1 to B.2" in str(caught.value)
