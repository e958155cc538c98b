import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
import torch

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.conversation import Conversation
from lmwright.engine.llm import LLM
from lmwright.engine.sampling import SamplingParams
from lmwright.engine.terminal import printable

QUESTION = "What does str.upper do?"
CHAT = (
    "import typer; from lmwright.engine import commands; app = typer.Typer(); "
    "app.callback()(lambda: None); commands.register(app); app()"
)


def chat_command(folder, *options):
    return [sys.executable, "-c", CHAT, "chat", str(folder), *options]


def run_chat(folder, *options, **kwargs):
    # Plain subprocess: what a script sees, torch import and all.
    return subprocess.run(
        chat_command(folder, *options), capture_output=True, text=True, timeout=120, **kwargs
    )


class Terminal:
    """A process on a pseudo-terminal, and everything it has written."""

    def __init__(self, command):
        self.process, self._file = pty.fork()
        if self.process == 0:
            os.execvpe(command[0], command, os.environ | {"TERM": "xterm", "OMP_NUM_THREADS": "1"})
        self.seen = ""

    def type(self, text):
        os.write(self._file, text.encode())

    def wait_for(self, pattern, seconds=60):
        """Read until the pattern appears in what was not matched before."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._file], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} did not come; on the screen: {self.seen!r}"
            try:
                self.seen += os.read(self._file, 4096).decode(errors="replace")
            except OSError as error:  # Linux tells the end of a pseudo-terminal this way
                raise AssertionError(f"ended before {pattern!r}: {self.seen!r}") from error
        self.seen = self.seen[match.end() :]
        return match

    def exit_code(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.process, os.WNOHANG)
            if pid:
                os.close(self._file)
                return os.waitstatus_to_exitcode(status)
            if select.select([self._file], [], [], 0.05)[0]:
                try:
                    # A full terminal would block its writer.
                    self.seen += os.read(self._file, 4096).decode(errors="replace")
                except OSError:
                    continue
        os.kill(self.process, signal.SIGKILL)
        raise AssertionError(f"still running; on the screen: {self.seen[-500:]!r}")


@pytest.fixture(scope="session")
def endless_folder(tiny_model, tokenizer, tmp_path_factory):
    """A model that never ends its answer by itself, with room for a very long one."""
    folder = tmp_path_factory.mktemp("models") / "endless"
    model = tiny_model(seed=0, max_position_embeddings=100_000, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight[: 3 + 32] = 0.0  # neither special tokens nor control characters
    models.save(model, folder, tokenizer=tokenizer)
    return folder


@pytest.mark.slow
def test_a_conversation_in_a_terminal(endless_folder):
    terminal = Terminal(chat_command(endless_folder, "--max-tokens", "20000"))
    terminal.wait_for("/reset starts afresh")
    terminal.wait_for("> ")
    terminal.type(QUESTION + "\n")
    terminal.wait_for(re.escape(QUESTION))
    terminal.wait_for(r"\S{3}")  # the answer has begun
    terminal.type("\x03")
    terminal.wait_for(r"\(stopped\)")
    terminal.wait_for("> ")
    terminal.type("/reset\n")
    terminal.wait_for("starts afresh")
    terminal.type("/nonsense\n")
    terminal.wait_for("/nonsense is not a command")
    terminal.type("/quit\n")
    assert terminal.exit_code() == 0


@pytest.mark.slow
def test_control_c_twice_leaves(endless_folder):
    terminal = Terminal(chat_command(endless_folder, "--max-tokens", "20000"))
    terminal.wait_for("> ")
    terminal.type(QUESTION + "\n")
    terminal.wait_for(r"do\?\s+\S{3}")
    terminal.type("\x03")
    terminal.wait_for(r"\(stopped\)")
    terminal.wait_for("> ")
    # readline shows its prompt a moment before it waits for keys; a signal in between is seen only
    # with the next key (CPython's readline_until_enter_or_signal).
    time.sleep(0.5)
    terminal.type("\x03")
    assert terminal.exit_code() == 0


@pytest.mark.slow
def test_scripts_get_the_answer_and_nothing_else(model_folder, tokenizer):
    llm = LLM(model_folder)
    params = SamplingParams(max_tokens=20)
    expected = llm.chat([[{"role": "user", "content": QUESTION}]], params)[0]

    plain = run_chat(model_folder, "--prompt", QUESTION, "--max-tokens", "20")
    as_json = run_chat(model_folder, "--prompt", QUESTION, "--max-tokens", "20", "--json")

    assert plain.returncode == 0
    assert plain.stdout == expected.text + "\n"
    assert json.loads(as_json.stdout) == {
        "text": expected.text,
        "prompt_tokens": len(tokenizer.encode_chat([{"role": "user", "content": QUESTION}])),
        "completion_tokens": len(expected.token_ids),
        "finish_reason": expected.finish_reason,
    }


@pytest.mark.slow
def test_questions_may_come_from_a_pipe(model_folder):
    asked = run_chat(model_folder, "--max-tokens", "5", input=f"{QUESTION}\n/reset\n{QUESTION}\n")
    assert asked.returncode == 0
    assert ">" not in asked.stdout.splitlines()[0][:1]
    assert "starts afresh" in asked.stdout


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(endless_folder):
    command = chat_command(endless_folder, "--prompt", QUESTION, "--max-tokens", "3000")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(3)
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


@pytest.mark.slow
def test_a_model_without_a_chat_template_continues_the_text_and_says_so(model_folder, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for file in model_folder.iterdir():
        if file.name != "chat_template.jinja":
            (base / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    expected = LLM(base).generate([QUESTION], SamplingParams(max_tokens=9))[0].text

    asked = run_chat(base, "--prompt", QUESTION, "--max-tokens", "9")

    assert asked.stdout == expected + "\n"
    assert asked.stderr.count("no chat template") == 1


def test_turns_are_remembered_and_the_earliest_forgotten_when_they_no_longer_fit(llm):
    conversation = Conversation(llm, SamplingParams(max_tokens=4))
    forgotten = 0
    for number in range(12):
        question = f"q{number}"
        forgotten += conversation.make_room(question)
        assert len(conversation.encode(question)) + 4 <= llm.context_length
        list(conversation.ask(question))
        assert conversation.turns[-2] == {"role": "user", "content": question}
    assert forgotten > 0
    assert len(conversation.turns) == 2 * (12 - forgotten)
    conversation.reset()
    assert conversation.turns == []


def test_an_answer_that_was_stopped_is_remembered_as_far_as_it_went(llm):
    conversation = Conversation(llm, SamplingParams(max_tokens=30, ignore_eos=True))
    answer = conversation.ask("q")
    said = next(answer).text + next(answer).text
    answer.close()
    assert conversation.turns[-1] == {"role": "assistant", "content": said}


def test_a_question_that_is_too_long_is_refused_and_not_remembered(llm):
    conversation = Conversation(llm, SamplingParams(max_tokens=4))
    list(conversation.ask("q"))
    assert conversation.make_room("word " * 200) == 0
    with pytest.raises(LmwrightError, match="max_position_embeddings"):
        conversation.ask("word " * 200)
    assert len(conversation.turns) == 2


def test_an_answer_cannot_rewrite_the_terminal():
    assert printable("a\x1b[2Jb\r\x07\tc\n\x9b1md") == "a[2Jb\tc\n1md"
