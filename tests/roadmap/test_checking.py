"""A check stops at the first failure, shows a small case, and says what is missing."""

import json

import pytest
import torch

from lmwright.roadmap.checking import Bench, Verdict, cases_of, check
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Forbidden, Mutant, Property, call

THIS_FILE = __file__


def mean_and_size(numbers, root=False):
    """The part of these tests: the mean of squares, or its root."""
    squares = sum(x * x for x in numbers) / len(numbers)
    return squares**0.5 if root else squares


def some(draw: Draw) -> Case:
    numbers = [draw.uniform(1.0, 9.0) for _ in range(draw.size(2, 40))]
    return Case((numbers,), branches=frozenset({"long" if len(numbers) > 10 else "short"}))


def rooted(draw: Draw) -> Case:
    return Case(some(draw).args, {"root": True}, note="with its root")


FIRST = Property("it is the mean of squares", some, branches=frozenset({"long", "short"}))
SECOND = Property(
    "`root` takes its root", rooted, edges={"one": lambda d: Case(([2.0],), {"root": True})}
)
THIRD = Property(
    "it is never negative", some, compare=False, holds=lambda x, _: None if x >= 0 else "below 0"
)


def plain_sum(numbers, root=False):
    return mean_and_size(numbers, root) * len(numbers)


def without_root(numbers, root=False):
    return mean_and_size(numbers)


BENCH = Bench(
    mean_and_size,
    (FIRST, SECOND, THIRD),
    (
        Mutant("the sum of squares, not their mean", plain_sum),
        Mutant("the mean of squares, without its root", without_root),
    ),
    file=THIS_FILE,
)


def other(numbers, root=False):
    """A right one, written otherwise."""
    tensor = torch.tensor(numbers, dtype=torch.float64).square().mean()
    return float(tensor.sqrt() if root else tensor)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_right_passes(seed):
    verdict = check(other, BENCH, seed)
    assert verdict.passed
    assert verdict.failure is None
    assert [r.cases for r in verdict.results] == [60, 61, 60]
    assert verdict.worst < 1e-9


def test_properties_go_in_order_and_later_ones_wait():
    verdict = check(without_root, BENCH, 1)
    assert [r.status for r in verdict.results] == ["ok", "wrong", "waits"]
    assert not verdict.passed
    assert [r.says for r in verdict.results] == [p.says for p in BENCH.properties]


@pytest.mark.parametrize("mutant", BENCH.mutants, ids=lambda m: m.says)
@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_answer_is_told_by_the_mutant_that_it_equals(mutant, seed):
    failure = check(mutant.make, BENCH, seed).failure
    assert failure is not None
    assert failure.diagnosis == mutant.says


def test_a_wrong_answer_like_no_mutant_is_not_explained():
    failure = check(lambda numbers, root=False: 7.0, BENCH, 0).failure
    assert failure is not None
    assert failure.diagnosis == ""
    assert failure.yours == "7"


def test_the_case_that_is_shown_is_small():
    def wrong_from_three_on(numbers, root=False):
        return other(numbers, root) + (len(numbers) > 2)

    failure = check(wrong_from_three_on, BENCH, 0).failure
    assert failure is not None
    (shown,) = failure.case
    # Two numbers are right, and the scales between allow five or less.
    assert 3 <= len(shown.split(",")) <= 10


def test_an_unexplained_check_is_as_strict():
    whole, short = check(without_root, BENCH, 3), check(without_root, BENCH, 3, explain=False)
    assert [r.status for r in whole.results] == [r.status for r in short.results]
    assert short.failure is not None
    assert short.failure.diagnosis == ""


def test_a_seed_repeats_a_check():
    first, again = check(plain_sum, BENCH, 9), check(plain_sum, BENCH, 9)
    assert first.results == again.results
    assert check(plain_sum, BENCH, 10).results != first.results


def test_a_promised_branch_that_no_case_hits_is_a_bug_of_the_lab():
    promised = Property("p", some, branches=frozenset({"long", "empty"}))
    with pytest.raises(AssertionError, match="never hit empty"):
        list(cases_of(promised, 0))


def test_an_error_is_told_with_its_line():
    def stumbles(numbers, root=False):
        return numbers["first"]

    failure = check(stumbles, BENCH, 0).failure
    assert failure is not None
    assert failure.message.startswith("it raised TypeError")
    assert failure.line == f"{THIS_FILE}:{stumbles.__code__.co_firstlineno + 1}"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "more memory"),
        (Forbidden("module.part"), "module.part is what this lab asks"),
        (OSError(27, "File too large"), "printed more"),
    ],
)
def test_what_a_smaller_case_would_not_explain_is_told_at_once(error, says):
    calls = []

    def raises(numbers, root=False):
        calls.append(1)
        raise error

    failure = check(raises, BENCH, 0).failure
    assert failure is not None
    assert says in failure.message
    assert failure.final
    assert len(calls) == 1


def test_a_property_without_an_expected_answer():
    bench = Bench(mean_and_size, (THIRD,), file=THIS_FILE)
    assert check(lambda numbers, root=False: 3.0, bench, 0).passed
    failure = check(lambda numbers, root=False: -3.0, bench, 0).failure
    assert failure is not None
    assert (failure.message, failure.yours) == ("below 0", "-3")
    failure = check(lambda numbers, root=False: "three", bench, 0).failure
    assert failure is not None
    assert "cannot be judged (TypeError" in failure.message


def test_an_argument_that_was_written_into():
    def sorts(numbers, root=False):
        numbers.sort()
        return other(numbers, root)

    failure = check(sorts, BENCH, 0).failure
    assert failure is not None
    assert "changed its argument number 1" in failure.message


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        (lambda numbers: 0.0, "it does not take the argument root"),
        (lambda numbers, root, power: 0.0, "it wants an argument power"),
        (5, "it is a int, not a function"),
    ],
)
def test_a_signature_that_no_caller_could_use(subject, says):
    verdict = check(subject, BENCH, 0)
    assert verdict.failure is not None
    assert says in verdict.failure.message
    assert [r.status for r in verdict.results] == ["wrong", "waits", "waits"]


def test_extra_arguments_with_defaults_are_welcome():
    assert check(lambda numbers, root=False, power=2: other(numbers, root), BENCH, 0).passed
    assert check(lambda *a, **k: other(*a, **k), BENCH, 0).passed


def test_a_class_is_asked_for_a_class():
    class Counter:
        def __init__(self, start):
            self.total = start

        def add(self, number):
            self.total += number
            return self.total

    def trace(subject, case):
        counter = subject(case.args[0])
        return [counter.add(number) for number in case.args[1:]]

    rule = Property("it adds", lambda d: Case((d.size(0, 5), d.size(1, 9), 2)), observe=trace)
    bench = Bench(Counter, (rule,))

    class Forgets(Counter):
        def add(self, number):
            return number

    assert check(type("Mine", (Counter,), {}), bench, 0).passed
    assert not check(Forgets, bench, 0).passed
    failure = check(lambda start: None, bench, 0).failure
    assert failure is not None
    assert failure.message == "it is no class"


def test_shapes_dtypes_and_numpy_are_told_in_words():
    def right(x):
        return x * 2

    bench = Bench(right, (Property("it doubles", lambda d: Case((d.normal(2, 3),)), observe=call),))

    def message(subject):
        failure = check(subject, bench, 0).failure
        assert failure is not None
        return failure.message

    assert "shape (3, 2)" in message(lambda x: (x * 2).T)
    assert "float64 tensor" in message(lambda x: (x * 2).double())
    assert "stay in torch" in message(lambda x: (x * 2).numpy())
    assert "NoneType" in message(lambda x: None)


def test_a_verdict_survives_json():
    verdict = check(plain_sum, BENCH, 4)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
