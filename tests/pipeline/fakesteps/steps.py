import errno
import hashlib
import json
import time
from typing import TYPE_CHECKING

from fakesteps.arithmetic import advance
from lmwright.core.errors import CheckFailed, LmwrightError
from lmwright.core.files import write_json

if TYPE_CHECKING:
    from fakesteps import evaluation  # noqa: F401 (must not count in the fingerprint)


def corpus(config, run):
    words = "builtin " * config.words
    if config.path != "builtin":
        with open(config.path) as file:
            words = file.read()
    (run.output / "text.txt").write_text(words)
    write_json(run.output / "corpus.json", {"kinds": config.kinds})
    run.summarize(documented_names=config.words)


def compare(config, run, *, corpus, **models):
    assert (corpus / "corpus.json").exists()
    write_json(run.output / "evaluation.json", {})
    run.summarize(compared=" ".join(sorted(n for n, path in models.items() if path.is_dir())))


def train(config, run, *, corpus, start):
    """Each step hashes the state: any lost, repeated or different step shows in the result."""
    state, first = hashlib.sha256((corpus / "text.txt").read_bytes()).hexdigest(), 1
    run.note("no C++ compiler works here: training runs eager")
    length = run.decide("length", lambda: config.steps)
    checkpoint = run.work / "checkpoint.json"
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text())
        state, first = saved["state"], saved["step"] + 1
        run.rewind(saved["step"])
        run.note(f"resumed at step {saved['step']}")
    with run.progress("training", length) as task:
        for step in range(first, length + 1):
            state = advance(state, config.learning_rate)
            time.sleep(config.pause)
            run.log({"loss": 3.0 / step, "tokens_per_second": 1000.0}, step=step)
            write_json(checkpoint, {"state": state, "step": step})
            task.advance(loss=3.0 / step)
    (run.output / "weights.txt").write_text(state)
    run.summarize(final_loss=3.0 / length, planned_seconds=run.seconds)
    if config.plot:
        run.series("Loss & more (nats)", x="step", y=["loss", "never_logged"])


def align(config, run, *, corpus, model):
    (run.output / "weights.txt").write_text((model / "weights.txt").read_text() + "!")


def fail(config, run, *, corpus):
    (run.output / "half.txt").write_text("half")
    run.log({"loss": 1.0}, step=1)
    run.summarize(half=1)
    raise {
        "bug": ValueError("what a\nsurprise"),
        "input": LmwrightError("the file is empty", hint="give one with text"),
        "check": CheckFailed("the weights did not change"),
        "interrupt": KeyboardInterrupt(),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "wrapped disk": RuntimeError("I/O error: No space left on device (os error 28)"),
    }[config.how]
