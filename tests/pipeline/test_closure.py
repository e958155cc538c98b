"""Which source a step's result depends on."""

import hashlib
import itertools

import pytest

from lmwright.pipeline.closure import code_digests, module_file

_numbers = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes a package of modules and gives its name, new each time."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**modules):
        name = f"closurepackage{next(_numbers)}"
        for path, text in {"__init__": "", **modules}.items():
            file = tmp_path / name / (path.replace("__dot__", ".").replace("__slash__", "/"))
            if "." not in file.name:
                file = file.with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("PACKAGE", name))
        return name

    return write


def modules(name, start):
    return {n.removeprefix(f"{name}.") for n in code_digests(f"{name}.{start}")}


def test_imports_are_followed_also_inside_functions(package):
    name = package(
        start="import PACKAGE.first\ndef f():\n    from PACKAGE import second\n",
        first="from PACKAGE.third import thing\n",
        second="",
        third="thing = 1\n",
        unrelated="",
    )
    assert modules(name, "start") == {name, "start", "first", "second", "third"}


def test_relative_imports_and_packages(package):
    name = package(
        a__slash____init__="from . import b\n",
        a__slash__b="from ..c import x\nfrom .d import y\n",
        a__slash__d="",
        c="",
        start="from .a import anything\n",
    )
    assert modules(name, "start") == {name, "start", "a", "a.b", "a.d", "c"}


def test_type_checking_imports_do_not_count(package):
    name = package(
        start="from typing import TYPE_CHECKING\nimport typing\n"
        "if TYPE_CHECKING:\n    from PACKAGE import first\nelse:\n    from PACKAGE import second\n"
        "if typing.TYPE_CHECKING:\n    import PACKAGE.third\n",
        first="",
        second="",
        third="",
    )
    assert modules(name, "start") == {name, "start", "second"}


def test_circles_end(package):
    name = package(start="import PACKAGE.other\n", other="import PACKAGE.start\n")
    assert modules(name, "start") == {name, "start", "other"}


def test_data_files_count_when_named(package):
    name = package(
        start="TEXT = open('words.txt').read()\n",
        data__slash__words__dot__txt="one",
        data__slash__unused__dot__txt="two",
    )
    digests = code_digests(f"{name}.start")
    assert digests["words.txt"] == hashlib.sha256(b"one").hexdigest()
    assert "unused.txt" not in digests


def test_an_edit_changes_only_its_own_digest(package, tmp_path):
    name = package(start="from PACKAGE import first\n", first="x = 1\n", other="y = 1\n")
    before = code_digests(f"{name}.start")
    (tmp_path / name / "other.py").write_text("y = 2\n")
    assert code_digests(f"{name}.start") == before
    (tmp_path / name / "first.py").write_text("x = 22\n")
    after = code_digests(f"{name}.start")
    assert {key for key in after if after[key] != before[key]} == {f"{name}.first"}


def test_the_pipeline_does_not_count_in_a_step_of_lmwright():
    assert module_file("lmwright.core.files").name == "files.py"
    digests = code_digests("lmwright")  # what every step imports, by being inside the package
    assert list(digests) == ["lmwright"]
