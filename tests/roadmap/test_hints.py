"""Hints: every lab has them, and none but the last holds the answer."""

import ast

import pytest

from lmwright.roadmap import hints
from lmwright.roadmap.lab import all_labs, find_lab
from lmwright.roadmap.similarity import similarity
from lmwright.roadmap.source import production_source
from lmwright.roadmap.stub import stub

LABS = sorted(all_labs())


@pytest.mark.parametrize("name", LABS)
def test_every_lab_has_all_written_hints(name):
    found = hints.sections(find_lab(name).text("hints.md"))
    assert found.keys() == {1, 2, 4}
    assert all(len(text.strip()) > 40 for text in found.values())
    assert "?" in found[1], "the first is a question"


@pytest.mark.parametrize("name", LABS)
def test_the_answer_is_production_s_own_and_whole(name):
    lab = find_lab(name)
    text = hints.hint_text(lab, hints.LAST, ())
    defined = {getattr(node, "name", "") for node in ast.parse(text).body}
    assert lab.name in defined
    assert "raise NotImplementedError" not in text


@pytest.mark.parametrize("name", LABS)
def test_neither_specification_nor_hints_hold_the_code(name):
    lab = find_lab(name)
    answer, given = production_source(lab.target), [stub(lab)]
    for text in (lab.text("spec.md"), lab.text("hints.md")):
        assert similarity(answer, [text], given) < 0.2


def test_sections_are_told_apart_by_their_numbers():
    text = "# 1\nOne?\n\n# 2 by hand\nTwo.\n## not a section\n\n# 4\n    q (B)\n"
    assert hints.sections(text) == {1: "One?", 2: "Two.\n## not a section", 4: "    q (B)"}
