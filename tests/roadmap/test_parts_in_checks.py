"""A check never compares a learner's code with itself."""

import pytest

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.core.parts import Part
from lmwright.roadmap.hosting import prepare
from lmwright.roadmap.lab import find_lab


def test_a_check_in_a_process_with_other_parts_is_refused(monkeypatch):
    lab = find_lab("attention")
    part = Part("attention", lab.target, "/nowhere/mine/attention.py", "", checked=True)
    monkeypatch.setattr(parts, "_use", parts._Use(parts=(part,)))
    with pytest.raises(LmwrightError, match="a check compares with production's own"):
        prepare(lab)
