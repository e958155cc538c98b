"""The published sets in their official formats: counts by their papers, columns, encodings."""

import json

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.corpora import catalog
from lmwright.corpora.formats import bio_of_iob1, blocks, column, members, squad_rows

PUBLISHED = {
    "sst2": (6920, 872, 1821),
    "cola": (8551, 527, 516),
    "conll2003": (14041, 3250, 3453),
    "multi30k": (29000, 1014, 1000),
}


@pytest.mark.parametrize("name", catalog.names())
def test_every_set_reads_in_its_columns(real_data, name):
    dataset = catalog.find(name)
    splits = catalog.rows(dataset)
    assert tuple(splits) == dataset.splits
    seen: dict[str, set[str]] = {}
    for split, rows in splits.items():
        assert rows
        columns = catalog.columns_of(dataset.task, rows[0])
        for row in rows:
            assert set(columns) <= row.keys()
        if dataset.task == "classification":
            assert {row["label"] for row in rows} == set(dataset.labels)
        if dataset.task == "tagging":
            assert all(len(row["tokens"]) == len(row["tags"]) > 0 for row in rows)
            tags = {tag for row in rows for tag in row["tags"]}
            assert not dataset.labels or tags <= set(dataset.labels)
        seen[split] = {json.dumps(row, sort_keys=True) for row in rows}
    if "hash" in dataset.split_note:
        first = next(iter(splits.values()))
        if "text" in first[0] and "tokens" not in first[0]:
            texts = {
                s: {" ".join(r["text"].split()).casefold() for r in rs} for s, rs in splits.items()
            }
            assert not texts["train"] & texts.get("validation", set())
            assert dataset.task == "language_modeling" or not texts["train"] & texts["test"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(real_data, name):
    splits = catalog.rows(catalog.find(name))
    assert tuple(len(splits[s]) for s in ("train", "validation", "test")) == PUBLISHED[name]


def test_windows_bytes_are_dashes_not_line_ends(real_data):
    splits = catalog.rows(catalog.find("rotten_tomatoes"))
    texts = [row["text"] for rows in splits.values() for row in rows]
    assert len(texts) == 10662
    assert any("—" in text for text in texts)
    assert not any("\x85" in text or "\n" in text for text in texts)


def test_transcripts_in_chinese_encoding_have_their_quotation_marks(real_data):
    rows = [r for part in catalog.rows(catalog.find("state_union")).values() for r in part]
    nixon = next(row["text"] for row in rows if row["source"] == "1970-Nixon")
    assert "America’s priorities" in nixon


def test_a_language_is_chosen_by_name(real_data):
    multi30k = catalog.find("multi30k")
    german, english = (catalog.rows(multi30k, way)["test"][0] for way in ("de-en", "en-de"))
    assert (german["source"], german["target"]) == (english["target"], english["source"])
    with pytest.raises(LmwrightError, match="choose one of: de-en, en-de"):
        catalog.rows(multi30k, "fr-en")


def test_languages_of_one_set_split_alike(real_data):
    xquad = catalog.find("xquad")
    english, german = (catalog.rows(xquad, language) for language in ("en", "de"))
    for split, rows in english.items():
        assert [row["id"] for row in rows] == [row["id"] for row in german[split]]


def test_every_set_says_whose_it_is():
    for name in catalog.names():
        dataset = catalog.find(name)
        assert dataset.name == name
        assert dataset.licence
        assert dataset.citation
        assert dataset.files or name == "python_questions"


def test_a_name_is_found_with_a_hyphen_and_a_wrong_one_gets_the_nearest():
    assert catalog.find("wikitext-2").name == "wikitext_2"
    with pytest.raises(LmwrightError, match="did you mean sst2"):
        catalog.find("sst-3")


def test_missing_data_is_told_once_with_what_and_where(monkeypatch, tmp_path):
    monkeypatch.delenv("LMWRIGHT_DATA", raising=False)
    with pytest.raises(LmwrightError, match="LMWRIGHT_DATA names no folder") as error:
        catalog.rows(catalog.find("sst2"))
    assert "stsa.binary.train" in str(error.value)
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    with pytest.raises(LmwrightError, match=f"looked for it in {tmp_path}"):
        catalog.rows(catalog.find("sst2"))


def test_broken_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    for part in ("train", "dev", "test"):
        (tmp_path / "sst2").mkdir(exist_ok=True)
        (tmp_path / "sst2" / f"stsa.binary.{part}").write_text("1 good\nbad line\n")
    with pytest.raises(LmwrightError, match="line 2"):
        catalog.rows(catalog.find("sst2"))
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "rte.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(LmwrightError, match="corrupt or cut short"):
        catalog.rows(catalog.find("rte"))


def test_iob1_becomes_bio():
    iob1 = ["I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-ORG", "I-ORG"]
    bio = ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-ORG", "I-ORG"]
    assert bio_of_iob1(iob1) == bio
    assert bio_of_iob1(bio) == bio


def test_columns_of_both_kinds_are_read(tmp_path):
    file = tmp_path / "two.conll"
    file.write_text("# id = 1\n1\ta b\tX\n2\tc\tY\n\n\nword TAG\nother TAG\n")
    (comments, first), (_, second) = blocks(file)
    assert comments == ["# id = 1"]
    assert column(file, first, 1) == ["a b", "c"]
    assert column(file, second, 1) == ["TAG", "TAG"]
    with pytest.raises(LmwrightError, match="has 2 columns, 4 are needed"):
        column(file, second, 3)


def test_an_answer_that_is_not_where_it_says_is_refused(tmp_path):
    answer = {"text": "blue", "answer_start": 3}
    question = {"id": "q1", "question": "Which?", "answers": [answer]}
    file = tmp_path / "squad.json"
    file.write_text(
        json.dumps({"data": [{"paragraphs": [{"context": "it is blue", "qas": [question]}]}]})
    )
    with pytest.raises(LmwrightError, match="q1 is not at 3"):
        list(squad_rows(file))
    file.write_text(json.dumps({"data": [{}]}))
    with pytest.raises(LmwrightError, match="not in SQuAD's format"):
        list(squad_rows(file))


def test_an_archive_without_what_is_wanted_is_named(real_data):
    with pytest.raises(LmwrightError, match="no member that matches"):
        members(real_data / "rte" / "rte.zip", "nothing")


@pytest.mark.parametrize("count", [3, 10, 500])
def test_a_split_by_hash_depends_on_nothing_else(count):
    keys = [f"text number {i}" for i in range(count)]
    first = catalog.hash_splits(keys)
    assert first == catalog.hash_splits(reversed(keys))
    sizes = [list(first.values()).count(split) for split in ("train", "validation", "test")]
    tenth = max(1, round(count / 10))
    assert sizes == [count - 2 * tenth, tenth, tenth]
    assert (
        catalog.hash_splits(["A  b", "a B", "c", "d"])["A  b"]
        == (catalog.hash_splits(["A  b", "a B", "c", "d"])["a B"])
    )
