"""The user's own texts and chats in place of the built-in corpus."""

import json
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end.cases import lmwright
from tests.real_data import real_data_folder

TINY = (
    "budget=40s",
    "tokenizer.vocab_size=400",
    "base.compile=off",
    "chat.compile=off",
    *(
        f"{step}.{key}={value}"
        for step in ("base", "chat")
        for key, value in {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "intermediate_size": 128,
            "batch_tokens": 1024,
        }.items()
    ),
)


def data(name: str) -> Path:
    return real_data_folder() / name


def check_base_model(runs: Path, done) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    first_step = next(i for i, line in enumerate(lines) if line.startswith("[1/"))
    before = "\n".join(lines[:first_step])
    for step in ("chats", "chat", "aligned"):
        assert f"not applicable: {step} (" in before
    summary = json.loads((runs / "quickstart" / "summary.json").read_text())
    assert 0 < summary["bits_per_byte_base"] < 8
    said = lmwright("chat", "quickstart", "--prompt", "First", "--max-tokens", "8", runs=runs)
    assert said.returncode == 0, said.stderr
    # Eight tokens of a model that trained for seconds: line breaks, quite often.
    assert len(said.stdout) > len("\n")


def test_a_folder_of_text_gives_a_base_model(tmp_path):
    source = data("tiny_shakespeare")
    done = lmwright("run", "quickstart", f"corpus.path={source}", *TINY, runs=tmp_path)
    check_base_model(tmp_path, done)


@pytest.mark.slow
def test_a_folder_of_speeches_gives_a_base_model(tmp_path):
    with zipfile.ZipFile(data("prose") / "state_union.zip") as archive:
        archive.extractall(tmp_path / "speeches")
    done = lmwright(
        "run", "quickstart", f"corpus.path={tmp_path / 'speeches'}", *TINY, runs=tmp_path / "runs"
    )
    check_base_model(tmp_path / "runs", done)


def test_a_file_of_chats_gives_a_chat_model(tmp_path):
    file = tmp_path / "chats.jsonl"
    colours = ("red", "green", "blue", "white", "black", "brown")
    things = ("house", "dog", "car", "hat", "tree", "boat", "cup", "bird")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Which colour has {owner}'s {thing}?"},
                {"role": "assistant", "content": colours[(i + j) % len(colours)]},
            ]
        }
        for i, owner in enumerate(("Ann", "Bob", "Cem", "Dora", "Eva", "Finn"))
        for j, thing in enumerate(things)
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    done = lmwright("run", "quickstart", f"corpus.path={file}", *TINY, runs=tmp_path / "runs")
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("text", "base", "aligned"):
        assert f"not applicable: {step} (" in done.stdout
    config = json.loads((tmp_path / "runs/quickstart/model/config.json").read_text())
    assert config["model_type"] == "qwen3"
    said = lmwright(
        "chat", "quickstart", "--prompt", "Which colour has Bob's hat?", runs=tmp_path / "runs"
    )
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "empty"),
        ("image.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 8, "image.txt"),
        ("broken.jsonl", b'{"text": "fine"}\n{"text": ', "line 2"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    refused = lmwright(
        "run", "quickstart", f"corpus.path={tmp_path / name}", *TINY, runs=tmp_path / "runs"
    )
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs/quickstart/steps/corpus/output").exists()


def test_a_missing_corpus_is_named(tmp_path):
    refused = lmwright("run", "quickstart", "corpus.path=nowhere.txt", *TINY, runs=tmp_path)
    assert refused.returncode == 2
    assert "nowhere.txt" in refused.stderr
