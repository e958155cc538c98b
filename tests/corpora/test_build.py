"""The corpus step: what it writes, how it splits, and that nothing held out is trained on."""

import json
import random
import zipfile
from collections import Counter
from itertools import combinations

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.corpora.build import kinds, reads
from lmwright.corpora.commands import STEPS, BuildConfig
from lmwright.corpora.made_up import HELD_OUT_KINDS, MadeUpNames
from lmwright.corpora.python_names import documented_names
from lmwright.corpora.question_chats import UNKNOWN
from lmwright.corpora.splits import content_hash
from lmwright.corpora.wordings import FORMS
from tests.corpora.conftest import rows

SMALL = {
    "names": 150,
    "chats": 3000,
    "text_characters": 400_000,
    "preference_pairs": 300,
    "validation_questions": 60,
    "made_up_test_questions": 80,
}


@pytest.fixture(scope="module")
def python_docs(tmp_path_factory):
    from lmwright.corpora.build import build
    from lmwright.pipeline.run import StepRun

    step = StepRun.standalone(tmp_path_factory.mktemp("python_docs"))
    build(BuildConfig(**SMALL), step)
    return step


def texts_of(messages):
    return tuple(message["content"] for message in messages)


def test_the_folder_holds_all_kinds_and_says_so(python_docs):
    corpus = json.loads((python_docs.output / "corpus.json").read_text())
    assert set(corpus["kinds"]) == {"text", "chats", "preferences", "questions"}
    assert set(corpus["kinds"]) == kinds(BuildConfig(**SMALL))
    assert corpus["documented_names"] == SMALL["names"]
    for kind in ("text", "chats", "preferences"):
        for part in ("train", "validation"):
            assert (
                corpus["counts"][kind][part] == len(rows(python_docs, f"{kind}/{part}.jsonl")) > 0
            )
    for part, count in corpus["counts"]["questions"].items():
        assert count == len(rows(python_docs, f"questions/{part}.jsonl"))
    assert python_docs.record.summary["documented_names"] == SMALL["names"]
    assert python_docs.record.tables


def test_building_again_gives_the_same_bytes(python_docs, corpus_of):
    again = corpus_of(**SMALL)
    for file in sorted(p for p in python_docs.output.rglob("*") if p.is_file()):
        assert (
            again.output / file.relative_to(python_docs.output)
        ).read_bytes() == file.read_bytes()


def test_another_seed_gives_other_chats_and_the_same_text(python_docs, corpus_of):
    other = corpus_of(**SMALL, seed=1)
    assert rows(other, "text/train.jsonl") == rows(python_docs, "text/train.jsonl")
    assert rows(other, "chats/train.jsonl") != rows(python_docs, "chats/train.jsonl")


def test_text_parts_share_no_document(python_docs):
    train = {row["text"] for row in rows(python_docs, "text/train.jsonl")}
    validation = {row["text"] for row in rows(python_docs, "text/validation.jsonl")}
    assert not train & validation
    sources = [row["source"] for row in rows(python_docs, "text/train.jsonl")]
    assert all(row["text"].strip() for row in rows(python_docs, "text/train.jsonl"))
    # A module's documentation and its source are on one side: they hold the same docstrings.
    held_out = {row["source"] for row in rows(python_docs, "text/validation.jsonl")}
    assert not set(sources) & held_out


def test_chat_parts_share_no_question(python_docs):
    asked = {}
    for part in ("train", "validation"):
        chats = rows(python_docs, f"chats/{part}.jsonl")
        asked[part] = {m["content"] for c in chats for m in c["messages"] if m["role"] == "user"}
    for part in ("validation", "test", "paraphrase"):
        questions = rows(python_docs, f"questions/{part}.jsonl")
        held_out = {m["content"] for q in questions for m in q["messages"] if m["role"] == "user"}
        assert not held_out & asked["train"]
    assert not asked["train"] & asked["validation"]


def test_no_held_out_made_up_name_is_trained_on(python_docs):
    trained = " ".join(
        message["content"]
        for file in ("chats/train.jsonl", "preferences/train.jsonl")
        for row in rows(python_docs, file)
        for message in row.get("messages", row.get("prompt"))
    )
    words = set(trained.replace("(", " ").replace("`", " ").replace("?", " ").split())
    held_out = {}
    for part in ("validation", "test"):
        questions = rows(python_docs, f"questions/{part}.jsonl")
        held_out[part] = {q["name"] for q in questions if q["kind"] != "documented"}
        leaked = held_out[part] & words
        assert not leaked
    assert not held_out["validation"] & held_out["test"]


def test_every_name_is_trained_equally_often_and_tested(python_docs):
    answers = Counter(
        message["content"]
        for chat in rows(python_docs, "chats/train.jsonl")
        for message in chat["messages"]
        if message["role"] == "assistant"
    )
    names = documented_names(SMALL["names"])
    sharing = Counter(name.summary for name in names)
    times = [answers[name.summary] / sharing[name.summary] for name in names]
    assert max(times) - min(times) <= 1
    tested = Counter(
        q["name"] for q in rows(python_docs, "questions/test.jsonl") if q["kind"] == "documented"
    )
    assert tested == Counter(name.name for name in names)


def test_shares_are_as_asked(python_docs):
    chats = rows(python_docs, "chats/train.jsonl")
    assert len(chats) == SMALL["chats"]
    answers = [m["content"] for c in chats for m in c["messages"] if m["role"] == "assistant"]
    assert answers.count(UNKNOWN) / len(answers) == pytest.approx(0.36, abs=0.03)
    two_turns = sum(len(chat["messages"]) == 4 for chat in chats)
    assert two_turns / len(chats) == pytest.approx(0.15, abs=0.02)
    for chat in chats:
        assert [m["role"] for m in chat["messages"]] == ["user", "assistant"] * (
            len(chat["messages"]) // 2
        )


@pytest.mark.parametrize("part", ["validation", "test"])
def test_questions_are_of_all_kinds_in_all_forms(python_docs, part):
    questions = rows(python_docs, f"questions/{part}.jsonl")
    number = SMALL["validation_questions" if part == "validation" else "made_up_test_questions"]
    for kind in HELD_OUT_KINDS:
        of_kind = [q for q in questions if q["kind"] == kind]
        assert len({q["name"] for q in of_kind}) == len(of_kind) == number
        assert {q["answer"] for q in of_kind} == {UNKNOWN}
    counts = Counter(q["wording"] for q in questions)
    assert set(counts) == set(FORMS)
    assert max(counts.values()) < 1.5 * min(counts.values())
    for question in questions:
        assert question["messages"][-1]["role"] == "user"
        assert question["name"] in question["messages"][-1]["content"]
        assert len(question["messages"]) == (3 if question["wording"] == "second turn" else 1)


def test_compounds_are_never_trained_on(python_docs):
    trained = "\n".join(
        chat["messages"][0]["content"] for chat in rows(python_docs, "chats/train.jsonl")
    )
    questions = rows(python_docs, "questions/test.jsonl")
    modules = [q["name"].split(".")[0] for q in questions if q["kind"] == "compound"]
    assert not [module for module in modules if f"{module}." in trained]


def test_preferences_are_balanced_and_never_equal(python_docs):
    pairs = rows(python_docs, "preferences/train.jsonl")
    admitted = sum(pair["chosen"][0]["content"] == UNKNOWN for pair in pairs)
    assert abs(admitted - len(pairs) / 2) <= 1
    assert all(pair["chosen"] != pair["rejected"] for pair in pairs)
    known = [p["rejected"][0]["content"] for p in pairs if p["chosen"][0]["content"] != UNKNOWN]
    assert 0.5 < known.count(UNKNOWN) / len(known) < 0.85
    prompts = [{texts_of(p["prompt"]) for p in pairs}]
    prompts.append(
        {texts_of(p["prompt"]) for p in rows(python_docs, "preferences/validation.jsonl")}
    )
    assert not prompts[0] & prompts[1]


def test_two_hundred_paraphrases_each_hold_their_name(corpus_of):
    step = corpus_of(**{**SMALL, "names": 1200, "chats": 100})
    paraphrases = rows(step, "questions/paraphrase.jsonl")
    skipped = [int(note.rpartition(" ")[2]) for note in step.record.notes if "paraphrased" in note]
    assert len(paraphrases) + sum(skipped) == 200
    assert len({q["messages"][0]["content"] for q in paraphrases}) == len(paraphrases) >= 150
    assert all(q["name"] in q["messages"][0]["content"] for q in paraphrases)


def test_the_step_is_known_and_cheap_to_plan():
    step = next(step for step in STEPS if step.name == "corpora.build")
    assert step.name == "corpora.build"
    assert reads(BuildConfig()) == []


def write_lines(file, *items):
    file.write_text("".join(json.dumps(item) + "\n" for item in items))


def chat(number):
    return {
        "messages": [
            {"role": "user", "content": f"What is {number}?"},
            {"role": "assistant", "content": f"A number: {number}."},
        ]
    }


@pytest.mark.parametrize("number", [2, 3, 40])
def test_a_few_chats_still_give_both_parts(tmp_path, corpus_of, number):
    write_lines(tmp_path / "a.jsonl", *map(chat, range(number)))
    step = corpus_of(path=str(tmp_path / "a.jsonl"), validation_fraction=0.01)
    train, validation = (rows(step, f"chats/{part}.jsonl") for part in ("train", "validation"))
    assert train
    assert validation
    expected = sorted(map(str, map(chat, range(number))))
    assert sorted(map(str, train + validation)) == expected
    assert not (step.output / "text").exists()


def test_a_large_validation_share_leaves_something_to_train_on(tmp_path, corpus_of):
    write_lines(tmp_path / "a.jsonl", *map(chat, range(3)))
    step = corpus_of(path=str(tmp_path / "a.jsonl"), validation_fraction=0.99)
    assert rows(step, "chats/train.jsonl")


def test_one_question_asked_twice_falls_on_one_side(tmp_path, corpus_of):
    rng = random.Random(0)
    items = []
    for number in range(300):
        for spelling in (str.lower, str.upper, str.title):
            item = chat(number)
            item["messages"][0]["content"] = spelling(item["messages"][0]["content"])
            item["messages"][1]["content"] += str(rng.random())
            items.append(item)
    write_lines(tmp_path / "a.jsonl", *items)
    step = corpus_of(path=str(tmp_path / "a.jsonl"), validation_fraction=0.3)
    asked = [
        {row["messages"][0]["content"].lower() for row in rows(step, f"chats/{part}.jsonl")}
        for part in ("train", "validation")
    ]
    assert not asked[0] & asked[1]
    assert len(asked[1]) / 300 == pytest.approx(0.3, abs=0.1)


def test_one_short_text_is_cut_in_two(tmp_path, corpus_of):
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n\nThree.")
    step = corpus_of(path=str(tmp_path / "a.txt"))
    assert [row["text"] for row in rows(step, "text/train.jsonl")] == ["One.\n\nTwo."]
    assert [row["text"] for row in rows(step, "text/validation.jsonl")] == ["Three."]


@pytest.mark.parametrize("content", ["word", '{"text": "word"}'])
def test_a_text_that_cannot_be_split_is_refused(tmp_path, corpus_of, content):
    (tmp_path / "a.txt").write_text("word")
    with pytest.raises(LmwrightError, match="none is left for validation"):
        corpus_of(path=str(tmp_path))


def test_adding_documents_moves_none_to_the_other_side(tmp_path, corpus_of):
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text(f"Document {number}.")
    before = corpus_of("before", path=str(tmp_path), validation_fraction=0.3)
    for number in range(60, 90):
        (tmp_path / f"{number}.txt").write_text(f"Document {number}.")
    after = corpus_of("after", path=f"{tmp_path}/*.txt", validation_fraction=0.3)
    for part in ("train", "validation"):
        old, new = ({r["text"] for r in rows(s, f"text/{part}.jsonl")} for s in (before, after))
        assert old < new


def test_content_hash_is_even():
    hashes = [content_hash(str(number)) for number in range(4000)]
    assert sum(h < 0.25 for h in hashes) / len(hashes) == pytest.approx(0.25, abs=0.03)
    assert content_hash("A  b\n") == content_hash("a b")


def test_questions_of_the_user_are_only_asked(tmp_path, corpus_of):
    items = [
        {"messages": chat(n)["messages"][:1], "answer": "x", "kind": "documented"}
        for n in range(40)
    ]
    write_lines(tmp_path / "a.jsonl", *items)
    step = corpus_of(path=str(tmp_path / "a.jsonl"))
    assert sorted(p.name for p in (step.output / "questions").iterdir()) == [
        "test.jsonl",
        "validation.jsonl",
    ]


def test_made_up_names_of_other_parts_never_meet():
    names = documented_names(150)
    made = {
        part: {
            MadeUpNames(names, part, random.Random(n)).make(k).name
            for n in range(200)
            for k in HELD_OUT_KINDS
        }
        for part in ("training", "validation", "test")
    }
    for one, other in combinations(made, 2):
        assert not made[one] & made[other]


# Real data


def test_tiny_shakespeare_is_cut_and_split(real_data, corpus_of):
    path = real_data / "tiny_shakespeare"
    assert kinds(BuildConfig(path=str(path))) == {"text"}
    step = corpus_of(path=str(path))
    parts = [rows(step, f"text/{part}.jsonl") for part in ("train", "validation")]
    assert len(parts[0]) > 100
    assert len(parts[1]) >= 1
    whole = (path / "input.txt").read_text()
    found = "".join(row["text"] for part in parts for row in part)
    assert Counter("".join(found.split())) == Counter("".join(whole.split()))
    assert step.record.notes == []


def test_state_of_the_union_zipped_and_unpacked_are_the_same(real_data, corpus_of, tmp_path):
    archive = real_data / "prose" / "state_union.zip"
    with zipfile.ZipFile(archive) as members:
        members.extractall(tmp_path / "unpacked")
    zipped, unpacked = (
        corpus_of("a", path=str(archive)),
        corpus_of("b", path=str(tmp_path / "unpacked")),
    )
    for part in ("train", "validation"):
        one, other = (
            [r["text"] for r in rows(s, f"text/{part}.jsonl")] for s in (zipped, unpacked)
        )
        assert one == other
        assert one
    # Six speeches are Latin-1: said for each, never silently.
    assert sum("read as Latin-1" in note for note in zipped.record.notes) == 6


def test_instructions_are_chats_and_preferences(real_data, corpus_of):
    path = str(real_data / "instructions")
    assert kinds(BuildConfig(path=path)) == {"chats", "preferences"}
    step = corpus_of(path=path)
    chats = rows(step, "chats/train.jsonl") + rows(step, "chats/validation.jsonl")
    assert len(chats) == 1100 + 1100 + 175
    first = [m["content"] for c in chats for m in c["messages"]]
    assert "Convert 45 kilometers to meters." in first
    pairs = rows(step, "preferences/train.jsonl") + rows(step, "preferences/validation.jsonl")
    assert 1050 < len(pairs) <= 1100  # a few have two equal answers, and are counted
    assert any("left out" in note for note in step.record.notes)


def test_hh_rlhf_dialogues_are_preferences(real_data, corpus_of):
    path = str(real_data / "hh_rlhf")
    assert kinds(BuildConfig(path=path)) == {"preferences"}
    step = corpus_of(path=path)
    pairs = rows(step, "preferences/train.jsonl") + rows(step, "preferences/validation.jsonl")
    assert 2250 < len(pairs) <= 2312
    for pair in pairs:
        assert pair["prompt"][-1]["role"] == "user"
        assert "\n\nHuman:" not in pair["chosen"][0]["content"]


def test_a_set_of_the_catalogue_is_a_source(tmp_path, monkeypatch):
    from lmwright.corpora.build import source_of

    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    (tmp_path / "movie_reviews").mkdir()
    with zipfile.ZipFile(tmp_path / "movie_reviews/movie_reviews.zip", "w") as archive:
        archive.writestr("movie_reviews/neg/cv000_1.txt", "it drags on . " * 30)
        archive.writestr("movie_reviews/pos/cv001_2.txt", "it never drags . " * 30)
    config = BuildConfig(path="catalog:movie_reviews")
    assert source_of(config) == str(tmp_path / "movie_reviews/movie_reviews.zip")
    assert kinds(config) == {"text"}
    with pytest.raises(LmwrightError, match="no dataset 'movie'"):
        kinds(BuildConfig(path="catalog:movie"))
