"""Every lab takes what is right and refuses what is wrong; a lab that does not is found out."""

import json
import socket
from dataclasses import replace

import pytest
import torch

from lmwright.core.errors import LmwrightError
from lmwright.roadmap import gate, refusals, trials
from lmwright.roadmap.checking import Bench
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.findings import Findings, Tally
from lmwright.roadmap.lab import all_labs
from lmwright.roadmap.properties import Case, Mutant, Property
from lmwright.roadmap.trials import QUICK, try_lab


@pytest.mark.parametrize("name", all_labs())
def test_a_lab_passes_its_gate_in_its_quick_form(name):
    found = try_lab(name, QUICK)
    assert found.failings() == []
    assert found.mutants.of >= 8
    assert found.universal.of + len(found.not_applicable) == 8


def doubled(x: torch.Tensor) -> torch.Tensor:
    """The part of these tests."""
    return x * 2


def some(draw: Draw) -> Case:
    return Case((draw.normal(3, 3),))


STRICT = Property("it doubles", some, cases=5)
LENIENT = replace(STRICT, tolerance=1e-2)
SHAPE = Property(
    "shape", some, cases=5, compare=False, holds=lambda y, _: None if y.shape == (3, 3) else "no"
)


def bench(*rules: Property) -> Bench:
    return Bench(doubled, rules, (Mutant("the input itself", lambda x: x),))


def test_a_lenient_check_accepts_noise_and_one_of_shapes_nearly_all():
    strict, without = trials._universal(bench(STRICT), 2, 5.0)
    assert strict.accepted == ()
    assert without == ("detached",)  # nothing here asks for a gradient
    lenient, _ = trials._universal(bench(LENIENT), 2, 5.0)
    assert lenient.accepted == ("noise (seed 0)",)
    shapes, _ = trials._universal(bench(SHAPE), 2, 5.0)
    assert len(shapes.accepted) == 7


def test_shipped_mutants_are_counted_at_each_seed():
    refused, named = trials._mutants(bench(STRICT), 3, 5.0)
    assert (str(refused), str(named)) == ("3/3", "3/3")
    refused, named = trials._mutants(bench(SHAPE), 3, 5.0)
    assert (refused.refused, len(refused.accepted), named.share) == (0, 3, 0)
    alike = (Mutant("a", lambda x: x), Mutant("b", lambda x: x + 0))
    _, named = trials._mutants(replace(bench(STRICT), mutants=alike), 1, 5.0)
    assert named.accepted == ("b (seed 0): a",)


def test_what_is_remembered_is_observed_once():
    calls = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * 2

    remembering = refusals.remembering(replace(bench(STRICT), production=counted))
    for _ in range(3):
        assert refusals.refusal(lambda x: x + x, remembering, 0, 5.0) == ""
    assert len(calls) == STRICT.cases
    assert refusals.refusal(lambda x: x + x, remembering, 1, 5.0) == ""
    assert len(calls) == 2 * STRICT.cases


def test_production_that_does_not_repeat_itself_is_refused():
    draws = iter(range(10_000))
    restless = Bench(lambda x: x * next(draws), (STRICT,))
    refused, seconds = trials._production(restless, 2, 2)
    assert len(refused) == 2
    assert seconds > 0
    assert trials._production(bench(STRICT), 2, 1)[0] == []


def test_a_wrong_answer_that_never_ends_is_refused():
    def endless(x: torch.Tensor) -> torch.Tensor:
        while True:
            pass

    assert "does not end" in refusals.refusal(endless, bench(STRICT), 0, 0.05)

    def leaves(x: torch.Tensor) -> torch.Tensor:
        raise SystemExit

    assert refusals.refusal(leaves, bench(STRICT), 0, 5.0) == "it exits"


def test_a_check_that_reaches_for_the_network_is_found_out():
    with refusals.without_network():
        for reach in (
            lambda: socket.create_connection(("127.0.0.1", 9)),
            lambda: socket.socket().connect(("127.0.0.1", 9)),
        ):
            with pytest.raises(LmwrightError, match="network"):
                reach()
    with pytest.raises(OSError):  # noqa: PT011  whichever: it was tried
        socket.create_connection(("127.0.0.1", 9), timeout=0.2)


GOOD = Findings("good", 3, mutants=Tally(16, 16), named=Tally(8, 8), automatic=Tally(95, 100))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"right_refused": ("production at seed 7: p",)}, "refuses what is right"),
        ({"mutants": Tally(15, 16, ("m",))}, "accepts a shipped mutant: m"),
        ({"universal": Tally(7, 8, ("noise",))}, "accepts a universal wrong answer: noise"),
        ({"automatic": Tally(94, 100)}, "refuses 94.0% of the automatic mutants"),
        ({"named": Tally(6, 8)}, "names 75.0% of the shipped mutants"),
        ({"check_seconds": 21.0}, "takes 21.0 s"),
        ({"problems": ("no hints",)}, "no hints"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_fails_a_lab(change, says):
    assert GOOD.failings() == []
    (line,) = replace(GOOD, **change).failings()
    assert says in line


def test_the_gate_prints_writes_and_fails(monkeypatch, tmp_path, capsys):
    bad = replace(GOOD, lab="bad", universal=Tally(7, 8, ("noise (seed 0)",)))
    monkeypatch.setattr(gate, "try_labs", lambda names, **settings: [GOOD, bad])
    assert gate.main(["--results", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "FAIL bad"
    assert "bad: accepts a universal wrong answer: noise (seed 0)" in told
    (file,) = tmp_path.glob("labs-*.json")
    rows = json.loads(file.read_text())["rows"]
    assert [(row["case"], bool(row["failings"])) for row in rows] == [
        ("good", False),
        ("bad", True),
    ]

    monkeypatch.setattr(gate, "try_labs", lambda names, **settings: [GOOD])
    assert gate.main([]) == 0
    with pytest.raises(LmwrightError, match="no lab"):
        gate.main(["atention"])


@pytest.mark.slow
def test_labs_are_tried_in_processes_of_their_own():
    (found,) = gate.try_labs(["attention"], quick=True, say=lambda line: None)
    assert found.failings() == []
    assert found.lab == "attention"
