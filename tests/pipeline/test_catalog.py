"""What the rooms offer keeps the contract that recipes rely on."""

import ast
import subprocess
import sys

import pytest

from lmwright.pipeline.catalog import find_step_type, nearest, step_type_names
from lmwright.pipeline.closure import code_digests, module_file
from lmwright.pipeline.recipe import RESERVED, load_recipe, recipe_names

NAMES = step_type_names()


def definition(reference):
    """The syntax tree of "module:function", found without importing it."""
    module, _, function = reference.partition(":")
    file = module_file(module)
    assert file is not None, f"{module} does not exist"
    tree = ast.parse(file.read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function]
    assert found, f"{reference} does not exist"
    return found[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_type_names_a_function_that_takes_its_inputs(name):
    step = find_step_type(name)
    arguments = definition(step.function).args
    assert [a.arg for a in arguments.args] == ["config", "run"]
    assert {a.arg for a in arguments.kwonlyargs} == set(step.inputs)
    assert step.optional <= set(step.inputs)
    assert step.output
    assert not RESERVED & set(step.config.model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_step_is_documented(name):
    step = find_step_type(name)
    assert step.summary
    for key, field in step.config.model_fields.items():
        assert field.description, f"{name}: {key} has no docstring"


@pytest.mark.parametrize("name", NAMES)
def test_editing_the_running_of_recipes_re_runs_no_step(name):
    step = find_step_type(name)
    code = code_digests(step.function.partition(":")[0])
    runners = {"execution", "launch", "plan", "recipe", "report", "closing", "records", "lock"}
    assert not {f"lmwright.pipeline.{runner}" for runner in runners} & set(code)
    assert "lmwright.cli" not in code


def test_what_is_asked_before_step_1_loads_no_torch():
    code = (
        "import sys\n"
        "from lmwright.pipeline.catalog import find_step_type, load_function, step_type_names\n"
        "for name in step_type_names():\n"
        "    step = find_step_type(name)\n"
        "    for reference in (step.provides, step.reads, step.estimate):\n"
        "        reference and load_function(reference)(step.config())\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_loads_and_survives_being_resolved(name, recipe):
    loaded = load_recipe(name)
    assert loaded.description
    assert load_recipe(recipe(loaded.to_yaml())) == loaded


def test_hints():
    assert nearest("learning_rat", ["steps", "learning_rate"]) == "did you mean learning_rate?"
    assert nearest("zzz", ["a", "b"]) == "choose one of: a, b"
    assert nearest("zzz", []) == "there is none to choose from"


@pytest.mark.parametrize("name", ["", "nothing", "no.such", "os.path", "../x.y", "core.errors"])
def test_what_names_no_step_is_none(name):
    assert find_step_type(name) is None


def test_a_package_of_your_own_is_a_room():
    assert find_step_type("fakesteps.train").name == "fakesteps.train"
    assert find_step_type("fakesteps.nothing") is None
