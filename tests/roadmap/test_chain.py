"""Events, their chains, and the union of several machines' records."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.roadmap.chain import SCHEMA, merged, next_event, parse, settle
from tests.roadmap.road import chain, check, data, edited

STEPS = [("start", {"lab": "alpha"})] + [check("alpha", f"{i}" * 64, passed=i) for i in range(4)]
EVENTS = chain(STEPS)


def test_what_is_written_is_read_again():
    found = parse(data(EVENTS))
    assert found.events == tuple(EVENTS)
    assert found.problems == ()
    assert [event.previous for event in EVENTS] == ["", *(e.digest for e in EVENTS[:-1])]
    assert all(event.verified for event in found.events)


@given(st.binary(max_size=60).filter(lambda torn: b"\n" not in torn), st.integers(0, 5))
def test_a_torn_last_line_is_said_and_everything_before_it_counts(torn, count):
    found = parse(data(EVENTS[:count]) + torn)
    assert found.events == tuple(EVENTS[:count])
    whole = not torn.strip(b" \r\t\0")
    assert bool(found.problems) != whole


@given(st.integers(1, 10_000))
def test_a_record_cut_anywhere_keeps_every_whole_line(cut):
    whole = data(EVENTS)
    cut = min(cut, len(whole))
    found = parse(whole[:cut])
    lines = whole[:cut].count(b"\n")
    # A line that lacks nothing but its end is whole, too.
    assert len(found.events) in (lines, lines + 1)
    assert all(event.verified for event in found.events)
    assert all("torn" in problem for problem in found.problems)


@pytest.mark.parametrize("place", range(len(EVENTS)))
def test_a_changed_line_breaks_the_chain_there_and_nothing_is_lost(place):
    lines = [event.line for event in EVENTS]
    lines[place] = edited(EVENTS[place], passed=99)

    found = parse(b"\n".join(lines) + b"\n", "my.jsonl")

    assert len(found.events) == len(EVENTS)
    assert [event.verified for event in found.events] == [i < place for i in range(len(EVENTS))]
    assert found.events[place].fields["passed"] == 99, "it still counts"
    assert found.problems[0] == f"my.jsonl, line {place + 1}: changed after it was written."
    assert "unverified" in found.problems[1]
    assert len(found.problems) == 2


def test_a_changed_line_with_a_fresh_digest_is_seen_by_the_next_one():
    row = json.loads(EVENTS[1].line)
    forged = next_event(EVENTS[:1], "check", row["fields"] | {"passed": 3}, "aaaaaaaa", row["time"])
    lines = [EVENTS[0].line, forged.line, *(event.line for event in EVENTS[2:])]

    found = parse(b"\n".join(lines) + b"\n")

    assert [event.verified for event in found.events] == [True, True, False, False, False]
    assert "line 3: what came before it" in found.problems[0]


@pytest.mark.parametrize("place", range(len(EVENTS) - 1))
def test_a_line_that_was_removed_is_missed(place):
    left = [event for i, event in enumerate(EVENTS) if i != place]
    found = parse(data(left))
    assert [event.verified for event in found.events] == [i < place for i in range(len(left))]
    assert f"line {place + 1}: what came before it" in found.problems[0]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"\xff\xfe",
        b'{"schema": 1}',
        b"[" * 100_000,
        b"\x00\x01",
    ],
)
def test_a_line_that_is_no_event_is_left_aside(line):
    found = parse(data(EVENTS[:2]) + line + b"\n" + data(EVENTS[2:]))
    assert found.events == tuple(EVENTS)
    assert len(found.problems) == 1
    assert "line 3" in found.problems[0]


@pytest.mark.parametrize("time", ["2026-13-45T99:00:00.000000Z", "yesterday", 3, None, ""])
def test_a_time_that_is_none_makes_no_event(time):
    row = json.loads(EVENTS[0].line) | {"time": time}
    assert parse(json.dumps(row).encode() + b"\n").events == ()


@given(st.binary(max_size=400))
def test_no_file_makes_reading_fail(rubbish):
    parse(rubbish)


def test_a_newer_line_is_told_of_and_the_others_are_read():
    newer = json.dumps({"schema": SCHEMA + 1, "anything": "else"}).encode()
    found = parse(data(EVENTS[:2]) + newer + b"\n")
    assert found.newer
    assert found.events == tuple(EVENTS[:2])
    assert "newer lmwright" in found.problems[0]


def test_a_clock_that_is_set_back_does_not_turn_the_order_round():
    event = next_event(EVENTS, "start", {"lab": "beta"}, "aaaaaaaa", "2020-01-01T00:00:00.000000Z")
    assert event.time > EVENTS[-1].time
    assert settle([event, *EVENTS])[-1] == event
    other = next_event(EVENTS, "start", {"lab": "beta"}, "bbbbbbbb", "2020-01-01T00:00:00.000000Z")
    assert other.previous == "", "another machine's chain is its own"
    assert other.time.startswith("2020")


# ---------------------------------------------------------------- merging

machines = st.sampled_from(["aaaaaaaa", "bbbbbbbb", "cccccccc"])


@st.composite
def some_events(draw):
    """A part of what three machines wrote, in any order, some of it changed by hand."""
    found = []
    for machine in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        whole = MACHINES[machine]
        for event in draw(st.lists(st.sampled_from(whole), max_size=5)):
            changed = draw(st.booleans()) and draw(st.booleans())
            lines = edited(event, seed=draw(st.integers(0, 2))) if changed else event.line
            found += parse(lines + b"\n").events
    return draw(st.permutations(found))


MACHINES = {name: chain(STEPS, name) for name in ("aaaaaaaa", "bbbbbbbb", "cccccccc")}


@given(some_events(), some_events(), some_events())
@settings(max_examples=60)
def test_merging_is_a_union(a, b, c):
    assert merged(a, b) == merged(b, a)
    assert merged(merged(a, b), c) == merged(a, merged(b, c)) == merged(a, b, c)
    assert merged(a, a) == merged(a) == merged(merged(a))
    assert {event.id for event in merged(a, b)} == {event.id for event in [*a, *b]}
    times = [event.time for event in merged(a, b, c)]
    assert times == sorted(times)


def test_each_machines_chain_stands_by_itself():
    ours, theirs = MACHINES["aaaaaaaa"], MACHINES["bbbbbbbb"]
    broken = parse(edited(ours[1], passed=3)).events
    found = merged([ours[0], *broken, *ours[2:]], theirs)
    assert all(event.verified for event in found if event.machine == "bbbbbbbb")
    assert [event.verified for event in found if event.machine == "aaaaaaaa"] == [True] + [
        False
    ] * 4


def test_an_intact_copy_from_elsewhere_heals_a_changed_line():
    broken = parse(
        data([EVENTS[0]]) + edited(EVENTS[1], passed=3) + b"\n" + data(EVENTS[2:])
    ).events
    assert not all(event.verified for event in broken)
    assert merged(broken, EVENTS) == tuple(EVENTS)
