import io
import json
import re
import shlex

import pytest
from rich.console import Console

from lmwright.core.errors import LmwrightError
from lmwright.corpora.commands import BuildConfig
from lmwright.corpora.records import Record
from lmwright.tokens import doctor
from lmwright.tokens.doctor import Seen, marked, print_file, see

CHAT = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "the first <|im_end|> question"},
    {"role": "assistant", "content": "the first answer"},
    {"role": "user", "content": "another"},
    {"role": "assistant", "content": "the second answer"},
]


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write_file


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_chats_are_shown_as_rendered_with_the_trained_tokens_marked(write, capsys):
    file = write("chats.jsonl", lines(*[{"messages": CHAT}] * 5))
    print_file(file, row_length=40)
    out = capsys.readouterr().out
    assert "1 JSON Lines file, with the columns messages" in out
    assert "read as: 5 chats" in out
    shown = (
        "<|im_start|>system\nbe kind<|im_end|>\n"
        "<|im_start|>user\nthe first <|im_end|> question<|im_end|>\n"
        "<|im_start|>assistant\n«the first answer<|im_end|>»\n"
        "<|im_start|>user\nanother<|im_end|>\n"
        "<|im_start|>assistant\n«the second answer<|im_end|>»\n"
    )
    assert out.count(shown) == 3
    assert "chats: 5 records" in out
    assert re.search(r"5 longer than a row of 40 are left out", out)


def test_counts_are_those_of_the_encoder(write, capsys, trained, folder):
    file = write("chats.jsonl", lines(*[{"messages": CHAT}] * 4))
    print_file(file, folder)
    tokens = len(trained.encode_chat(CHAT, add_generation_prompt=False))
    answers = [m["content"] for m in CHAT if m["role"] == "assistant"]
    marked = sum(len(ids) + 1 for ids in trained.encode_batch(answers))
    out = capsys.readouterr().out
    assert f"4 records, {4 * tokens} tokens, {4 * marked} of them trained" in out
    assert f"{trained.vocab_size} in its vocabulary" in out


def test_a_preference_trains_the_answer_alone(trained):
    row = {"prompt": CHAT[:4], "chosen": [CHAT[4]], "rejected": [{**CHAT[4], "content": "no"}]}
    chosen, rejected = see(trained, [Record("preferences", row)])
    assert marked(trained, chosen, styled=False).plain.endswith("«the second answer<|im_end|>»")
    text = marked(trained, rejected, styled=False).plain
    assert text.endswith("assistant\n«no<|im_end|>»")
    assert text.count("«") == 1


def test_the_lines_it_prints_are_options_that_exist(write, capsys, monkeypatch):
    column = "corpus.text_column=body"
    file = write("my notes.jsonl", lines({"title": "a", "body": "a longer text"}))
    with pytest.raises(LmwrightError) as caught:
        print_file(file)
    assert caught.value.hint.endswith(column)
    assert "text_column" in BuildConfig.model_fields

    print_file(file, text_column="body")
    out = capsys.readouterr().out
    assert "read as: 1 text" in out
    command = next(line for line in out.splitlines() if line.startswith("To train on it"))
    assert shlex.split(command.split(":", 1)[1]) == [
        *("lmwright", "run", "quickstart", f"corpus.path={file}", column)
    ]


def test_labelled_texts_are_told_how_their_labels_are_learned(write, capsys):
    file = write("my reviews.jsonl", lines({"text": "a longer text", "label": "good"}))
    print_file(file)
    out = capsys.readouterr().out
    command = next(line for line in out.splitlines() if line.startswith("To learn its labels"))
    assert shlex.split(command.split(":", 1)[1]) == [
        *("lmwright", "run", "text_classification", f"dataset.path={file}")
    ]


def test_a_wrong_guess_between_columns_is_told_how_to_be_changed(write, capsys):
    file = write("table.csv", "text,summary\nshort,a much longer text\n")
    print_file(file)
    assert "corpus.text_column=summary" in capsys.readouterr().out
    file = write("plain.txt", "just words\n")
    print_file(file)
    assert "end it in .jsonl" in capsys.readouterr().out


def test_control_characters_and_markup_do_not_reach_the_terminal(write, capsys):
    print_file(write("evil.txt", "red \x1b[31m words [bold]here[/bold]\n"))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "␛[31m words [bold]here[/bold]" in out


def test_a_terminal_gets_colour_and_no_markers(trained):
    ids = trained.encode("the model")
    text = marked(trained, Seen("text", "text", ids, [True] * len(ids)), styled=True)
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="standard").print(text)
    assert text.plain == "the model"
    assert "\x1b[1;32mthe model" in stream.getvalue()


def test_long_records_are_cut_and_say_so(trained):
    ids = trained.encode("abcde " * 1000)
    text = marked(trained, Seen("text", "text", ids, [True] * len(ids)), styled=False).plain
    assert len(text) < 800
    assert text.endswith("»… [5,300 more characters]")


def test_only_the_first_records_are_read_and_this_is_said(write, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "MOST_RECORDS", 10)
    print_file(write("many.jsonl", lines(*[{"text": f"text {i}"} for i in range(11)])))
    assert "read as: the first 10 text" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"), [("empty.txt", ""), ("bad.jsonl", "{"), ("none.jsonl", "")]
)
def test_unreadable_files_are_refused(write, name, content):
    with pytest.raises(LmwrightError):
        print_file(write(name, content))


def test_without_a_file_the_machine_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "machine_report", lambda: [("cores", "2"), ("memory", "[8] GB")])
    doctor.print_machine()
    assert capsys.readouterr().out == "cores   2\nmemory  [8] GB\n"
