"""The start-up benchmark: what is compared with what, and the first start without a cache."""

import importlib
import os
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("serving_start")


@pytest.fixture
def starts(benchmark, monkeypatch):
    """What each start was told, in place of starting anything."""
    told = []

    def start(server, log):
        told.append((server.label, os.environ.get("LMWRIGHT_PACKED_CACHE_GB")))
        return {"peer": 4.0}.get(server.label, 2.0 if told[-1][1] is None else 2.5)

    monkeypatch.setattr(benchmark, "seconds_to_first_token", start)
    monkeypatch.setattr(benchmark, "import_torch", lambda: 1.5)
    monkeypatch.setenv("LMWRIGHT_PACKED_CACHE_GB", "3")
    return told


def server(benchmark, label, package="lmwright"):
    return benchmark.Server(package, label, ("true",))


def test_first_and_later_starts_are_held_to_the_limit(benchmark, starts, tmp_path):
    mine, rivals = server(benchmark, "ours"), [server(benchmark, "peer")]

    first, later = benchmark.rows_of("a model", mine, rivals, 3.0, 2, tmp_path / "log")

    assert (first.ours, later.ours) == (2.5, 2.0)
    assert first.values == pytest.approx([1.2, 1.2])
    assert first.target == later.target == 1.0
    assert "peer 4.00 s, 2.00 times as long" in later.note
    # The cache is filled before anything counts, and the reader's own limit is left as it was.
    assert starts[0] == ("ours", None)
    assert starts.count(("ours", "0")) == 2
    assert os.environ["LMWRIGHT_PACKED_CACHE_GB"] == "3"


def test_absent_peers_are_left_out(benchmark, starts, tmp_path, capsys):
    rivals = [server(benchmark, "nobody's", package="no-such-package")]

    rows = benchmark.rows_of("a model", server(benchmark, "ours"), rivals, 3.0, 1, tmp_path / "log")

    assert {row.note for row in rows} == {"`import torch` alone 1.50 s"}
    assert "absent, no-such-package is not installed" in capsys.readouterr().out
