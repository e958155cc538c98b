"""Watching a file: a verdict for each save, and for nothing else; Ctrl-C ends it."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.watching import saves, watch
from tests.roadmap.lab_cases import ATTENTION, WITHOUT_SCALE


class Enough(Exception):
    """Ends a loop that has no end."""


def steps(*actions):
    """A `wait` that does the next action each time, then ends the loop."""
    waiting = list(actions)

    def wait(seconds):
        if not waiting:
            raise Enough
        waiting.pop(0)()

    return wait


def seen(path, *actions):
    found = []
    with contextlib.suppress(Enough):
        for file in saves(path, wait=steps(*actions)):
            found.append(file.source.decode())
    return found


def replaced(path, text):
    """As editors do it: written beside, renamed over."""
    other = path.with_suffix(".new")
    other.write_text(text)
    os.replace(other, path)


def test_each_change_of_content_comes_once(tmp_path):
    path = tmp_path / "part.py"
    path.write_text("one")
    nothing = lambda: None  # noqa: E731
    found = seen(
        path,
        nothing,
        lambda: path.write_text("two!"),
        nothing,
        lambda: os.utime(path, (1, 1)),
        lambda: replaced(path, "three"),
        path.unlink,
        nothing,
        lambda: path.write_text("three"),
        lambda: path.write_text("four"),
    )
    assert found == ["one", "two!", "three", "four"]


def test_a_file_that_comes_later_is_waited_for(tmp_path):
    path = tmp_path / "part.py"
    assert seen(path, lambda: None, lambda: path.write_text("here")) == ["here"]


def test_the_seed_stays_until_a_file_passes(tmp_path):
    path = tmp_path / "part.py"
    path.write_text("0")
    seeds = []

    def judge(file, seed):
        seeds.append(seed)
        return file.source == b"right"

    texts = ["1", "2", "right", "3", "4"]
    actions = [lambda text=text: path.write_text(text) for text in texts]
    with pytest.raises(Enough):
        watch(find_lab("attention"), path, judge, wait=steps(*actions))
    assert len(set(seeds[:4])) == 1
    assert seeds[4] == seeds[5]
    assert seeds[0] != seeds[4]  # equal once in 100,000 runs


@pytest.mark.slow
def test_it_checks_at_every_save_and_ends_cleanly(desk):
    path = desk.write(WITHOUT_SCALE)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "lmwright", "lab", "watch", "attention"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        read_until(process, "What to try")
        path.write_text(ATTENTION)
        read_until(process, "passed: ")
        read_until(process, "--use mine.attention")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out.endswith("Stopped.\n")
    assert err == ""


def read_until(process, word, seconds=120):
    deadline = time.monotonic() + seconds
    for line in process.stdout:
        if word in line:
            return
        assert time.monotonic() < deadline
    raise AssertionError(f"it ended before it said {word!r}: {process.stderr.read()}")
