"""What is asked: files of prompts, lengths, documentation."""

import json
import random

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving.bench.prompts import Prompt, Span, documentation, read

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
]


def written(tmp_path, *rows):
    file = tmp_path / "prompts.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_rows_are_chats_or_texts(tmp_path):
    file = written(
        tmp_path, {"messages": TURNS}, "", {"text": "a", "max_tokens": 5}, {"prompt": "b"}
    )
    chat, text, prompt = read(file, Span(7, 7))
    assert chat.messages() == TURNS[:2], "what the assistant said is for the server to say"
    assert (text.text(), text.max_tokens) == ("a", 5)
    assert (prompt.messages(), prompt.max_tokens) == ([{"role": "user", "content": "b"}], 7)
    with pytest.raises(LmwrightError, match="completions"):
        chat.text()


@pytest.mark.parametrize(
    "row",
    [
        "{",
        [],
        {},
        {"text": ""},
        {"text": "a", "max_tokens": 0},
        {"messages": []},
        {"messages": ["Hi"]},
        {"messages": TURNS[2:]},
    ],
)
def test_a_row_that_asks_nothing_is_named_by_its_line(tmp_path, row):
    file = written(tmp_path, {"text": "fine"}, row)
    with pytest.raises(LmwrightError, match=r"prompts\.jsonl, line 2"):
        read(file, Span(1, 2))


def test_an_absent_or_empty_file_is_refused(tmp_path):
    with pytest.raises(LmwrightError, match="cannot be read"):
        read(tmp_path / "absent.jsonl", Span(1, 2))
    with pytest.raises(LmwrightError, match="holds no row"):
        read(written(tmp_path, "", " "), Span(1, 2))


def test_spans():
    assert Span.parse("--max-tokens", "16-256") == Span(16, 256)
    assert Span.parse("--max-tokens", "64") == Span(64, 64)
    for text in ("", "a", "9-3", "0-4", "-5"):
        with pytest.raises(LmwrightError, match="--max-tokens"):
            Span.parse("--max-tokens", text)
    draws = [Span(4, 64).draw(random.Random(seed)) for seed in range(2_000)]
    assert (min(draws), max(draws)) == (4, 64)
    short = sum(draw < 17 for draw in draws) / len(draws)
    # log(17 / 4) / log(65 / 4) = 0.519, and four standard errors around it.
    assert short == pytest.approx(0.519, abs=0.045)


def test_documentation_is_mixed_and_the_same_for_a_seed():
    found = documentation(40, Span(50, 500), Span(8, 32), seed=5)
    assert found == documentation(40, Span(50, 500), Span(8, 32), seed=5)
    assert found != documentation(40, Span(50, 500), Span(8, 32), seed=6)
    assert len({prompt.content for prompt in found}) == 40
    assert all(8 <= prompt.max_tokens <= 32 for prompt in found)
    bare = documentation(10, Span(100, 100), Span(1, 1), chat=False)
    assert all(0 < len(prompt.text()) <= 100 for prompt in bare)
    assert all(isinstance(prompt, Prompt) for prompt in bare)
