"""A worked example that no longer gives what it says is noticed."""

import pytest

from lmwright.roadmap.lab import Lab, find_lab
from lmwright.roadmap.worked import examples_in, worked_problems

TEXT = """
# A part

```python worked
x = tensor([3.0, 4.0])
hidden_by_distance(x.long() - 3,
                   True, 1).tolist()
-> [False, True]
np.sqrt(2)
-> {root}
```
"""


def test_examples_are_read_with_their_answers():
    first, second = examples_in(TEXT)
    assert first[0].startswith("x = tensor")
    assert first[1] == "[False, True]"
    assert second[0] == "np.sqrt(2)"
    assert examples_in("```python\n1\n-> 1\n```\n") == []


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        ("1.41421", None),
        ("1.4142", None),
        ("1.41", "gives 1.4142, not 1.41"),
        ("no_such_name", "raises NameError"),
    ],
)
def test_an_example_is_recomputed_to_four_digits(monkeypatch, root, problem):
    monkeypatch.setattr(Lab, "text", lambda self, name: TEXT.format(root=root))
    problems = worked_problems(find_lab("attention"))
    assert (problems == []) if problem is None else (problem in problems[0])


def test_a_specification_without_an_example(monkeypatch):
    monkeypatch.setattr(Lab, "text", lambda self, name: "# A part\n")
    assert worked_problems(find_lab("attention")) == ["spec.md has no worked example"]
