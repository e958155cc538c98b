"""The whole quickstart made small: every step real, seconds instead of minutes."""

import os
import subprocess
import sys
from pathlib import Path

SMALL = (
    "budget=70s",
    "corpus.names=150",
    "corpus.text_characters=60000",
    "corpus.chats=900",
    "corpus.preference_pairs=120",
    "corpus.validation_questions=12",
    "corpus.made_up_test_questions=12",
    "tokenizer.vocab_size=400",
    *(f"{step}.compile=off" for step in ("base", "chat", "aligned")),
    *(
        f"base.{key}={value}"
        for key, value in {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "intermediate_size": 128,
        }.items()
    ),
    *(f"{step}.batch_tokens=1024" for step in ("base", "chat")),
    "aligned.prompts=24",
    "evaluation.base_questions=10",
)
"""Overrides that keep every step and shrink it."""


def lmwright(
    *arguments: str, runs: Path, driver: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, on one thread, with its own folder of runs.

    Args:
        arguments: of the command line.
        runs: becomes LMWRIGHT_RUNS.
        driver: Python code run before the command, in its process.
        environment: more variables.
    """
    code = f"{driver or ''}\nfrom lmwright.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ
        | {"LMWRIGHT_RUNS": str(runs), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
