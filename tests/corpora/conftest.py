"""What the tests of corpora share: running the step, and the real data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmwright.corpora.build import build
from lmwright.corpora.commands import BuildConfig
from lmwright.pipeline.run import StepRun
from tests.real_data import real_data_folder

Rows = list[dict[str, Any]]


@pytest.fixture
def corpus_of(tmp_path: Path) -> Callable[..., StepRun]:
    """Builds a corpus from config keys in a fresh folder."""

    def run(name: str = "corpus", **keys: Any) -> StepRun:
        step = StepRun.standalone(tmp_path / name)
        build(BuildConfig(**keys), step)
        return step

    return run


@pytest.fixture
def real_data() -> Path:
    """The folder of real data; its absence is a failure on CI and a skip elsewhere."""
    return real_data_folder()


def rows(step: StepRun, file: str) -> Rows:
    """The rows of one JSONL file of a built corpus."""
    lines = (step.output / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
