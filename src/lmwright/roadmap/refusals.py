"""A check as the gate makes it: within a time, without a network, and without doing twice what is
known; whatever the subject does comes back as a reason."""

import contextlib
import functools
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import torch

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.checking import Bench, Verdict, check
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Generator, Property, Subject


def refusal(subject: Subject, bench: Bench, seed: int, seconds: float) -> str:
    """What refuses a subject: a property, an end, or the time; empty if nothing does."""
    verdict = verdict_within(subject, bench, seed, seconds)
    if isinstance(verdict, str):
        return verdict
    return next((result.says for result in verdict.results if result.status == "wrong"), "")


def verdict_within(
    subject: Subject, bench: Bench, seed: int, seconds: float, *, explain: bool = False
) -> Verdict | str:
    """A check's, or why there is none."""
    torch.manual_seed(seed)  # where a wrong answer draws by itself, its trial can be repeated
    try:
        with _at_most(seconds):
            return check(subject, bench, seed, explain=explain)
    except _TimeUp:
        return f"it does not end within {seconds:.0f} s"
    except SystemExit:
        return "it exits"
    except Exception as error:  # noqa: BLE001  a lab that breaks is a finding of the gate
        return f"the check itself raises {type(error).__name__}: {error}"


def remembering(bench: Bench) -> Bench:
    """The bench, on which production and the shipped mutants are observed once for each case.

    Cases themselves are drawn anew each time: a wrong answer may write into them.
    """
    parts = {id(bench.production), *(id(mutant.make) for mutant in bench.mutants)}

    def remembered(rule: Property) -> Property:
        places: dict[int, tuple[Any, ...]] = {}  # of the cases that are alive
        seen: dict[tuple[Any, ...], Any] = {}

        def placed(generator: Generator, name: str) -> Generator:
            def draw(source: Draw) -> Case:
                case = generator(source)
                places[id(case)] = (name, source.seed, source.scale)
                return case

            return draw

        def observe(subject: Subject, case: Case) -> Any:
            if id(subject) not in parts:
                return rule.observe(subject, case)
            place = (id(subject), *places[id(case)])
            if place not in seen:
                seen[place] = rule.observe(subject, case)
            return seen[place]

        edges = {name: placed(edge, name) for name, edge in rule.edges.items()}
        return replace(rule, draw=placed(rule.draw, ""), edges=edges, observe=observe)

    return replace(bench, properties=tuple(map(remembered, bench.properties)))


def another(part: Subject) -> Subject:
    """The same part as another object, so that a check does not take it for production."""
    if isinstance(part, type):
        return type(part.__name__, (part,), {"__module__": part.__module__})

    @functools.wraps(part)
    def same(*args: Any, **kwargs: Any) -> Any:
        return part(*args, **kwargs)

    return same


@contextlib.contextmanager
def without_network() -> Iterator[None]:
    """Let every attempt to reach a machine over the network, this one too, raise."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise LmwrightError("a lab's check must not use the network")

    with contextlib.ExitStack() as stack:
        for holder, name in (
            (socket.socket, "connect"),
            (socket.socket, "connect_ex"),
            (socket, "getaddrinfo"),
        ):
            stack.callback(setattr, holder, name, getattr(holder, name))
            setattr(holder, name, refuse)
        yield


class _TimeUp(BaseException):
    """No `except Exception` on the way may hold it up."""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
