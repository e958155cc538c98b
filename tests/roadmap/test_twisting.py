"""The twist: one for each learner, checked like the part itself."""

from collections import Counter

import pytest

from lmwright.roadmap.hosting import LearnerFile
from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.record import learner
from lmwright.roadmap.twisting import defines, drawn
from tests.roadmap.lab_cases import ATTENTION

RIGHT = {
    "head_temperature": """
def attend_with_temperature(q, k, v, rule, temperature):
    return attend(q / temperature.view(-1, 1, 1), k, v, rule)
""",
    "linear_bias": """
from dataclasses import replace

def attend_with_slope(q, k, v, rule, slope):
    place = torch.arange(k.shape[2])
    distance = (place[-q.shape[2]:, None] - place).abs()
    return attend(q, k, v, replace(rule, bias=-slope * distance.to(q.dtype)))
""",
    "sink": """
def attend_with_sink(q, k, v, rule):
    mask = combined_mask(rule, q, k)
    scores = torch.einsum("bhtk,bhsk->bhts", q, k) / q.shape[3] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    nothing = torch.zeros_like(scores[..., :1])
    return torch.cat((nothing, scores), -1).softmax(-1)[..., 1:] @ v
""",
}


def test_a_learner_gets_one_and_learners_get_all():
    lab = find_lab("attention")
    assert drawn(lab, "ada") == drawn(lab, "ada")
    names = Counter(drawn(lab, f"learner {number}")[0] for number in range(300))
    assert names.keys() == lab.twists().keys()
    assert min(names.values()) > 60  # 100 expected, 5 standard deviations


def test_it_is_shown_then_checked_then_written_down(desk):
    name, twist = drawn(find_lab("attention"), learner())
    path = desk.write(ATTENTION)
    shown = desk.lab("twist", "attention")
    assert shown.code == 0
    assert twist.asks.split(":")[0] in shown.out
    assert f"Write {twist.function}" in shown.out
    assert desk.events == []

    desk.write(f"{ATTENTION}\n\ndef {twist.function}(q, k, v, rule, *more):\n    return q * 0\n")
    wrong = desk.lab("twist", "attention", "--seed", "4")
    assert wrong.code == 1
    assert "NO" in wrong.out
    assert "lmwright lab twist attention --seed 4" in wrong.out

    desk.write(ATTENTION + RIGHT[name])
    right = desk.lab("twist", "attention")
    assert right.code == 0, right.out
    assert "lmwright lab check attention" in right.out, "the file has changed"
    digest = LearnerFile.read(path).sha256
    assert [(k, f["twist"], f["passed"]) for k, f in desk.events] == [
        ("twist", name, False),
        ("twist", name, True),
    ]
    assert desk.events[-1][1]["sha256"] == digest


@pytest.mark.parametrize("text", ["def g(x): return x\n", "class g: pass\n", "def g(x\n"])
def test_a_definition_is_seen_even_in_a_broken_file(tmp_path, text):
    assert defines(LearnerFile(tmp_path, text.encode()), "g")
    assert not defines(LearnerFile(tmp_path, b"def other(x): return g\n"), "g")
