"""All labs' solutions at once train, align, quantise, chat and serve the small quickstart."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.cases import SMALL, lmwright

pytestmark = pytest.mark.slow

SOLUTIONS = Path(__file__).parents[1] / "roadmap" / "solutions"
USE = ("--use", "mine", "--unchecked")
CALLED = (
    *("adamw", "attention", "block", "bpe", "cross_entropy", "dpo", "int8", "kv_cache", "norms"),
    *("packing", "qa_metrics", "rope", "sampler", "scheduler"),
)
"""What a quickstart cannot do without; the other labs' parts belong to other recipes."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of runs, after a quickstart whose first training was compiled."""
    folder = tmp_path_factory.mktemp("learner")
    (folder / "mine").mkdir()
    for solution in SOLUTIONS.glob("*/first.py"):
        shutil.copy(solution, folder / "mine" / f"{solution.parent.name}.py")
    before = os.getcwd()
    os.chdir(folder)
    try:
        done = lmwright("run", "quickstart", *SMALL, "base.compile=on", *USE, runs=folder / "runs")
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder / "runs"
    finally:
        os.chdir(before)


def test_every_part_that_the_recipe_needs_is_called(finished):
    folder = finished / "quickstart"
    summary = json.loads((folder / "summary.json").read_text())
    assert [name for name in CALLED if not summary[f"calls_{name}"]] == []
    assert set(CALLED).isdisjoint(summary["unused_parts"].split(", "))
    assert set(CALLED) < set(summary["unchecked_parts"].split(", "))


def test_every_step_that_runs_the_model_calls_its_attention(finished):
    folder = finished / "quickstart"
    steps = {
        file.parent.name: json.loads(file.read_text())["calls"]["attention"]
        for file in (folder / "steps").glob("*/step.json")
    }
    assert steps["corpus"] == steps["tokenizer"] == steps["text"] == 0
    # Two layers, each called at least once for each optimiser step; the first of them compiled.
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("base", "chat", "aligned"):
        last = max(line["step"] for line in metrics if line["phase"] == name)
        assert steps[name] >= 2 * last, name
    assert steps["evaluation"] > 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["calls_attention"] == sum(steps.values())


def test_the_command_again_keeps_everything(finished):
    again = lmwright("run", "quickstart", *SMALL, "base.compile=on", *USE, runs=finished)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(": kept, ") == 9


def test_the_chat_runs_with_them_and_says_the_same(finished):
    # Few tokens: rounding may decide between two that are equally likely.
    question = ("chat", "quickstart", "--prompt", "What does str.upper do?", "--max-tokens", "4")
    mine = lmwright(*question, *USE, runs=finished)
    production = lmwright(*question, runs=finished)
    assert mine.returncode == production.returncode == 0, mine.stderr
    assert mine.stdout == production.stdout
    assert re.search(r"^calls of your attention: [1-9][\d,]*$", mine.stderr, re.MULTILINE)


def test_the_server_answers_with_them_and_counts_in_both_processes(finished):
    process = subprocess.Popen(
        [sys.executable, "-m", "lmwright", "serve", "quickstart", "--port", "0", *USE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LMWRIGHT_RUNS": str(finished), "OMP_NUM_THREADS": "1"},
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"Chat at (http://\S+:\d+)", line):
                break
        assert "With your attention: mine/attention.py (unchecked)\n" in said
        chat = {
            "model": "quickstart",
            "messages": [{"role": "user", "content": "What does str.upper do?"}],
            "max_tokens": 8,
            "temperature": 1.0,
            "ignore_eos": True,
            "stream": True,
        }
        answer = httpx.post(f"{found[1]}/v1/chat/completions", json=chat, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.text.endswith("data: [DONE]\n\n")
        # Two layers, a pass over the prompt and one for each further token.
        least = {"attention": 16, "rope": 32, "norms": 40, "sampler": 8, "scheduler": 8}
        least |= {"kv_cache": 1, "sse_api": 1}  # the last one in the API's own process
        deadline = time.monotonic() + 30
        while not _reached(httpx.get(f"{found[1]}/metrics").text, least):
            assert time.monotonic() < deadline, httpx.get(f"{found[1]}/metrics").text
            time.sleep(0.2)
    finally:
        process.terminate()
        _, log = process.communicate(timeout=30)
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    files = {event["part"]: event["file"] for event in events if event["event"] == "part"}
    assert files["attention"] == "mine/attention.py"


def _reached(metrics, least):
    pattern = r'^lmwright:part_calls_total{model_name="quickstart",part="(\w+)"} (\S+)$'
    calls = {name: float(count) for name, count in re.findall(pattern, metrics, re.MULTILINE)}
    return all(calls[name] >= count for name, count in least.items())
