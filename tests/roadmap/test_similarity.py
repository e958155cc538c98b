"""Similarity: blind to names and layout, and to what everybody was given."""

import re

import pytest

from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.similarity import TOKENS, WINDOW, fingerprints, similarity
from lmwright.roadmap.source import production_source
from lmwright.roadmap.stub import stub
from tests.roadmap.lab_cases import ATTENTION

PRODUCTION = production_source("lmwright.models.layers.attention:attend")


def test_a_copy_is_wholly_similar():
    assert similarity(PRODUCTION, [PRODUCTION]) == 1.0


def test_renaming_reflowing_and_commenting_hide_nothing():
    renamed = re.sub(r"\b(q|k|v|rule|mask|scale|scores|weights)\b", r"my_\1", PRODUCTION)
    spaced = renamed.replace("\n", "  # a remark\n\n").replace(" = ", "  =  ")
    assert similarity(spaced, [PRODUCTION]) == 1.0


def test_another_right_one_is_far_less_similar_than_a_copy():
    common = [stub(find_lab("attention"))]
    assert similarity(ATTENTION, [PRODUCTION], common) < 0.5


def test_what_everybody_was_given_does_not_count():
    given = stub(find_lab("attention"))
    assert similarity(given, [given]) == 1.0
    assert similarity(given, [PRODUCTION], common=[given]) == 0.0


def test_a_text_too_short_to_tell_is_not_similar():
    assert similarity("x = 1", ["x = 1"]) == 0.0
    assert similarity("", [PRODUCTION]) == 0.0


@pytest.mark.parametrize("place", [0, 5, 50])
def test_a_run_of_k_plus_w_minus_1_tokens_is_always_found(place):
    # The guarantee of winnowing, section 3: whatever stands around the run.
    run = ["if", "a", "<", "b", ":", "c", "+", "d", "(", "e", ")", "%"]
    assert len(run) == TOKENS + WINDOW - 1
    before = " ".join(["+"] * place)
    mine = f"{before} {' '.join(run)} {'- ' * 20}"
    theirs = f"{'* ' * (2 * place + 3)} {' '.join(run)} {'/ ' * 11}"
    assert fingerprints(mine) & fingerprints(theirs)


def test_the_share_is_of_the_learner_s_text():
    half = "\n".join(f"a{i} = b[{i}] + c * {i} - d // e % f" for i in range(3))
    other = "for x in y:\n    while not z(x) and w(x, 'q'):\n        del x.y.z.w.v.u.t.s\n" * 3
    share = similarity(half + "\n" + other, [half])
    assert 0.0 < share < 1.0
    assert similarity(half, [half + "\n" + other]) > 0.8
