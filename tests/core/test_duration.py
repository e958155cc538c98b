"""Durations: what they accept, what they refuse, and that they write what they read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lmwright.core.config import Config
from lmwright.core.duration import Duration


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("3m", 180, "seconds"),
        ("90s", 90, "seconds"),
        ("1h30m", 5400, "seconds"),
        ("250ms", 0.25, "seconds"),
        ("2000 steps", 2000, "steps"),
        ("1 step", 1, "steps"),
        ("10M tokens", 10_000_000, "tokens"),
        ("1.5k tokens", 1500, "tokens"),
    ],
)
def test_reads(text, amount, unit):
    assert Duration.parse(text) == Duration(amount, unit)


@pytest.mark.parametrize(
    "text", ["", "3", "m", "3 minutes", "-3m", "0s", "0 steps", "3m 2000 steps"]
)
def test_refuses(text):
    with pytest.raises(ValueError, match=r"duration|no time"):
        Duration.parse(text)


@given(st.floats(min_value=0.001, max_value=1e8))
def test_writes_times_that_it_reads(seconds):
    again = Duration.parse(str(Duration(seconds, "seconds")))
    assert again.amount == pytest.approx(seconds, abs=1e-6)


@given(st.integers(1, 10**15), st.sampled_from(["steps", "tokens"]))
def test_writes_counts_that_it_reads(amount, unit):
    assert Duration.parse(str(Duration(float(amount), unit))) == Duration(float(amount), unit)


class Timed(Config):
    budget: Duration


def test_a_bare_number_has_no_unit():
    with pytest.raises(ValidationError, match="no unit"):
        Timed(budget=3)
    assert Timed(budget="3m").model_dump(mode="json") == {"budget": "3m"}
