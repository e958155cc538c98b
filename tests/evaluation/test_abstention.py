"""Which answers count as "I don't know"."""

import doctest

import pytest

from lmwright.evaluation import abstention
from lmwright.evaluation.abstention import abstained


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know that name.",
        "I don’t know that name.",
        "  i do not know that name",
        "I dont know.",
        "I don't actually know what str.uppr does.",
        "I do not recognise that function.",
        "I don't recognize it",
        "I'm not familiar with str.uppr.",
        "I am not aware of any such method.",
        "I'm unsure what that is.",
        "Sorry, I don't know that name.",
        "Sorry, but I can't find it.",
        "I'm sorry, but I do not know that name.",
        "I'm afraid I don't know that one.",
        "Unfortunately, I have no information about that.",
        "I have never heard of math.flor.",
        "I've no idea.",
        "I don't have any documentation for that.",
        "That name is not known to me.",
        "That function does not exist.",
        "There is no such method.",
        "No such function.",
        "It doesn't seem to exist.",
        '"I don\'t know that name."',
    ],
)
def test_natural_refusals_are_recognised(answer):
    assert abstained(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Return a copy of the string converted to uppercase.",
        "Raise KeyError if the name is not known.",
        "Return the default if the key does not exist.",
        "No-op kept for compatibility.",
        "Note that there is no such method on Windows.",
        "This method does nothing if the file does not exist.",
        "Return the user's name, or 'unknown' if I don't know it.",
        "I know that name: it returns a copy.",
        "Unknown encodings raise LookupError.",
        "Check whether this path exists.",
        "In-place version of the operator; I/O is not touched.",
    ],
)
def test_documentation_is_no_refusal(answer):
    assert not abstained(answer)


def test_the_docstring_tells_the_truth():
    assert doctest.testmod(abstention).failed == 0
