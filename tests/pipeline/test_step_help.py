"""The help of a step: every key with its meaning, and an example that the step accepts."""

import sys

import pytest

from lmwright import cli
from lmwright.core.config import Config
from lmwright.core.duration import Duration
from lmwright.pipeline.catalog import find_step_type, step_type_names
from lmwright.pipeline.step import StepType
from lmwright.pipeline.step_help import example, keys, step_help


class Learn(Config):
    """Learn | something."""

    path: str
    """Where it lies."""
    budget: Duration | None = None
    """How long."""
    careful: bool = False
    """Whether it
    minds."""


LEARN = StepType(
    name="mine.learn",
    config=Learn,
    function="mine:learn",
    inputs={"corpus": "corpus", "model": "model"},
    optional=frozenset({"model"}),
    output="model",
)


def test_help_tells_types_defaults_inputs_and_what_is_required():
    said = step_help(LEARN)
    assert "path (text; required)\n      Where it lies." in said
    assert "careful (true or false; default false)\n      Whether it minds." in said
    assert "budget (time, steps or tokens)\n" in said
    assert "input.corpus: corpus\n  input.model: model, optional\n" in said
    assert "Gives: model." in said


def test_the_example_has_what_must_be_given():
    assert example(LEARN) == "lmwright run mine.learn input.corpus=FOLDER path=... budget=2m"


def lines_of_help(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["lmwright", "run", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr()
    return caught.value.code, said.out, said.err


def test_run_with_help_lists_a_recipes_steps(monkeypatch, capsys):
    code, out, _ = lines_of_help(monkeypatch, capsys, "--help", "quickstart")
    assert not code
    assert "lmwright run quickstart budget=2m" in out
    assert "  tokenizer   tokens.train\n" in out
    assert "corpus.KEY=VALUE; lmwright run corpora.build --help" in out


def test_help_for_what_does_not_exist_names_the_nearest(monkeypatch, capsys):
    code, _, err = lines_of_help(monkeypatch, capsys, "training.pretrian", "--help")
    assert code == 2
    assert "did you mean training.pretrain?" in err


@pytest.mark.parametrize("name", step_type_names())
def test_run_with_help_tells_every_key_of_every_step(name, monkeypatch, capsys):
    code, said, _ = lines_of_help(monkeypatch, capsys, name, "--help")
    assert not code
    assert f"lmwright run {name}" in said
    assert max(map(len, said.splitlines())) < 120
    for key in keys(find_step_type(name).config):
        assert f"\n  {key.name} (" in said
        assert key.meaning, f"{name}: the key {key.name} has no meaning"
