"""`lmwright serve` as a process of its own."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import httpx
import openai
import pytest
import typer
from typer.testing import CliRunner

from lmwright.core.errors import LmwrightError
from lmwright.serving import commands, options
from lmwright.serving.questions import proposed


def command(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lmwright", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        **options,
    )


def fails(*arguments: str, **options) -> str:
    """The one line that a refused command prints."""
    process = command(*arguments, **options)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2, error
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    return lines[0]


def wait_for_address(process: subprocess.Popen) -> str:
    for line in process.stdout:
        if found := re.search(r"http://\S+:\d+", line):
            return found[0]
    raise AssertionError(process.stderr.read())


def test_a_run_is_served_until_sigterm(run_folder):
    process = command(str(run_folder), "--port", "0")
    try:
        url = wait_for_address(process)
        assert httpx.get(f"{url}/health/ready").status_code == 200
        page = httpx.get(f"{url}/page/config.json").json()
        assert page["mode"] == "chat"
        assert page["questions"] == ["What does str.upper do?"]
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            stream = client.chat.completions.create(
                model="tiny-run",
                messages=[{"role": "user", "content": "Hi"}],
                max_tokens=100,
                stream=True,
            )
            next(stream)
            process.send_signal(signal.SIGTERM)
            chunks = list(stream)
        assert chunks[-1].choices[0].finish_reason in ("stop", "length"), "it was finished"
        assert process.wait(20) == 0
    finally:
        process.kill()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.mark.slow
def test_options_reach_the_engine(run_folder):
    given = ["--kv-type", "int8", "--kv-blocks", "8", "--no-prefix-caching"]
    process = command(str(run_folder), "--port", "0", *given, "--draft", "ngram")
    try:
        url = wait_for_address(process)
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["max_model_len"] == 8 * 16
        body = {"model": "tiny-run", "prompt": "What does str.upper do? " * 4, "max_tokens": 9}
        for _ in range(2):
            assert httpx.post(f"{url}/v1/completions", json=body, timeout=60).status_code == 200
        assert "lmwright:prefix_cache_hits_total{" in httpx.get(f"{url}/metrics").text
        process.terminate()
        _, log = process.communicate(timeout=20)
        assert re.search(r'"runner": "[^"]*int8[^"]*, drafts by ngram"', log)
    finally:
        process.kill()


@pytest.mark.slow
def test_ctrl_c_ends_it_with_130(run_folder):
    process = command(str(run_folder), "--port", "0")
    try:
        wait_for_address(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


def test_a_port_in_use_is_refused_before_the_model_is_read():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails("no-such-run", "--port", str(port))
    assert f"127.0.0.1:{port} is in use" in line


@pytest.mark.slow
def test_a_model_that_is_not_there_is_refused(tmp_path):
    assert "no-such-run" in fails("no-such-run", "--port", "0", cwd=tmp_path)


@pytest.mark.slow
def test_a_damaged_model_is_refused(run_folder, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(run_folder / "model", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors" in fails(str(broken), "--port", "0")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"port": 99_999}, "--port"),
        ({"host": "no.such.host.invalid"}, "--host"),
        ({"drain": "soon"}, "--drain"),
        ({"drain": "10 steps"}, "--drain"),
        ({"metrics_prefix": "a-b"}, "--metrics-prefix"),
        ({"request_timeout": "5 tokens"}, "--request-timeout"),
        ({"weights": "int3"}, "--weights"),
        ({"runner": "fast"}, "--runner"),
    ],
)
def test_an_impossible_option_is_refused(options, named):
    with pytest.raises(LmwrightError, match=named):
        commands.serve("anything", **options)


def test_the_example_of_the_help_can_be_copied():
    app = typer.Typer(rich_markup_mode=None)
    commands.register(app)
    shown = CliRunner().invoke(app, ["serve", "--help"], terminal_width=80).output
    example = shown[shown.index("curl ") : shown.index("Arguments:")]
    address, option, body = shlex.split(example)[1:]
    assert (address, option) == ("localhost:8000/v1/chat/completions", "--json")
    assert json.loads(body)["messages"] == [{"role": "user", "content": "Hi"}]


def test_the_verb_is_offered_without_loading_torch_or_the_web():
    code = (
        "import sys, lmwright.serving.commands as c, typer; c.register(typer.Typer());"
        "print(sorted({'torch', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_api_process_does_without_torch_and_the_engine_process_without_the_web():
    api = "lmwright.serving.launch, lmwright.serving.tracing, lmwright.tokens.encoding"
    for modules, foreign in ((api, "torch"), ("lmwright.serving.engine_process", "fastapi")):
        code = f"import sys, {modules}; print({foreign!r} in sys.modules)"
        arguments = [sys.executable, "-c", code]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == "False", done.stderr


def test_a_model_is_called_by_its_runs_name(run_folder, monkeypatch):
    assert options.public_name("quickstart") == "quickstart"
    assert options.public_name("owner/model") == "owner/model"
    assert options.public_name(str(run_folder)) == "tiny-run"
    assert options.public_name(str(run_folder / "model")) == "tiny-run"
    monkeypatch.chdir(run_folder)
    assert options.public_name(".") == "tiny-run"


def test_damaged_records_cost_only_the_proposals(tmp_path):
    model = tmp_path / "model"
    for number, text in enumerate(["{", "[]", '{"record": 3}', '{"record": {"samples": [1]}}']):
        step = tmp_path / "steps" / str(number)
        step.mkdir(parents=True)
        (step / "step.json").write_text(text)
    model.mkdir()
    assert proposed(model) == []


def test_the_address_that_is_printed_can_be_opened():
    for host, url in (("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://localhost:")):
        with options.bind(host, 0) as listener:
            assert options.address(listener).startswith(url)


@pytest.mark.slow
def test_startup_does_not_wait_for_the_model(run_folder):
    """Probes are answered while torch is still being imported."""
    with options.bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    process = command(str(run_folder), "--port", str(port))
    try:
        statuses = []
        for _ in range(600):
            try:
                statuses.append(httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code)
            except httpx.TransportError:
                statuses.append(0)
            if statuses[-1] == 200:
                break
            time.sleep(0.02)
        assert 503 in statuses
        assert statuses[-1] == 200
    finally:
        process.kill()
