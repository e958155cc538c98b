"""What a check looks at: answers for copies of the arguments, gradients, specified errors."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.properties import Case, InputChanged, call, gradients, outcome


@dataclass
class Box:
    content: torch.Tensor


def test_the_case_stays_as_it_is_whatever_the_subject_does():
    case = Case(([1, 2],), {"more": {"a": torch.ones(2)}})

    def greedy(first, more):
        first.append(3)
        more["a"].zero_()

    with pytest.raises(InputChanged):
        call(greedy, case)
    assert case.args == ([1, 2],)
    assert case.kwargs["more"]["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("argument", "write"),
    [
        (torch.ones(2), lambda x: x.zero_()),
        (np.ones(2), lambda x: x.fill(0)),
        ([1], lambda x: x.append(1)),
        ({"a": [1]}, lambda x: x["a"].pop()),
        (Box(torch.ones(2)), lambda x: x.content.add_(1)),
        ([torch.ones(2)], lambda x: x[0].add_(1)),
    ],
)
def test_a_write_into_an_argument_is_noticed_and_named(argument, write):
    with pytest.raises(InputChanged, match="number 1"):
        call(write, Case((argument,)))
    with pytest.raises(InputChanged, match="argument x"):
        call(write, Case((), {"x": argument}))
    assert call(lambda x: None, Case((argument,))) is None


def test_numbers_that_are_none_do_not_count_as_written():
    case = Case((torch.tensor([float("nan"), 1.0]), np.array([np.nan, 1.0])))
    assert call(lambda x, y: 5, case) == 5


def test_gradients_equal_the_closed_form():
    x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    weights = torch.randn(3, generator=torch.Generator().manual_seed(0))
    by_x, by_y = gradients(lambda a, b: a * b, Case((x, y)))
    assert torch.allclose(by_x, weights * y)
    assert torch.allclose(by_y, weights * x)
    assert not x.requires_grad


def test_gradients_that_do_not_flow():
    x, y = torch.ones(2), torch.ones(2)
    assert "no gradient" in gradients(lambda a: a.detach(), Case((x,)))
    _, by_y = gradients(lambda a, b: a * 2, Case((x, y)))
    assert by_y.tolist() == [0, 0]


def test_errors_that_are_specified_are_an_answer():
    def refuse(kind):
        raise kind("no")

    assert outcome(refuse, Case((LmwrightError,))) == "raised LmwrightError"
    assert outcome(refuse, Case((ValueError,))) == "raised ValueError"
    with pytest.raises(TypeError):
        outcome(refuse, Case((TypeError,)))
