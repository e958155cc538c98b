"""What `import torch` leaves out comes when it is needed; in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmwright
from lmwright.core import torch_import

DEFERRED = """
import inspect, sys
import pytest
from lmwright.core import torch_import
torch_import.defer()
import torch
def left_out():
    return [n for n in torch_import.LATER if type(sys.modules.get(n)).__name__ == "_Deferred"]
def shape():
    image, weight = torch.empty(1, 1, 8, 8, device="meta"), torch.empty(1, 1, 3, 3, device="meta")
    return list(torch.conv2d(image, weight).shape)
"""

COMPUTES = """
assert torch.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)).sum() == 36
first = left_out()
assert first == list(torch_import.LATER), first
# What looks at all modules from outside executes none.
[inspect.getmodule(frame.frame) for frame in inspect.stack()]
[hasattr(module, "__file__") for module in list(sys.modules.values())]
assert left_out() == first
with pytest.raises(NotImplementedError):
    shape()  # else nothing that matters was left out
assert callable(torch._meta_registrations.activate_meta)
assert left_out() == first[1:]
assert shape() == [1, 1, 6, 6]
torch_import.complete()
assert left_out() == []
"""

COMPILES = """
f = torch.compile(lambda x: (x @ x).relu().sum(), backend="aot_eager")
x = torch.randn(5, 5, requires_grad=True)
f(x).backward()
y = x.detach().requires_grad_()
(y @ y).relu().sum().backward()
assert torch.equal(x.grad, y.grad)
assert left_out() == []
assert shape() == [1, 1, 6, 6]
"""

STARTS = """
import sys
from typer.main import get_command
from lmwright import cli
get_command(cli.make_app("serve"))
from lmwright.serving import drafts, options
from lmwright.serving.processes import Starter
slow = ("torch", "pydantic", "numpy", "asyncio", "fastapi")
assert not [name for name in slow if name in sys.modules]
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_torch_computes_without_what_comes_when_it_is_asked_for():
    run(DEFERRED + COMPUTES)


def test_a_model_compiles():
    run(DEFERRED + COMPILES)


def test_it_is_too_late_once_torch_is_there():
    assert torch is sys.modules["torch"]
    before = list(sys.meta_path)
    torch_import.defer()
    assert sys.meta_path == before


def test_serving_begins_before_anything_slow_is_imported():
    run(STARTS)


@pytest.mark.parametrize("room", ["engine", "serving"])
def test_who_defers_uses_no_generator_of_torch(room):
    # Torch makes it ready in what was left out; a server would fail, and only in its own process.
    root = Path(lmwright.__path__[0]) / room
    users = [path for path in root.rglob("*.py") if "torch.Generator" in path.read_text()]
    assert users == []
