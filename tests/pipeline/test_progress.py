"""What a person sees while a step runs."""

import io

import pytest
from rich.console import Console

from lmwright.pipeline import progress
from lmwright.pipeline.progress import Printed, number, seconds, shown_values, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4249, "0.42 s"), (12.34, "12.3 s"), (185, "3m05s"), (3600, "1h00m"), (59.99, "60.0 s")],
)
def test_seconds(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (2_100_000, "2.1 MB"), (3e13, "30.0 TB")]
)
def test_sizes(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "True"),
        (2132, "2,132"),
        (2621440.0, "2,621,440"),
        (0.97, "0.97"),
        (1e-5, "1e-05"),
        (0.0, "0"),
        ("0.97 [0.95, 0.98]", "0.97 [0.95, 0.98]"),
        (12345.6, "12,346"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_shown_values():
    assert shown_values({"loss": 2.13456, "speed": "9k tokens/s"}) == (
        "loss 2.135, speed 9k tokens/s"
    )


def printed(terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, highlight=False)
    return Printed(console), stream


def test_away_from_a_terminal_lines_are_rare_and_plain(monkeypatch):
    display, stream = printed(terminal=False)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with display.task("training", 100) as task:
        for _ in range(100):
            now[0] += 0.25
            task.advance(loss=2.5)
    lines = stream.getvalue().splitlines()
    assert [line.strip() for line in lines] == [
        "training 40/100 (40 %), loss 2.5, 10.0 s",
        "training 80/100 (80 %), loss 2.5, 20.0 s",
        "training 100/100 (100 %), loss 2.5, 25.0 s",
    ]


def test_a_short_task_says_nothing_away_from_a_terminal():
    display, stream = printed(terminal=False)
    with display.task("reading", None) as task:
        task.advance()
    assert stream.getvalue() == ""


def test_bars_on_a_terminal_nest_and_end_also_on_errors():
    display, stream = printed(terminal=True)

    def fail_within():
        with display.task("outer", 2) as outer, display.task("inner [1/2]", None) as inner:
            inner.advance(3, speed="9k tokens/s")
            outer.advance()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail_within()
    with display.task("again", 1) as task:
        task.advance()
    assert "outer" in stream.getvalue()
    assert "again" in stream.getvalue()


def test_brackets_of_a_text_are_no_markup():
    display, stream = printed(terminal=False)
    display.line("[1/7] corpus [red]")
    display.table("t [x]", ["a [y]"], [["b [z]"], [3]])
    for text in ("[1/7] corpus [red]", "t [x]", "a [y]", "b [z]"):
        assert text in stream.getvalue()
