"""The dataset step: published sets, and the user's own rows in the same columns."""

import json

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.corpora.build import source_of
from lmwright.corpora.commands import BuildConfig, DatasetConfig
from lmwright.corpora.datasets import Description, build, read_rows, reads
from lmwright.pipeline.run import StepRun


def built(folder, **keys):
    step = StepRun.standalone(folder)
    build(DatasetConfig(**keys), step)
    return step


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


TEXTS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(40)]
ANSWER = {"text": ["blue"], "answer_start": [6]}
OWN = {
    "classification": [*TEXTS],
    "tagging": [{"tokens": ["a", str(i)], "tags": ["O", "B-N"]} for i in range(20)],
    "translation": [{"source": f"eins {i}", "target": f"one {i}"} for i in range(20)],
    "summarization": [{"dialogue": f"hello {i}", "summary": "hi"} for i in range(20)],
    "question_answering": [
        {"context": f"it is blue {i}", "question": "which?", "answers": ANSWER} for i in range(20)
    ],
    "regression": [{"text": f"t {i}", "label": i / 7} for i in range(1, 20)],
    "language_modeling": [{"text": f"t {i}"} for i in range(20)],
}


def turns(*contents):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


@pytest.mark.parametrize("task", OWN)
def test_own_rows_are_known_by_their_columns(tmp_path, task):
    step = built(tmp_path / "step", path=jsonl(tmp_path / "mine.jsonl", OWN[task]))
    description = Description.read(step.output)
    assert description.task == task
    assert set(description.rows) == {"train", "validation", "test"}
    parts = [read_rows(step.output, split) for split in description.rows]
    key = next(iter(OWN[task][0]))
    assert sorted(str(row[key]) for part in parts for row in part) == sorted(
        str(row[key]) for row in OWN[task]
    )


def test_labels_are_names_in_a_fixed_order(tmp_path):
    rows = [{"text": f"t {i}", "label": i % 12} for i in range(40)]
    step = built(tmp_path / "step", path=jsonl(tmp_path / "n.jsonl", rows))
    assert Description.read(step.output).labels == tuple(str(i) for i in range(12))
    step = built(tmp_path / "tags", path=jsonl(tmp_path / "t.jsonl", OWN["tagging"]))
    assert Description.read(step.output).labels == ("O", "B-N")


def test_csv_with_two_sentences_is_a_task_of_pairs(tmp_path):
    file = tmp_path / "pairs.csv"
    lines = [f'"one, {i}","two {i}",{"yes" if i % 3 else "no"}' for i in range(30)]
    file.write_text("sentence1,sentence2,label\n" + "\n".join(lines))
    description = Description.read(built(tmp_path / "step", path=str(file)).output)
    assert description.pairs
    assert description.labels == ("no", "yes")


def test_files_named_as_splits_are_those_splits(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, part in (("train", TEXTS[:30]), ("dev", TEXTS[30:35]), ("test", TEXTS[35:])):
        jsonl(folder / f"{name}.jsonl", part)
    step = built(tmp_path / "step", path=str(folder))
    assert read_rows(step.output, "validation") == TEXTS[30:35]
    assert Description.read(step.output).rows == {"train": 30, "validation": 5, "test": 5}
    (folder / "test.jsonl").rename(folder / "other.jsonl")
    with pytest.raises(LmwrightError, match="not named train, validation or test"):
        built(tmp_path / "mixed", path=str(folder))
    (folder / "other.jsonl").unlink()
    with pytest.raises(LmwrightError, match="no file for test"):
        built(tmp_path / "few", path=str(folder))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"words": "x"}, "one of these sets is needed"),
        ({"text": "x", "label": None}, "needs text"),
        ({"text": 3, "label": "a"}, "no text in text"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "1 tokens and 2 tags"),
        ({"tokens": [""], "tags": ["O"]}, "no text, or empty"),
        ({"source": "x", "target": None}, "no text in target"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot'"),
        ({"messages": turns("hello")}, "nothing to learn from"),
        (
            {"context": "c", "question": "q", "answers": {"text": ["d"], "answer_start": [0]}},
            "not at character 0",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, said):
    with pytest.raises(LmwrightError, match=said) as error:
        built(tmp_path / "step", path=jsonl(tmp_path / "bad.jsonl", [row]))
    assert "line 1" in str(error.value)


def test_too_few_rows_are_an_error(tmp_path):
    with pytest.raises(LmwrightError, match="too few"):
        built(tmp_path / "step", path=jsonl(tmp_path / "two.jsonl", TEXTS[:2]))


def test_missing_files_stop_the_step_and_not_the_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    assert [file.name for file in reads(DatasetConfig(source="cola"))] == ["cola.py"]
    with pytest.raises(LmwrightError, match="dataset cola lacks"):
        built(tmp_path / "step", source="cola")
    with pytest.raises(LmwrightError, match="there is no dataset"):
        reads(DatasetConfig(source="colla"))


def test_a_published_set_is_limited_the_same_way_every_time(real_data, tmp_path):
    steps = [built(tmp_path / str(i), source="sst2", limit=50, seed=i // 2) for i in range(3)]
    first, again, other = (read_rows(step.output, "train") for step in steps)
    assert len(first) == 50
    assert first == again != other
    description = Description.read(steps[0].output)
    assert description.labels == ("negative", "positive")
    assert description.licence == "research"
    assert description.rows == {"train": 50, "validation": 50, "test": 50}


def test_the_step_reads_the_data_and_the_module_that_knows_it(real_data):
    files = reads(DatasetConfig(source="conll2003"))
    assert [file.name for file in files] == [
        "conll2003.py",
        "eng.train",
        "eng.testa",
        "eng.testb",
    ]
    assert all(file.is_file() for file in files)


def test_a_chat_gives_a_pair_for_each_answer(tmp_path):
    system = {"role": "system", "content": "be kind"}
    chats = [{"messages": [system, *turns(f"q{i}", "a", "and b?", f"b{i}")]} for i in range(30)]
    step = built(tmp_path / "step", path=jsonl(tmp_path / "chats.jsonl", chats))
    description = Description.read(step.output)
    assert description.task == "dialogue"
    assert description.columns == ("source", "target")
    assert sum(description.rows.values()) == 60
    for split in description.rows:
        rows = read_rows(step.output, split)
        # Both pairs of a chat lie on one side.
        for first, second in zip(rows[::2], rows[1::2], strict=True):
            number = first["source"].removeprefix("be kind\nq")
            assert first["target"] == "a"
            assert second["source"] == f"be kind\nq{number}\na\nand b?"
            assert second["target"] == f"b{number}"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q {}", "completion": "a"},
        {"instruction": "q {}", "output": "a"},
        {"question": "q {}", "answer": "a"},
        {"conversations": [{"from": "human", "value": "q {}"}, {"from": "gpt", "value": "a"}]},
        {"messages": [{"role": "user", "content": "q {}"}], "answer": "a"},
        {"messages": [*turns("q {}", "a"), {"role": "user", "content": "thanks"}]},
    ],
)
def test_chats_come_in_every_form_that_a_corpus_has(tmp_path, row):
    text = json.dumps(row)
    rows = [json.loads(text.replace("{}", str(i))) for i in range(20)]
    step = built(tmp_path / "step", path=jsonl(tmp_path / "chats.jsonl", rows))
    found = [r for split in ("train", "validation", "test") for r in read_rows(step.output, split)]
    assert sorted(r["source"] for r in found) == sorted(f"q {i}" for i in range(20))
    assert {r["target"] for r in found} == {"a"}


def test_pairs_are_a_conversation_where_that_is_said(tmp_path):
    file = jsonl(tmp_path / "pairs.jsonl", OWN["translation"])
    step = built(tmp_path / "step", path=file, task="dialogue")
    assert Description.read(step.output).task == "dialogue"


def test_questions_are_asked_about_the_best_known_names(tmp_path, monkeypatch):
    monkeypatch.delenv("LMWRIGHT_DATA", raising=False)  # no file is needed
    few, more = (
        built(tmp_path / str(count), source="python_questions", names=count) for count in (20, 30)
    )
    rows = {split: read_rows(few.output, split) for split in ("train", "validation", "test")}
    assert len({row["name"] for row in rows["train"]}) == len(rows["test"]) == 20
    assert len(rows["train"]) > 700
    # What is asked about a name does not hang on how many others there are.
    assert read_rows(more.output, "train")[: len(rows["train"])] == rows["train"]
    asked = {split: {row["source"] for row in part} for split, part in rows.items()}
    assert not asked["train"] & (asked["validation"] | asked["test"])
    for row in rows["train"] + rows["test"]:
        assert row["name"] in row["source"].rpartition("\n")[2]
    answers = {row["name"]: row["target"] for row in rows["train"]}
    assert all(answers[row["name"]] == row["target"] for row in rows["test"])


def test_only_a_set_about_names_can_be_limited_to_some(tmp_path, real_data):
    with pytest.raises(LmwrightError, match="about no names"):
        built(tmp_path / "step", source="sst2", names=10)


def test_the_code_that_makes_the_questions_is_read():
    names = {file.name for file in reads(DatasetConfig(source="python_questions"))}
    assert {"python_questions.py", "wordings.py", "python_names.py", "dialogues.py"} <= names


def test_a_set_without_files_is_no_corpus():
    with pytest.raises(LmwrightError, match="no files to read text from"):
        source_of(BuildConfig(path="catalog:python_questions"))
