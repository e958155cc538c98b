"""The record's file: appended to by several processes, torn, edited, newer, copied and merged."""

import json
import multiprocessing
import os
import signal
import stat

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.roadmap import record as record_module
from lmwright.roadmap.record import Record, learner, machine, road_file
from tests.roadmap.road import edited


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def start(count: int = 1, name: str = "attention") -> Record:
    record = Record.open()
    for _ in range(count):
        record.append("start", lab=name)
    return record


def test_an_event_says_when_where_and_with_what(home):
    event = start().events[0]
    row = json.loads((home / "road.jsonl").read_text())
    assert row["schema"] == 1
    assert (row["id"], row["kind"], row["fields"]) == (event.id, "start", {"lab": "attention"})
    assert row["machine"] == machine()
    assert len(machine()) == 8
    assert row["package"]
    assert row["time"].endswith("Z")
    assert os.uname().nodename not in (home / "road.jsonl").read_text()


def test_there_is_no_record_until_something_happens(home):
    record = Record.open()
    assert (record.events, record.problems) == ((), ())
    assert not home.exists(), "looking writes nothing"


def test_a_field_that_is_missing_is_a_bug_of_the_caller():
    with pytest.raises(AssertionError, match="level"):
        Record.open().append("hint", lab="attention")
    with pytest.raises(AssertionError):
        Record.open().append("cheer", lab="attention")


def append_many(number: int, count: int) -> None:
    record = Record.open()
    for step in range(count):
        record.append("hint", lab=f"lab{number}", level=step)


def test_processes_that_write_at_once_lose_nothing_and_make_one_chain():
    context = multiprocessing.get_context("fork")
    learner()
    workers = [context.Process(target=append_many, args=(n, 25)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0

    record = Record.open()

    assert record.problems == ()
    assert len(record.events) == 100
    assert all(event.verified for event in record.events)
    assert len({event.previous for event in record.events}) == 100, "no two follow on the same one"


def test_a_torn_last_line_is_left_and_the_next_event_goes_on_after_it(home):
    start(2)
    file = road_file()
    torn = file.read_bytes()[:-30]
    file.write_bytes(torn)
    record = Record.open()
    assert len(record.events) == 1
    assert "line 2: torn" in record.problems[0]

    record.append("start", lab="rope")

    assert file.read_bytes().startswith(torn + b"\n"), "not a byte of it was touched"
    again = Record.open()
    assert [event.fields["lab"] for event in again.events] == ["attention", "rope"]
    assert all(event.verified for event in again.events)
    assert "line 2: no event" in again.problems[0]


def test_a_last_line_that_lacks_only_its_end_counts():
    record = start(2)
    road_file().write_bytes(road_file().read_bytes()[:-1])
    assert Record.open().events == record.events
    record.append("start", lab="rope")
    assert len(Record.open().events) == 3
    assert Record.open().problems == ()


def die_while_writing(write_some: int) -> None:
    """Append, and be killed in the middle of the write."""
    whole = os.write

    def partial(descriptor, data):
        if b'"kind"' not in bytes(data):
            return whole(descriptor, data)
        whole(descriptor, data[:write_some])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    record_module.os.write = partial
    Record.open().append("start", lab="lost")


@pytest.mark.parametrize("written", [0, 1, 40, 200])
def test_a_kill_in_the_middle_of_a_write_loses_nothing_acknowledged(written):
    record = start(3)
    process = multiprocessing.get_context("fork").Process(target=die_while_writing, args=(written,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    assert Record.open().events == record.events
    Record.open().append("start", lab="rope")
    found = Record.open()
    assert len(found.events) == 4
    assert all(event.verified for event in found.events)


def test_an_edited_record_goes_on_and_says_so():
    events = start(4).events
    lines = road_file().read_bytes().splitlines()
    lines[1] = edited(events[1], lab="rope")
    road_file().write_bytes(b"\n".join(lines) + b"\n")

    record = Record.open()
    record.append("start", lab="block")

    assert [event.verified for event in Record.open().events] == [True, False, False, False, False]
    assert "line 2: changed after it was written" in Record.open().problems[0]


def test_a_newer_record_is_read_and_never_written():
    start(2)
    row = json.loads(road_file().read_text().splitlines()[0])
    with open(road_file(), "a") as file:
        file.write(json.dumps({**row, "schema": 2, "wisdom": 1}) + "\n")
    before = road_file().read_bytes()

    record = Record.open()
    assert len(record.events) == 2
    assert record.newer
    with pytest.raises(LmwrightError, match="newer lmwright") as caught:
        record.append("start", lab="rope")
    assert "update lmwright" in str(caught.value)
    assert road_file().read_bytes() == before


def test_two_machines_become_one_record(tmp_path, monkeypatch):
    start(2, "attention")
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "other"))
    other = start(3, "rope")
    copy = tmp_path / "copy.jsonl"
    assert other.copy_to(copy) == 3
    assert copy.read_bytes() == road_file().read_bytes()

    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    mine = Record.open()
    assert mine.take(Record.open(copy)) == 3
    whole = road_file().read_bytes()
    assert mine.take(Record.open(copy)) == 0, "twice is once"
    assert road_file().read_bytes() == whole
    assert [event.fields["lab"] for event in Record.open().events] == ["attention"] * 2 + [
        "rope"
    ] * 3

    event = mine.append("start", lab="block")
    assert event.previous == [e for e in mine.events if e.machine == machine()][-2].digest
    assert all(event.verified for event in Record.open().events)
    assert Record.open().problems == ()


def test_a_file_that_is_no_record_is_not_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("dear diary\n")
    for name in ("notes.txt", "nothing.jsonl"):
        with pytest.raises(LmwrightError, match="holds no event"):
            Record.open().take(Record.open(tmp_path / name))
    assert not road_file().exists()


def test_an_export_takes_nothing_elses_place(tmp_path):
    with pytest.raises(LmwrightError, match="no record yet"):
        Record.open().copy_to(tmp_path / "copy.jsonl")
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(LmwrightError, match="exists"):
        start().copy_to(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "important"


def test_a_learner_keeps_their_name(home):
    name = learner()
    assert learner() == name
    (home / "learner.json").write_text('{"learn')
    assert learner() != name, "a torn file is written anew"
    assert json.loads((home / "learner.json").read_text()) == {"learner": learner()}


def test_the_record_is_its_owners_alone(home):
    start()
    assert stat.S_IMODE(road_file().stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(LmwrightError, match="LMWRIGHT_HOME"):
        Record.open().append("start", lab="rope")
