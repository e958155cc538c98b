"""`lab prove`: two processes, one with the learner's part; what they must agree on."""

import pytest

from lmwright.core.errors import CheckFailed, LmwrightError
from lmwright.roadmap import proving
from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.proving import Measured, Proven, check_data
from tests.real_data import real_data_folder
from tests.roadmap.lab_cases import ATTENTION


@pytest.mark.parametrize(
    ("yours", "calls", "passed"),
    [(1.0, 5, True), (1.09, 5, True), (0.91, 1, True), (1.2, 5, False), (1.0, 0, False)],
)
def test_a_proof_wants_agreement_and_calls(yours, calls, passed):
    found = Proven(Measured(1.0, 3.0, 0), Measured(yours, 3.0, calls), band=0.1)
    assert found.passed == passed


def test_missing_data_is_one_clear_line(desk, monkeypatch, tmp_path):
    desk.write(ATTENTION)
    assert desk.lab("check", "attention").code == 0
    monkeypatch.delenv("LMWRIGHT_DATA", raising=False)
    said = desk.lab("prove", "attention")
    assert said.code == 2
    assert said.err.startswith("error: the proof of attention reads stories260K")
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    with pytest.raises(LmwrightError, match="does not exist"):
        check_data(find_lab("attention"))
    assert [kind for kind, _ in desk.events] == ["check"]


def test_a_file_that_has_not_passed_proves_nothing(desk):
    desk.write(ATTENTION)
    said = desk.lab("prove", "attention")
    assert said.code == 2
    assert "has not passed" in said.err


def test_what_the_two_runs_gave_is_told_and_written_down(desk, monkeypatch):
    desk.write(ATTENTION)
    desk.lab("check", "attention")
    given = {None: Measured(0.0, 2.0, 0)}
    monkeypatch.setattr(proving, "check_data", lambda lab: None)
    monkeypatch.setattr(
        proving, "measured", lambda lab, file: given.get(file, Measured(3.0, 4.0, 1234))
    )
    said = desk.lab("prove", "attention")
    assert said.code == 1
    for told in ("different_tokens 0 ", "different_tokens 3 ", "1,234 times", "not proved"):
        assert told in said.out
    kind, fields = desk.events[-1]
    assert (kind, fields["production"], fields["yours"]) == ("prove", 0.0, 3.0)
    assert (fields["calls"], fields["passed"]) == (1234, False)


@pytest.mark.slow
def test_a_run_that_fails_says_what_it_said_last(desk, monkeypatch, tmp_path):
    (tmp_path / "stories260K").mkdir()  # there, and empty
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    with pytest.raises(CheckFailed, match="the proof with production's attend failed") as caught:
        proving.measured(find_lab("attention"), None)
    assert caught.value.hint


@pytest.mark.slow
def test_attention_is_proved_on_real_data(desk, monkeypatch):
    monkeypatch.setenv("LMWRIGHT_DATA", str(real_data_folder()))
    desk.write(ATTENTION)
    desk.lab("check", "attention")
    said = desk.lab("prove", "attention")
    assert said.code == 0, said.out + said.err
    _, fields = desk.events[-1]
    assert fields["passed"]
    assert fields["calls"] > 0
