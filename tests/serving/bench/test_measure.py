"""Whole load tests against our own server, and the command."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lmwright.core.errors import LmwrightError
from lmwright.serving.bench.load import Load
from lmwright.serving.bench.measure import measure
from lmwright.serving.bench.outcomes import Targets
from lmwright.serving.bench.prompts import Prompt
from tests.serving.bench.apps import command_line

PROMPTS = [Prompt(f"question {i}", 3 + i % 3) for i in range(9)]


def test_a_load_on_our_own_server(serve, scripted):
    live = serve(scripted(script=["a ", "b ", "c ", "d "], max_sequences=4))
    targets = Targets(time_to_first_token=30.0, latency=30.0)
    measured = measure(live.url, PROMPTS, Load(clients=4, requests=24), warm_up=3, targets=targets)
    found = measured.summary()
    assert measured.errors == {}
    assert found["finished_requests"] == 24
    assert found["goodput_share"] == 1.0
    # Answers of 3, 4 and 5 (four words and the end token) tokens, eight of each.
    assert sum(one.completion_tokens for one in measured.outcomes) == 8 * (3 + 4 + 5)
    assert found["output_tokens_per_second"] == pytest.approx(96 / found["seconds"], rel=1e-6)
    assert found["prompt_tokens"] > 0
    assert measured.settings["model"] == "tiny"
    assert len(live.engine.seen) == 24 + 3


def test_completions_at_random_arrivals(serve, scripted):
    live = serve(scripted())
    load = Load(rate=200.0, requests=20)
    measured = measure(live.url, PROMPTS, load, api="completions", model="tiny", warm_up=0)
    assert measured.errors == {}
    assert measured.summary()["finished_requests"] == 20


def test_an_overloaded_server_shows_its_refusals(serve, scripted):
    from lmwright.serving.limits import Limits

    live = serve(
        scripted(script=["w"] * 50, seconds=0.02, max_sequences=1),
        limits=Limits(waiting_requests=1),
    )
    measured = measure(live.url, PROMPTS, Load(clients=6, seconds=0.6), warm_up=0)
    (kind,) = measured.errors
    assert kind.startswith("HTTP 429")
    assert measured.summary()["failed_requests"] > 0


def test_a_warm_up_that_fails_says_why(serve, scripted):
    live = serve(scripted())
    with pytest.raises(LmwrightError, match="HTTP 404"):
        measure(live.url, PROMPTS, Load(requests=5), model="nobody")


@pytest.mark.parametrize(
    "load",
    [
        Load(),
        Load(clients=0, requests=1),
        Load(requests=0),
        Load(rate=0.0, requests=1),
        Load(seconds=float("nan")),
    ],
)
def test_a_load_that_is_none_is_refused(load):
    with pytest.raises(LmwrightError):
        measure("http://127.0.0.1:1", PROMPTS, load)


def test_conversations_do_not_go_to_the_completions_api():
    chat = Prompt(({"role": "user", "content": "Hi"},), 3)
    with pytest.raises(LmwrightError, match="completions API"):
        measure("http://127.0.0.1:1", [chat], Load(requests=1), api="completions")


def test_the_command_prints_and_writes(serve, scripted, tmp_path):
    live = serve(scripted(max_sequences=8))
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"text": "Hi"}\n{"messages": [{"role": "user", "content": "Hello"}]}\n')
    output = tmp_path / "out"
    arguments = ["bench", "serve", live.url, "--requests", "12", "--clients", "3"]
    arguments += ["--prompts", str(file), "--output", str(output), "--max-tokens", "4"]
    done = CliRunner().invoke(
        command_line(), [*arguments, "--target-ttft", "20s", "--target-itl", "20s"]
    )
    assert done.exit_code == 0, done.output
    assert "12 finished, 0 failed" in done.output
    assert "goodput" in done.output
    assert "(100.0% of requests)" in done.output
    record = json.loads((output / "results.json").read_text())
    assert record["summary"]["finished_requests"] == 12
    assert len(record["requests"]) == 12
    assert (output / "latency.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "options",
    [
        ["--api", "voice"],
        ["--duration", "10 steps"],
        ["--target-ttft", "soon"],
        ["--max-tokens", "9-3"],
        ["--prompts", "absent.jsonl"],
    ],
)
def test_an_impossible_option_is_refused(options):
    done = CliRunner().invoke(command_line(), ["bench", "serve", "http://127.0.0.1:1", *options])
    assert isinstance(done.exception, LmwrightError), done.output
    assert options[0] in str(done.exception)


def test_the_verb_is_offered_without_anything_heavy():
    code = (
        "import sys, typer, lmwright.serving.bench.commands as c; c.register(typer.Typer());"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'h11', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
