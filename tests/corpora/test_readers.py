"""Reading what people have: formats, folders, patterns, encodings, compression, and bad input."""

import bz2
import codecs
import gzip
import json
import lzma
import random
import sys
import zipfile

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.corpora.readers import read_records, record_kinds

CHAT = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]}
PAIR = {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}


def silent(text):
    raise AssertionError(f"unexpected note: {text}")


def records(path, note=silent, **keys):
    return list(read_records(str(path), note, **keys))


def texts(path, note=silent, **keys):
    return [record.row["text"] for record in records(path, note, **keys)]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_text_markdown_and_source_of_a_folder_are_text(tmp_path):
    (tmp_path / "b.md").write_text("# Title\n\nwords")
    (tmp_path / "a.txt").write_text("plain")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "code.py").write_text("x = 1\n")
    assert texts(tmp_path) == ["plain", "# Title\n\nwords", "x = 1\n"]
    assert record_kinds(str(tmp_path)) == {"text"}


def test_patterns_choose_files(tmp_path):
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text(name)
    assert texts(tmp_path / "*.txt") == ["a.txt", "b.txt"]
    assert texts(tmp_path / "**" / "*.md") == ["c.md"]
    with pytest.raises(LmwrightError, match="holds no files"):
        records(tmp_path / "*.rst")


def test_hidden_files_are_left_out_and_counted(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_bytes(b"\0\1")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "a.txt").write_text("words")
    said = []
    assert texts(tmp_path, said.append) == ["words"]
    assert len(said) == 1
    assert said[0].endswith("hidden files and folders in " + str(tmp_path) + ": 2")


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
    ],
)
def test_unicode_files_are_read_without_their_mark(tmp_path, encoding, mark):
    text = "Grüße, 世界 \N{SNOWMAN}\n" * 5
    (tmp_path / "a.txt").write_bytes(mark + text.encode(encoding))
    assert texts(tmp_path / "a.txt") == [text]


def test_latin_1_is_said_and_also_found_late_in_a_file(tmp_path):
    file = tmp_path / "a.txt"
    text = "plain words\n" * 20_000 + "Grüße\n"
    file.write_bytes(text.encode("latin-1"))
    said = []
    found = texts(file, said.append, characters=10**6)
    assert found == [text]
    assert said == [f"{file} is not UTF-8; read as Latin-1"]


def test_a_character_across_two_blocks_is_no_latin_1(tmp_path):
    text = "a" + "é" * 70_000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert "".join(texts(tmp_path / "a.txt")) == text


@pytest.mark.parametrize(("suffix", "opener"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_compressed_files_are_read_by_their_inner_format(tmp_path, suffix, opener):
    with opener.open(tmp_path / f"chats.jsonl.{suffix}", "wt") as file:
        file.write(lines(CHAT, CHAT))
    with opener.open(tmp_path / f"a.txt.{suffix}", "wt") as file:
        file.write("words")
    found = records(tmp_path)
    assert [record.kind for record in found] == ["text", "chats", "chats"]
    assert found[1].row == CHAT


def test_members_of_a_zip_archive_are_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/b.txt", "second")
        archive.writestr("folder/a.txt", "first")
        archive.writestr("__MACOSX/._a.txt", b"\0\0")
        archive.writestr("rows.csv", "text\nthird\n")
    assert texts(tmp_path / "a.zip") == ["first", "second", "third"]
    assert records(tmp_path)[0].row["source"].endswith("a.zip!folder/a.txt")


def test_long_text_is_cut_and_read_in_a_stream(tmp_path):
    rng = random.Random(0)
    text = "\n\n".join("word " * rng.randrange(5, 200) for _ in range(400))
    (tmp_path / "a.txt").write_text(text)
    found = texts(tmp_path, characters=2000)
    assert all(len(piece) <= 2000 for piece in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_json_array_and_json_lines_under_one_suffix(tmp_path):
    rows = [{"text": f"row {i} " + "x" * 5000} for i in range(60)]  # longer than one block
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "b.json").write_text(lines(*rows))
    expected = [row["text"] for row in rows]
    assert texts(tmp_path / "a.json") == texts(tmp_path / "b.json") == expected


def test_csv_and_tsv_with_another_text_column(tmp_path):
    (tmp_path / "a.csv").write_text('id,body\n1,"first, with comma\nand line"\n2,second\n')
    (tmp_path / "b.tsv").write_text("id\tbody\n3\tthird\n")
    expected = ["first, with comma\nand line", "second", "third"]
    assert texts(tmp_path, text_column="body") == expected


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.Table.from_pylist([CHAT] * 3), tmp_path / "a.parquet")
    assert [record.row for record in records(tmp_path)] == [CHAT] * 3


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LmwrightError, match="needs the extra `data`") as caught:
        records(tmp_path)
    assert "lmwright[data]" in str(caught.value)


BAD = {
    "missing": (None, None, "does not exist"),
    "empty": ("a.txt", b" \n\n", "the corpus is empty"),
    "empty_rows": ("a.jsonl", b"\n", "the corpus is empty"),
    "binary": ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0", "a.txt is binary"),
    "control": ("a.txt", b"abc" + bytes(range(1, 8)) * 9, "a.txt is binary"),
    "late_binary": ("a.txt", b"words " * 50_000 + b"\0", "a.txt is binary"),
    "json": ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl, line 2 is not valid JSON"),
    "row": ("a.jsonl", b'{"text": "a"}\n["b"]\n', "line 2 is a JSON list"),
    "columns": ("a.jsonl", b'{"body": "a"}\n', "line 1 has the columns body"),
    "type": ("a.jsonl", b'{"text": 1}\n', "has a text of type int"),
    "role": ("a.jsonl", b'{"messages": [{"role": "bot", "content": "x"}]}\n', "role 'bot'"),
    "no_answer": (
        "a.jsonl",
        b'{"messages": [{"role": "user", "content": "x"}]}\n',
        "none is the assistant's",
    ),
    "mixed": (
        "a.jsonl",
        lines({"text": "a"}, CHAT).encode(),
        "line 2 gives chats, the rows before it text",
    ),
    "array": ("a.json", b'[{"text": "a"}, {"text"]', "element 2 is not valid JSON"),
    "array_end": ("a.json", b'[{"text": "a"}', "element 2 is not valid JSON"),
    "csv": ("a.csv", b'text\n"open\n', "a.csv, line 1: unexpected end"),
    "csv_columns": ("a.csv", b"text\na,b\n", "line 2 has more columns"),
    "gz": ("a.txt.gz", gzip.compress(b"words " * 999)[:-20], "is corrupt or cut short"),
    "no_gz": ("a.txt.gz", b"words", "is corrupt or cut short"),
    "xz": ("a.txt.xz", lzma.compress(b"words " * 999)[:-20], "is corrupt or cut short"),
    "zip": ("a.zip", b"PK\x03\x04junk", "is not a readable zip archive"),
    "parquet": ("a.parquet", b"PAR1 no", "is not readable Parquet"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named_in_one_line(tmp_path, name, content, message):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LmwrightError) as caught:
        records(tmp_path / (name or "nothing"))
    assert message in caught.value.what
    assert "\n" not in caught.value.what
    if name and "empty" not in message:
        assert str(tmp_path / name) in caught.value.what


@pytest.mark.parametrize("case", ["missing", "empty_rows", "binary", "json", "columns", "no_gz"])
def test_the_first_look_finds_what_the_first_row_shows(tmp_path, case):
    name, content, message = BAD[case]
    if name:
        # What is wrong in a later row is found when the corpus is built.
        content = b'{"text": \n' if case == "json" else content
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LmwrightError) as caught:
        record_kinds(str(tmp_path / (name or "nothing")))
    assert message.replace("line 2", "line 1") in caught.value.what


def test_a_binary_file_among_the_text_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "picture.dat").write_bytes(random.Random(0).randbytes(5000))
    with pytest.raises(LmwrightError, match=r"picture\.dat is binary"):
        records(tmp_path)
    with pytest.raises(LmwrightError, match=r"picture\.dat is binary"):
        record_kinds(str(tmp_path))


MESSAGES = CHAT["messages"]
SHAPES = {
    "messages": (CHAT, {"chats"}, CHAT),
    "parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi?"}]},
                MESSAGES[1],
            ]
        },
        {"chats"},
        CHAT,
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}]},
        {"chats"},
        CHAT,
    ),
    "completion": ({"prompt": "Hi?", "completion": "Yes."}, {"chats"}, CHAT),
    "response": ({"prompt": "Hi?", "response": "Yes."}, {"chats"}, CHAT),
    "question": ({"question": "Hi?", "answer": "Yes."}, {"chats"}, CHAT),
    "instruction": ({"instruction": "Hi?", "input": "", "output": "Yes."}, {"chats"}, CHAT),
    "input": (
        {"instruction": "Add.", "input": "1, 2", "output": "3"},
        {"chats"},
        {
            "messages": [
                {"role": "user", "content": "Add.\n\n1, 2"},
                {"role": "assistant", "content": "3"},
            ]
        },
    ),
    "preference": (
        PAIR,
        {"preferences"},
        {
            "prompt": [MESSAGES[0]],
            "chosen": [MESSAGES[1]],
            "rejected": [{"role": "assistant", "content": "No."}],
        },
    ),
    "transcript": (
        {key: f"\n\nHuman: Hi?\n\nAssistant: {PAIR[key]}" for key in ("chosen", "rejected")},
        {"preferences"},
        {
            "prompt": [MESSAGES[0]],
            "chosen": [MESSAGES[1]],
            "rejected": [{"role": "assistant", "content": "No."}],
        },
    ),
    "question_row": (
        {"messages": MESSAGES[:1], "answer": "Yes.", "kind": "documented"},
        {"questions"},
        {
            "messages": MESSAGES[:1],
            "answer": "Yes.",
            "kind": "documented",
            "name": "",
            "wording": "",
        },
    ),
}


@pytest.mark.parametrize(("row", "kinds", "expected"), SHAPES.values(), ids=SHAPES)
def test_usual_columns_are_understood(tmp_path, row, kinds, expected):
    (tmp_path / "a.jsonl").write_text(lines(row))
    (record,) = records(tmp_path)
    assert {record.kind} == kinds == record_kinds(str(tmp_path))
    assert record.row == expected


def test_records_that_teach_nothing_are_left_out_and_counted(tmp_path):
    file = tmp_path / "a.jsonl"
    equal = {**PAIR, "rejected": "Yes."}
    early = {
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "rejected": "\n\nHuman: a\n\nAssistant: x\n\nHuman: y\n\nAssistant: z",
    }
    file.write_text(lines(early, PAIR, equal, PAIR))
    said = []
    assert len(records(file, said.append)) == 2
    assert len(said) == 1
    assert "left out 2 records" in said[0]
