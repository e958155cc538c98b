"""States are a replay of events and runs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.roadmap.chain import merged, parse, settle
from lmwright.roadmap.states import LAB_WORDS, lab_state, standing, topic_state
from lmwright.roadmap.topics import FinishedRun, PartUsed
from tests.roadmap.road import LABS, ROAD, SPEC, chain, check, data, edited, trial, twist

ALPHA = LABS["alpha"]
A, B = "a" * 64, "b" * 64
BUILT = [("start", {"lab": "alpha"}), check("alpha", A), twist("alpha", A), trial("alpha", A)]


def state(*steps, spec=SPEC, runs=()):
    return lab_state(ALPHA, spec, chain(steps), runs)


def run(target=ALPHA.target, sha256=A, calls=5):
    return FinishedRun(name="mine", recipe="sort", parts=(PartUsed(target, sha256, calls),))


def test_a_lab_goes_from_none_to_built():
    words = [state(*BUILT[:count]).word for count in range(5)]
    assert words == ["none", "started", "checked", "checked", "built"]


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([check("alpha", A, passed=2)], "started"),
        ([check("alpha", A, passed=0, of=0)], "started"),
        ([check("beta", A)], "none"),
        ([check("alpha", A), check("alpha", B, passed=1)], "checked"),
        ([twist("alpha", A), trial("alpha", A)], "started"),
        ([check("alpha", A), twist("alpha", A), trial("alpha", B)], "checked"),
        ([check("alpha", A), twist("alpha", B), trial("alpha", B)], "checked"),
        ([check("alpha", A), twist("alpha", A, passed=False), trial("alpha", A)], "checked"),
        ([check("alpha", A), twist("alpha", A), trial("alpha", A, killed=5)], "checked"),
        ([check("alpha", A), twist("alpha", A), trial("alpha", A, own_pass=False)], "checked"),
        ([trial("alpha", A), twist("alpha", A), check("alpha", A)], "built"),
        ([*BUILT, check("alpha", B, passed=0)], "built"),
        ([*BUILT, ("reset", {"lab": "alpha"})], "started"),
        ([*BUILT, ("reset", {"lab": "alpha"}), check("alpha", B)], "checked"),
    ],
)
def test_what_a_lab_is(steps, word):
    assert state(*steps).word == word


def test_having_seen_the_solution_is_shown_for_ever():
    assert not state(*BUILT).solution_seen
    for seen in (("solve", {"lab": "alpha"}), ("hint", {"lab": "alpha", "level": 5})):
        found = state(*BUILT, seen)
        assert (found.word, found.solution_seen) == ("built", True)
        assert state(seen, ("reset", {"lab": "alpha"}), *BUILT).solution_seen
    assert not state(*BUILT, ("hint", {"lab": "alpha", "level": 4})).solution_seen


def test_what_was_earned_on_an_older_specification_is_kept_and_said():
    old = state(*BUILT, spec="6" * 64)
    assert (old.word, old.older) == ("built", True)
    assert not state(*BUILT).older
    again = state(*BUILT, check("alpha", B, spec="6" * 64), spec="6" * 64)
    assert (again.word, again.older) == ("built", True), "the new file is checked, not built"
    renewed = state(*BUILT, check("alpha", A, spec="6" * 64), spec="6" * 64)
    assert (renewed.word, renewed.older) == ("built", False)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (run(), ("mine",)),
        (run(calls=0), ()),
        (run(sha256=B), ()),
        (run(target="lmwright.core.beta:beta"), ()),
        (FinishedRun(name="plain", recipe="sort"), ()),
    ],
)
def test_a_run_uses_a_lab_if_it_called_a_file_that_had_passed(given, used):
    assert state(check("alpha", A), runs=[given]).used == used
    assert state(check("alpha", A, passed=1), runs=[given]).used == ()


def test_a_proof_counts_where_it_held_called_the_part_and_the_file_had_passed():
    facts = {"lab": "alpha", "sha256": A, "metric": "m", "production": 1.0, "yours": 1.0}
    good = {**facts, "band": 0.1, "calls": 9, "passed": True}
    assert state(check("alpha", A), ("prove", good)).proved
    for change in ({"calls": 0}, {"passed": False}, {"sha256": B}):
        assert not state(check("alpha", A), ("prove", good | change)).proved


def test_only_ci_verifies():
    assert state(*BUILT).verified == ""
    facts = {"lab": "alpha", "spec": SPEC, "sha256": A, "seeds": [1], "passed": True, "by": "CI"}
    assert state(*BUILT, ("verify", facts)).verified.startswith("2026-11-28")
    for change in ({"by": ""}, {"passed": False}):
        assert state(*BUILT, ("verify", facts | change)).verified == ""


def test_a_state_that_rests_on_a_broken_chain_says_so():
    events = chain(BUILT)
    broken = parse(data(events[:1]) + edited(events[1], seed=8) + b"\n" + data(events[2:])).events
    found = lab_state(ALPHA, SPEC, broken, ())
    assert (found.word, found.unverified) == ("built", True), "it still counts"
    assert not lab_state(ALPHA, SPEC, events, ()).unverified
    late = parse(data(events) + edited(chain([*BUILT, check("alpha", B)])[-1], seed=8)).events
    assert not lab_state(ALPHA, SPEC, late, ()).unverified, "what it rests on came before"


@pytest.mark.parametrize("field", ["passed", "of", "spec", "sha256"])
@pytest.mark.parametrize("value", [None, "many", [], {}, 1e300, True, -1])
def test_whatever_a_stranger_wrote_is_no_error(field, value):
    kind, fields = check("alpha", A)
    state((kind, fields | {field: value}))
    state(("tests", {"lab": "alpha", "sha256": value, "killed": value, "of": value}))
    state(("hint", {"lab": value, "level": value}), ("wave", {"lab": "alpha"}))


# ---------------------------------------------------------------- replay

files = st.sampled_from([A, B])
steps = st.one_of(
    st.builds(check, st.just("alpha"), files, st.integers(0, 3)),
    st.builds(twist, st.just("alpha"), files, st.booleans()),
    st.builds(trial, st.just("alpha"), files, st.integers(4, 8), st.booleans()),
    st.sampled_from([("start", {"lab": "alpha"}), ("solve", {"lab": "alpha"}), check("beta", A)]),
)


@given(st.lists(steps, max_size=12))
@settings(max_examples=150)
def test_replay_of_every_prefix_never_takes_back_what_was_earned(happened):
    events = chain(happened)
    ranks, seen = [], []
    for count in range(len(events) + 1):
        found = lab_state(ALPHA, SPEC, settle(events[:count]), [])
        ranks.append(LAB_WORDS.index(found.word))
        seen.append(found.solution_seen)
    assert ranks == sorted(ranks)
    assert seen == sorted(seen)


@given(st.lists(steps, max_size=8), st.lists(steps, max_size=8), st.randoms())
def test_the_order_in_which_files_are_merged_changes_no_state(here, there, random):
    ours, theirs = chain(here, "aaaaaaaa"), chain(there, "bbbbbbbb")
    expected = lab_state(ALPHA, SPEC, merged(ours, theirs), [])
    mixed = [*ours, *theirs, *ours]
    random.shuffle(mixed)
    assert lab_state(ALPHA, SPEC, settle(mixed), []) == expected
    alone = lab_state(ALPHA, SPEC, settle(ours), [])
    assert LAB_WORDS.index(alone.word) <= LAB_WORDS.index(expected.word)


# ---------------------------------------------------------------- topics, and what comes next


@pytest.mark.parametrize(
    ("summary", "word"),
    [
        ({"f1": 0.85, "f1_chance": 0.3}, "met"),
        ({"f1": 0.8, "f1_chance": 0.3}, "met"),
        ({"f1": 0.79, "f1_chance": 0.3}, "ran"),
        ({"f1": 0.85, "f1_chance": 0.9}, "ran"),
        ({"f1": 0.85}, "ran"),
        ({"f1_chance": 0.3}, "ready"),
        ({"f1": "good"}, "ready"),
        ({"f1": float("nan")}, "ready"),
    ],
)
def test_a_topic_is_met_where_a_run_reached_its_proof(summary, word):
    ran = FinishedRun(name="mine", recipe="sort", summary=summary)
    assert topic_state(ROAD.topic("1.1"), [ran]).word == word
    assert topic_state(ROAD.topic("1.1"), []).word == "ready"
    other = FinishedRun(name="mine", recipe="other", summary=summary)
    assert topic_state(ROAD.topic("1.1"), [other]).word == "ready"


def test_the_best_run_is_told():
    runs = [FinishedRun(n, "sort", {"f1": v, "f1_chance": 0}) for n, v in (("a", 0.5), ("b", 0.9))]
    found = topic_state(ROAD.topic("1.1"), runs)
    assert (found.word, found.runs, found.value) == ("met", ("a", "b"), 0.9)


def test_the_next_lab_is_the_first_whose_needs_are_met(monkeypatch):
    monkeypatch.setattr("lmwright.roadmap.lab.Lab.digest", lambda self: SPEC)

    def next_after(*steps):
        found = standing(ROAD, LABS, chain(steps), []).next
        return found.id if found else None

    def built(name):
        return [check(name, A), twist(name, A), trial(name, A)]

    assert next_after() == "alpha"
    assert next_after(check("alpha", A)) == "alpha", "checked is not yet built"
    assert next_after(*built("alpha")) == "beta"
    assert next_after(*built("beta")) == "alpha"
    assert next_after(*built("alpha"), *built("beta")) == "gamma"
    assert next_after(*built("alpha"), *built("beta"), *built("gamma")) is None
    here = standing(ROAD, LABS, chain([check("alpha", A)]), [])
    assert not here.open(ROAD.topic("1.2")), "beta has not passed"
    here = standing(ROAD, LABS, chain([check("alpha", A), check("beta", A)]), [])
    assert here.open(ROAD.topic("1.2"))
