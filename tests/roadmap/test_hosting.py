"""Whatever a learner's code does, its message is clear and this process lives on."""

import os
import time
from pathlib import Path

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.checking import Verdict
from lmwright.roadmap.hosting import (
    Hosted,
    LearnerFile,
    Limits,
    check_file,
    forbidden,
    hosted,
    load,
    prepare,
)
from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.properties import Forbidden

SMALL = Limits(seconds=20.0, memory_bytes=1_000_000_000, output_bytes=20_000)


@pytest.fixture(scope="module")
def lab():
    found = find_lab("attention")
    prepare(found)
    return found


@pytest.fixture
def checked(lab, tmp_path):
    """Check a text as a learner's file."""

    def checked(text: str, limits: Limits = SMALL) -> Hosted:
        path = tmp_path / "attention.py"
        path.write_text(text)
        return check_file(lab, LearnerFile.read(path), 7, limits=limits)

    return checked


def failure(found: Hosted):
    assert found.problem == ""
    first = Verdict.from_json(found.value).failure
    assert first is not None
    return first


HEAD = "import torch\n\n\ndef attend(q, k, v, rule):\n    "


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return q.numpy()", "stay in torch"),
        ("q.zero_()\n    return q", "changed its argument number 1"),
        ("return 1 / 0", "it raised ZeroDivisionError"),
        ("return", "NoneType"),
        ("x = []\n    while True:\n        x.append(bytearray(10**8))", "more memory"),
        ("return torch.zeros(10**10)", "more memory"),
        ("print('x' * 10**7)\n    return q", "printed more"),
        (
            "import torch.nn.functional as F\n    return F.scaled_dot_product_attention(q, k, v)",
            "asks you to write",
        ),
        (
            "import lmwright.models.layers.attention as a\n    return a.attend(q, k, v, rule)",
            "asks you to write",
        ),
        ("return attend(q, k, v, rule)", "it raised RecursionError"),
    ],
    ids=[
        "numpy",
        "writes",
        "raises",
        "nothing",
        "memory",
        "tensors",
        "prints",
        "fused",
        "itself",
        "recursion",
    ],
)
def test_what_it_does_is_told_as_a_failure_of_the_first_property(checked, body, says):
    assert says in failure(checked(HEAD + body)).message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "raise SystemExit", "it called exit()"),
        (HEAD + "import os\n    os._exit(3)", "it ended the process"),
        (HEAD + "import os\n    os.kill(os.getpid(), 15)", "died of signal 15"),
        ("import sys\nsys.exit(0)", "it called exit()"),
        ("x = (", "line 1: '(' was never closed"),
        ("\nimport nothing_of_this_name", "line 2: ModuleNotFoundError"),
        ("def atend(q):\n    pass", "defines no attend"),
        ("print('x' * 10**7)", "File too large"),
    ],
    ids=[
        "exits",
        "leaves",
        "killed",
        "exits early",
        "syntax",
        "import",
        "misspelt",
        "prints early",
    ],
)
def test_what_ends_it_is_told_as_a_problem(checked, text, says):
    found = checked(text)
    assert says in found.problem
    assert found.value is None


def test_a_loop_without_end_is_ended(checked):
    found = checked(HEAD + "while True:\n        pass", Limits(seconds=0.3))
    assert "did not end within" in found.problem


def test_the_line_of_an_error_is_the_learners(checked, tmp_path):
    text = HEAD + "return helper(q)\n\n\ndef helper(q):\n    return q.no_such_thing()\n"
    assert failure(checked(text)).line == f"{tmp_path / 'attention.py'}:9"


def test_a_production_part_taken_at_import_is_refused(checked):
    found = checked("from lmwright.models.layers.attention import attend")
    assert "asks you to write" in failure(found).message


def test_what_it_prints_is_kept(checked):
    found = checked(HEAD + "print('shape', tuple(q.shape))\n    return 1 / 0")
    assert found.printed.startswith("shape (")


def test_production_stands_again_afterwards(lab):
    before = lab.production()
    with forbidden(lab), pytest.raises(Forbidden):
        lab.production()(None, None, None, None)
    assert lab.production() is before


def test_a_forbidden_class_remains_a_class(lab):
    target = "lmwright.models.layers.attention:Attention"
    with forbidden(lab.model_copy(update={"target": target})):
        from lmwright.models.layers import attention

        assert not isinstance(3, attention.Attention)
        with pytest.raises(Forbidden):
            attention.Attention(None, 0)


def test_work_gives_its_result_or_its_error():
    assert hosted(lambda: {"a": [1, 2]}).value == {"a": [1, 2]}

    def refuses():
        raise LmwrightError("not so")

    assert hosted(refuses).problem == "not so"

    def breaks():
        raise RuntimeError("of the lab")

    assert "RuntimeError: of the lab" in hosted(breaks).problem


def test_what_it_started_ends_with_it(tmp_path):
    note = tmp_path / "pid"

    def leaves_a_child():
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        note.write_text(str(child))
        while True:
            pass

    hosted(leaves_a_child, seconds=0.3)
    assert ended(int(note.read_text()))


def ended(number: int) -> bool:
    """Whether a process is gone, or dead and only not waited for, within five seconds."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            try:
                os.kill(number, 0)
            except ProcessLookupError:
                return True
            state = "?"
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(LmwrightError, match="No such file") as error:
        LearnerFile.read(tmp_path / "attention.py")
    assert "lmwright lab start attention" in str(error.value.hint)


def test_a_file_is_loaded_under_its_folders_name(tmp_path):
    path = tmp_path / "mine" / "thing.py"
    path.parent.mkdir()
    path.write_text("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 3\n")
    module = load(LearnerFile.read(path))
    assert module.A().x == 3
    assert module.A.__module__ == "mine.thing"
