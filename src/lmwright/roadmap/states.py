"""Where a learner stands: a replay of the record's events, and of the runs found here.

Everything is derived, each time anew; nothing is ever typed in. All functions but `here` are pure:
the same events, labs and runs give the same states, in whatever order the files were merged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lmwright.roadmap.chain import Event
from lmwright.roadmap.lab import Lab, all_labs
from lmwright.roadmap.record import Record
from lmwright.roadmap.topics import FinishedRun, Road, Topic, finished_runs, load_road, runs_of

LabWord = Literal["none", "started", "checked", "built"]
TopicWord = Literal["planned", "ready", "ran", "met"]

LAB_WORDS: tuple[LabWord, ...] = ("none", "started", "checked", "built")
"""In the order in which they are earned."""
KILLED_SHARE = 0.75
"""Of the hidden wrong versions that one's own tests must refuse: 6 of 8."""

SOLUTION = 5
"""The hint that shows production's source."""


@dataclass(frozen=True)
class Evidence:
    """What one version of the learner's file has shown.

    Args:
        specs: digests of the specifications on which its check passed.
        twist: whether it passed its twist.
        tests: whether the learner's own tests, run with it, refused enough wrong versions.
    """

    specs: frozenset[str] = frozenset()
    twist: bool = False
    tests: bool = False

    @property
    def built(self) -> bool:
        """Whether twist and tests stand beside the check."""
        return self.twist and self.tests


@dataclass(frozen=True)
class LabState:
    """Where the learner stands with one lab.

    Args:
        lab: its id.
        word: "checked" where the check passed; "built" where, of one version of the file, the check
            passed, the twist passed, and the learner's own tests refused enough wrong versions.
        older: whether that was earned on an older version of the specification.
        unverified: whether it rests on events that follow on a break of the record.
        solution_seen: whether the learner asked for it, ever.
        twist, tests: whether each was done, on any version of the file.
        used: finished runs that called a version which had passed.
        proved: whether a run with it equalled one with production's, on real data.
        verified: time at which CI checked it again; empty: never.
        attempts: checks made.
        hints: highest level that was asked for.
        check: the newest.
    """

    lab: str
    word: LabWord = "none"
    older: bool = False
    unverified: bool = False
    solution_seen: bool = False
    twist: bool = False
    tests: bool = False
    used: tuple[str, ...] = ()
    proved: bool = False
    verified: str = ""
    attempts: int = 0
    hints: int = 0
    check: Event | None = None

    @property
    def passed(self) -> bool:
        """Whether its check has passed."""
        return self.word in ("checked", "built")

    @property
    def under_way(self) -> bool:
        """Whether it was begun and is not built yet."""
        return self.word in ("started", "checked")


@dataclass(frozen=True)
class TopicState:
    """Where a topic stands.

    Args:
        word: "planned" without working code, "ready" with it; "ran" where a finished run shows it,
            and "met" where that run reached what the topic's proof asks for.
        runs: that ran it, by name.
        value: of the proof's metric in the best of them.
    """

    word: TopicWord
    runs: tuple[str, ...] = ()
    value: float | None = None


@dataclass(frozen=True)
class Standing:
    """The whole road and where the learner stands on it.

    Args:
        road: its topics.
        labs: by id, in the order of the road.
        topics: their states, by id.
        states: the labs' states, by id.
        problems: what is wrong with the record.
    """

    road: Road
    labs: Mapping[str, Lab]
    topics: Mapping[str, TopicState]
    states: Mapping[str, LabState]
    problems: tuple[str, ...] = field(default=())

    def labs_of(self, topic: Topic) -> list[Lab]:
        """Those of the topic's labs that are there."""
        return [self.labs[name] for name in topic.labs if name in self.labs]

    def open(self, topic: Topic) -> bool:
        """Whether all labs of what the topic needs have passed."""
        needed = [self.road.topic(id) for id in self.road.all_needs(topic.id)]
        return all(self.states[lab.id].passed for need in needed for lab in self.labs_of(need))

    @property
    def under_way(self) -> list[Lab]:
        """The labs that were begun and are not built yet."""
        return [lab for lab in self.labs.values() if self.states[lab.id].under_way]

    @property
    def next(self) -> Lab | None:
        """The first lab that is not built yet and whose needs are met; None if all are built."""
        for topic in self.road.topics:
            if not self.open(topic):
                continue
            for lab in self.labs_of(topic):
                if self.states[lab.id].word != "built":
                    return lab
        return None


def here() -> Standing:
    """Where the user of this machine stands, now."""
    record, labs = Record.open(), all_labs()
    return standing(load_road(), labs, record.events, finished_runs(), record.problems)


def standing(
    road: Road,
    labs: Mapping[str, Lab],
    events: Sequence[Event],
    runs: Sequence[FinishedRun],
    problems: tuple[str, ...] = (),
) -> Standing:
    """Where a learner stands, from what happened.

    Args:
        road: the topics.
        labs: by id.
        events: settled, in order of time.
        runs: that finished.
        problems: of the record, to be passed on.
    """
    topics = {topic.id: topic_state(topic, runs) for topic in road.topics}
    states = {lab.id: lab_state(lab, lab.digest(), events, runs) for lab in labs.values()}
    return Standing(road, labs, topics, states, problems)


def topic_state(topic: Topic, runs: Sequence[FinishedRun]) -> TopicState:
    """A topic's state, from the runs that ended well."""
    if topic.how is None:
        return TopicState("planned")
    ran, proof = runs_of(topic, runs), topic.proof
    if proof is None:
        names = tuple(run.name for run in ran)
        return TopicState("ran" if names else "ready", names)
    shown = [(run, proof.value(run.summary)) for run in ran]
    values = [(run, value) for run, value in shown if value is not None]
    if not values:
        return TopicState("ready")
    best = (max if proof.better == "higher" else min)(value for _, value in values)
    met = any(proof.met(run.summary) for run, _ in values)
    return TopicState("met" if met else "ran", tuple(run.name for run, _ in values), best)


def lab_state(
    lab: Lab, digest: str, events: Iterable[Event], runs: Sequence[FinishedRun]
) -> LabState:
    """A lab's state, by replay.

    Args:
        lab: which; its id and target count.
        digest: of its specification, as it is now.
        events: settled, in order of time; other labs' are passed over.
        runs: that finished.
    """
    mine = [event for event in events if event.fields.get("lab") == lab.id]
    solution_seen = any(event.kind == "solve" or _level(event) >= SOLUTION for event in mine)
    resets = [place for place, event in enumerate(mine) if event.kind == "reset"]
    # A lab begun anew has its attempts still to make; what came before stays in the record.
    counted = mine[resets[-1] :] if resets else mine
    found = evidence(counted)
    word, older = _word(counted, found, digest)
    used = tuple(run.name for run in runs if _calls(run, lab, found))
    verified = [event.time for event in counted if _verifies(event)]
    checks = [event for event in counted if event.kind == "check"]
    return LabState(
        lab=lab.id,
        word=word,
        older=older,
        unverified=_rests_on_doubt(counted, word),
        solution_seen=solution_seen,
        twist=any(shown.twist for shown in found.values()),
        tests=any(shown.tests for shown in found.values()),
        used=used,
        proved=any(event.kind == "prove" and _proves(event, found) for event in counted),
        verified=verified[-1] if verified else "",
        attempts=len(checks),
        hints=max(map(_level, counted), default=0),
        check=checks[-1] if checks else None,
    )


def evidence(events: Iterable[Event]) -> dict[str, Evidence]:
    """What each version of a file has shown, by its SHA-256.

    Args:
        events: of one lab.
    """
    specs: dict[str, set[str]] = {}
    twists, tests = set(), set()
    for event in events:
        sha256 = event.fields.get("sha256")
        if not isinstance(sha256, str):
            continue
        if event.kind == "check" and _all_passed(event):
            specs.setdefault(sha256, set()).add(str(event.fields.get("spec")))
        elif event.kind == "twist" and event.fields.get("passed") is True:
            twists.add(sha256)
        elif event.kind == "tests" and _enough(event):
            tests.add(sha256)
    return {
        sha256: Evidence(frozenset(specs.get(sha256, ())), sha256 in twists, sha256 in tests)
        for sha256 in {*specs, *twists, *tests}
    }


def _word(
    events: Sequence[Event], found: Mapping[str, Evidence], digest: str
) -> tuple[LabWord, bool]:
    """The lab's word, and whether only an older specification gives it."""
    started: LabWord = "started" if events else "none"
    now = _best([shown for shown in found.values() if digest in shown.specs], started)
    ever = _best([shown for shown in found.values() if shown.specs], started)
    return ever, LAB_WORDS.index(ever) > LAB_WORDS.index(now)


def _best(passed: Sequence[Evidence], otherwise: LabWord) -> LabWord:
    if any(shown.built for shown in passed):
        return "built"
    return "checked" if passed else otherwise


def _all_passed(event: Event) -> bool:
    passed, of = event.fields.get("passed"), event.fields.get("of")
    return isinstance(of, int) and of > 0 and passed == of


def _enough(event: Event) -> bool:
    killed, of = event.fields.get("killed"), event.fields.get("of")
    if not isinstance(killed, int) or not isinstance(of, int) or of <= 0:
        return False
    return event.fields.get("own_pass") is True and killed >= KILLED_SHARE * of


def _level(event: Event) -> int:
    """Of a hint; 0 where the event is none."""
    level = event.fields.get("level") if event.kind == "hint" else None
    return level if isinstance(level, int) else 0


def _proves(event: Event, found: Mapping[str, Evidence]) -> bool:
    calls, shown = event.fields.get("calls"), found.get(str(event.fields.get("sha256")))
    called = isinstance(calls, int) and calls > 0
    return called and event.fields.get("passed") is True and bool(shown and shown.specs)


def _verifies(event: Event) -> bool:
    """Whether continuous integration found that a part holds."""
    passed = event.kind == "verify" and event.fields.get("passed") is True
    return passed and bool(event.fields.get("by"))


def _calls(run: FinishedRun, lab: Lab, found: Mapping[str, Evidence]) -> bool:
    """Whether a run called the lab's part, as a version of the file that has passed."""
    return any(
        part.target == lab.target and part.calls > 0 and bool(found[part.sha256].specs)
        for part in run.parts
        if part.sha256 in found
    )


def _rests_on_doubt(events: Iterable[Event], word: LabWord) -> bool:
    """Whether the word would be a lesser one without the unverified events."""
    sure = [event for event in events if event.verified]
    passed = [shown for shown in evidence(sure).values() if shown.specs]
    return _best(passed, "started" if sure else "none") != word
