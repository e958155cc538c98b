"""The fake room `fakesteps`, a recipe of its steps, and ways to run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

RECIPE = """\
description: a tiny recipe
steps:
  - name: corpus
    step: fakesteps.corpus
  - name: base
    step: fakesteps.train
    share: 3
  - name: aligned
    step: fakesteps.align
    share: 1
    inputs: {model: base}
  - name: evaluation
    step: fakesteps.evaluate
    reserve: 2s
final: [aligned, base]
"""


@pytest.fixture(autouse=True)
def fake_room(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def runs():
    return Path(os.environ["LMWRIGHT_RUNS"])


@pytest.fixture
def recipe(tmp_path):
    """A function that writes a recipe (the tiny one by default) and gives its path."""

    def write(text=RECIPE, name="tiny"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def command():
    """A function that starts `lmwright ...` in a process of its own."""

    def start(*arguments, rooms=HERE, **options):
        paths = [str(rooms), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, "-m", "lmwright", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start
