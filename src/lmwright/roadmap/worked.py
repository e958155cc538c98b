"""The worked examples of the labs' specifications, recomputed with production's part."""

import ast
import importlib
import re
from typing import Any

from lmwright.roadmap.lab import Lab
from lmwright.roadmap.values import compare

TOLERANCE = 1e-4
"""Relative: the examples are written with five digits."""

_BLOCK = re.compile(r"^```python worked\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def worked_problems(lab: Lab) -> list[str]:
    """What is wrong with the examples in `spec.md`; nothing if each gives what it says."""
    examples = examples_in(lab.text("spec.md"))
    if not examples:
        return ["spec.md has no worked example"]
    problems = []
    names = _names(lab)
    for expression, answer in examples:
        try:
            _, found = compare(_value(expression, names), _value(answer, names), TOLERANCE)
        except Exception as error:  # noqa: BLE001  the lab's author must see whatever it raises
            problems.append(f"spec.md's worked example raises {type(error).__name__}: {error}")
            continue
        if found is not None:
            problems.append(f"spec.md's worked example gives {found.yours}, not {found.expected}")
    return problems


def examples_in(text: str) -> list[tuple[str, str]]:
    """Each expression in the fenced blocks `python worked`, with what stands after its `->`."""
    examples = []
    for block in _BLOCK.findall(text):
        code: list[str] = []
        for line in block.splitlines():
            if line.startswith("-> "):
                examples.append(("\n".join(code), line.removeprefix("-> ")))
                code = []
            else:
                code.append(line)
    return examples


def _names(lab: Lab) -> dict[str, Any]:
    """What an example may name: torch, tensor, np, and the public names of the part's module."""
    import numpy as np
    import torch

    module = vars(importlib.import_module(lab.module))
    public = {name: value for name, value in module.items() if not name.startswith("_")}
    return {"torch": torch, "tensor": torch.tensor, "np": np, **public}


def _value(code: str, names: dict[str, Any]) -> Any:
    """The value of the last expression, after the statements before it."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr), f"no expression: {code}"
    exec(compile(ast.Module(before, []), "<worked>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<worked>", "eval"), names)
