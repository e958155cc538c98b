"""What a lab's `check.py` is made of: cases, and properties that hold for each of them."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.values import copied, is_array, is_tensor

Subject = Callable[..., Any]
"""What is checked: the learner's function or class, production's, or a wrong one."""


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        args, kwargs: of the call. `copied` before every call, so that nobody can change them.
        branches: which branches of the specification it goes through.
        tolerance: relative; None: by dtype, see `values.compare`.
        note: what is special about it, for the person who reads the failure.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    branches: frozenset[str] = frozenset()
    tolerance: float | None = None
    note: str = ""


Generator = Callable[[Draw], Case]
Observe = Callable[[Subject, Case], Any]


def call(subject: Subject, case: Case) -> Any:
    """What the subject returns for copies of the case's arguments.

    Raises:
        InputChanged: if it wrote into them.
    """
    args, kwargs = copied(case.args), copied(dict(case.kwargs))
    result = subject(*args, **kwargs)
    for name, now, before in _named(args, kwargs, case):
        if _changed(now, before):
            raise InputChanged(name)
    return result


def gradients(subject: Subject, case: Case) -> Any:
    """The gradient of a fixed random weighting of the output, by every floating-point argument.

    Tensors inside dataclasses and tuples are left alone: only arguments that are tensors count.
    """
    import torch

    args, kwargs = list(copied(case.args)), copied(dict(case.kwargs))
    wanted = [a for a in [*args, *kwargs.values()] if is_tensor(a) and a.dtype.is_floating_point]
    for tensor in wanted:
        tensor.requires_grad_(True)
    with torch.enable_grad():
        output = subject(*args, **kwargs)
        outputs = [output] if is_tensor(output) else [o for o in output if is_tensor(o)]
        total = torch.zeros(())
        for number, part in enumerate(o for o in outputs if o.dtype.is_floating_point):
            weights = torch.randn(part.shape, generator=torch.Generator().manual_seed(number))
            total = total + (part.float() * weights).sum()
        if not total.requires_grad:
            return "no gradient: the output does not depend on the inputs in autograd's eyes"
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    return tuple(
        torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)
    )


def outcome(subject: Subject, case: Case) -> Any:
    """What `call` gives, or the name of the error that it raises, where errors are specified."""
    from lmwright.core.errors import LmwrightError

    try:
        return call(subject, case)
    except (LmwrightError, ValueError) as error:
        return f"raised {type(error).__name__}"


@dataclass(frozen=True)
class Property:
    """Something that must hold; properties stand in the order in which they are learnt.

    Args:
        says: one line, in the present tense.
        draw: a random case.
        cases: how many are drawn.
        edges: named cases beside the random ones.
        branches: which branches the drawn cases must hit, each at least once.
        observe: what is looked at; the same for the subject and for production. Deterministic.
        compare: whether it must equal what production gives.
        holds: more that must be true of what was observed: None, or what is wrong.
        tolerance: relative, for its cases that name none.
    """

    says: str
    draw: Generator
    cases: int = 60
    edges: Mapping[str, Generator] = field(default_factory=dict)
    branches: frozenset[str] = frozenset()
    observe: Observe = call
    compare: bool = True
    holds: Callable[[Any, Case], str | None] | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Mutant:
    """A wrong way to write the part, and the idea that it misses.

    Args:
        says: completes "your output equals ...", such as "attention without 1/sqrt(K)".
        make: the wrong part; a function or a class, of the part's own signature.
    """

    says: str
    make: Subject


@dataclass(frozen=True)
class Twist:
    """A variant of the part that production does not offer under this name.

    Args:
        function: name that the learner gives it, in the same file.
        asks: what it must do, a few sentences with its signature.
        reference: a right one.
        properties: as of the lab; compared with `reference`.
    """

    function: str
    asks: str
    reference: Subject
    properties: tuple[Property, ...]


class InputChanged(Exception):
    """The subject wrote into one of its arguments.

    Args:
        name: of the argument, or its number.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"it changed its argument {name}")
        self.name = name


class Forbidden(Exception):
    """The learner's code called what it was to write.

    Args:
        name: what it called.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is what this lab asks you to write: it cannot be called here")


def _named(args: Any, kwargs: Any, case: Case) -> list[tuple[str, Any, Any]]:
    rows = [(f"number {i + 1}", a, b) for i, (a, b) in enumerate(zip(args, case.args, strict=True))]
    return rows + [(name, kwargs[name], case.kwargs[name]) for name in case.kwargs]


def _changed(now: Any, before: Any) -> bool:
    if now is before:
        return False  # `copied` gives only what cannot change as itself
    if is_tensor(before):
        if now.dtype == before.dtype and now.equal(before):
            return False  # the usual end, at once; NaN is equal to nothing
        same = now.shape == before.shape and now.dtype == before.dtype
        return not same or not bool(((now == before) | (now.isnan() & before.isnan())).all())
    if is_array(before):
        return now.shape != before.shape or bool(((now != before) & (before == before)).any())
    if isinstance(before, list | tuple):
        return len(now) != len(before) or any(map(_changed, now, before))
    if isinstance(before, Mapping):
        return now.keys() != before.keys() or any(_changed(now[k], before[k]) for k in before)
    if dataclasses.is_dataclass(before) and not isinstance(before, type):
        fields = [f.name for f in dataclasses.fields(before)]
        return any(_changed(getattr(now, name), getattr(before, name)) for name in fields)
    if vars(type(before)).get("__eq__") is None and type(before).__module__ != "builtins":
        return False  # compared by identity, a copy always differs
    return bool(now != before)
