"""What holds for the repository as a whole: sizes, annotations, light imports, a whole wheel."""

import ast
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmwright.cli import make_app
from lmwright.engine.native.build import find_compiler
from lmwright.pipeline.catalog import step_type_names
from lmwright.pipeline.recipe import recipe_names

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "lmwright"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

LONGEST_MODULE = 500  # lines; a module fits in a sitting
LONGEST_OF_NINE_IN_TEN = 40  # lines; a function fits on a screen
HEAVY = ("torch", "transformers", "sklearn", "matplotlib", "fastapi", "tokenizers", "uvicorn")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(module: Path) -> list[Function]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def public_functions(node: ast.Module | ast.ClassDef) -> Iterator[Function]:
    """Functions of a module, and methods of its classes, whose names do not start with `_`."""
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child)
        elif isinstance(child, Function) and not child.name.startswith("_"):
            yield child


def test_no_module_is_longer_than_a_sitting():
    sizes = {name(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {module: size for module, size in sizes.items() if size > LONGEST_MODULE} == {}


def test_nine_functions_in_ten_fit_on_a_screen():
    sizes = [(f.end_lineno or 0) - f.lineno + 1 for module in MODULES for f in functions(module)]
    assert statistics.quantiles(sizes, n=10)[-1] <= LONGEST_OF_NINE_IN_TEN


def test_every_module_says_what_it_is_for():
    silent = [m for m in MODULES if not ast.get_docstring(ast.parse(m.read_text()))]
    assert [name(module) for module in silent] == []


def test_every_public_function_is_annotated():
    bare = []
    for module in MODULES:
        for function in public_functions(ast.parse(module.read_text(encoding="utf-8"))):
            arguments = function.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
            missing = [a.arg for a in named if not a.annotation and a.arg not in ("self", "cls")]
            if missing or function.returns is None:
                bare.append(f"{name(module)}:{function.lineno} {function.name} {missing}")
    assert bare == []


def test_every_public_function_of_a_module_says_what_it_does():
    # A lab's cases, observations and mutants stand in tables that say what each is for.
    silent = [
        f"{name(module)}:{function.lineno} {function.name}"
        for module in MODULES
        if "labs" not in module.parts
        for function in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(function, Function)
        and not function.name.startswith("_")
        and not ast.get_docstring(function)
    ]
    assert silent == []


def loaded_by(code: str) -> list[str]:
    """The heavy modules that a fresh interpreter has loaded after `code`."""
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_every_room_and_its_commands_stays_light():
    modules = [f"lmwright.{room}" for room in ROOMS]
    modules += [f"{room}.commands" for room in modules if has_commands(room)]
    assert loaded_by("import lmwright, " + ", ".join(modules)) == []


def has_commands(room: str) -> bool:
    return (PACKAGE / room.removeprefix("lmwright.") / "commands.py").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["run", "quickstart", "--dry-run"], ["roadmap"]],
    ids=" ".join,
)
def test_what_needs_no_model_loads_no_torch(arguments):
    code = (
        "import sys\n"
        "from lmwright.cli import main\n"
        f"sys.argv = ['lmwright', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
    )
    assert loaded_by(code) == []


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "recipes"])
def test_the_layer_contract_lists_every_room(room):
    assert f'"lmwright.{room}",' in (REPOSITORY / "pyproject.toml").read_text()


PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_a_page_names_only_commands_and_files_that_exist(page):
    text = page.read_text(encoding="utf-8")
    groups = verb_groups()
    words = re.findall(r"lmwright ([a-z]+)(?: ([a-z]+))?\b", "\n".join(console_lines(text)))
    assert {verb for verb, _ in words} <= groups[""] | groups.keys()
    assert [(group, verb) for group, verb in words if verb not in groups.get(group, {verb})] == []
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^\$ make ([a-z-]+)", text, re.MULTILINE))
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    recipes = set(re.findall(r"lmwright run ([a-z_.]+\b)", "\n".join(console_lines(text))))
    known = {*recipe_names(), *step_type_names(), "mine.yaml"}
    assert recipes <= known
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def verb_groups() -> dict[str, set[str]]:
    """The command line's verbs, under "", and those of each group, under its name."""
    app = make_app()
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    return {
        name: {command.name for command in its.registered_commands}
        for name, its in {"": app, **groups}.items()
    }


def console_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    environment = os.environ.copy()
    if compiler := find_compiler():
        # What the kernels compute is no matter here: without optimisation they are there sooner.
        plain = tmp_path_factory.mktemp("compiler") / "c++"
        plain.write_text(f'#!/bin/sh\nexec {shlex.quote(compiler)} "$@" -O0\n')
        plain.chmod(0o755)
        environment["CXX"] = str(plain)
    subprocess.run([*command, str(folder), str(REPOSITORY)], check=True, env=environment)
    (built,) = folder.glob("lmwright-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    expected = {
        f"lmwright/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {entry for entry in archive.namelist() if ".dist-info/" not in entry}
    compiled = {entry for entry in packed if entry.startswith("lmwright/engine/native/objects/")}
    assert len(compiled) in (0, 2, 3)  # beside a compiler, one for each instruction set
    assert packed - compiled == expected
    assert {"lmwright/recipes/quickstart.yaml", "lmwright/py.typed"} <= packed


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The `bin` folder of an empty environment with the wheel in it; only libraries are lent."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    scripts = environment / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    # A path file inside the lent folder is not followed: the checkout itself stays out of reach.
    (site / "lent_libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def run_installed(scripts: Path, folder: Path, *command: str) -> str:
    """What a command of the environment prints, run in `folder`, outside the checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(scripts / command[0]), *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_installed_wheel_plans_the_quickstart(installed, tmp_path):
    where = run_installed(installed, tmp_path, "python", "-c", "import lmwright as w; print(w)")
    assert str(installed.parent) in where

    plan = run_installed(installed, tmp_path, "lmwright", "run", "quickstart", "--dry-run")

    assert "training.pretrain" in plan
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_installed_wheel_serves_the_page(installed, tmp_path):
    code = """
import re
from fastapi.testclient import TestClient
from lmwright.serving.app import Settings, create_app

def load():
    raise AssertionError("the page needs no model")

client = TestClient(create_app(load, Settings(name="none")), base_url="http://127.0.0.1")
page = client.get("/")
assert page.status_code == 200, page.text
assert "<html" in page.text
parts = re.findall(r'(?:src|href)="(/?page/[^"]+)"', page.text)
assert parts, page.text
for part in parts:
    assert client.get(part).status_code == 200, part
print(*parts)
"""
    assert "page/" in run_installed(installed, tmp_path, "python", "-c", code)
