"""The serving benchmark: its rows, its memory line, and servers that start and end."""

import importlib
import sys
from pathlib import Path

import pytest

from lmwright.serving.bench.outcomes import Measured, Outcome

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("serving_servers")


@pytest.fixture
def benchmark(servers):
    return importlib.import_module("serving_load")


def measured(tokens, first=0.5, failed=0):
    """A test of 10 s in which a single answer brought so many tokens."""
    answer = Outcome(0.0, arrivals=[first, first + 0.1], finished=1.0, completion_tokens=tokens)
    return Measured([answer, *(Outcome(0.0, error="HTTP 500") for _ in range(failed))], 10.0)


def test_throughput_is_compared_with_the_best_peer_and_with_one_at_a_time(benchmark):
    found = {
        "ours": [measured(900), measured(800)],
        "a": [measured(300), measured(200)],
        "b": [measured(400), measured(400)],
        benchmark.ALONE: [measured(100), measured(200)],
    }
    best, alone = benchmark.throughput_rows(found, "ours", ["a", "b"])
    assert (best.peer, best.ours, best.theirs) == ("b", 85.0, 40.0)
    assert best.values == pytest.approx([2.25, 2.0])
    assert best.target == 1.5
    assert alone.values == pytest.approx([9.0, 4.0])
    assert alone.target == 3.0
    lonely, _ = benchmark.throughput_rows(found, "ours", [])
    assert (lonely.peer, lonely.values) == ("absent", [])


def test_latencies_are_compared_with_the_lowest_of_the_peers(benchmark):
    found = {"ours": [measured(9, 0.2)], "a": [measured(9, 0.4)], "b": [measured(9, 0.3)]}
    first, *_ = benchmark.latency_rows(found, "ours", ["a", "b"])
    assert (first.case, first.peer) == ("time to first token, p50", "b")
    assert (first.ours, first.theirs) == pytest.approx((200.0, 300.0))
    assert first.values == pytest.approx([1.5]), "above 1 is better"


def test_one_error_fails_the_soak(benchmark):
    plan = benchmark.Plan(soak_seconds=10.0)
    sound, *_ = benchmark.soundness_rows(measured(5), [], plan)
    assert sound.slack == 0
    broken, *_ = benchmark.soundness_rows(measured(5, failed=1), [], plan)
    assert broken.slack < 0
    assert "1 x HTTP 500" in broken.note


def test_growth_is_that_of_a_line_through_the_samples(benchmark, servers):
    # 100 MB in the first minute, then 1 MB a minute with a wobble that sums to nothing.
    samples = [(t, 100e6 * min(1, t / 60)) for t in range(60)]
    samples += [(t, 100e6 + 1e6 * (t - 60) / 60 + 5e5 * (-1) ** t) for t in range(60, 301)]
    assert servers.growth(samples, 60, 300) == pytest.approx(0.04, abs=0.002)
    assert servers.growth([(t, 7) for t in range(10)], 0, 9) == 0
    assert servers.growth([], 0, 9) == 0
    plan = benchmark.Plan(soak_seconds=300.0)
    _, row = benchmark.soundness_rows(measured(5), samples, plan)
    assert row.slack < 0, "4 % is more than what is allowed"


SCRIPT = """
import http.server, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_and_its_children_are_watched_and_ended(servers, tmp_path):
    server = servers.Server("lmwright", "x", (sys.executable, "-c", SCRIPT, "{port}"))
    with servers.running(server, tmp_path / "log") as (url, process):
        assert url.startswith("http://127.0.0.1:")
        (child,) = process.children()
        alone = process.memory_info().rss
        assert servers.resident(process) >= alone + child.memory_info().rss * 0.5
    assert not process.is_running()
    child.wait(10)


def test_a_server_that_does_not_start_shows_its_last_words(servers, tmp_path):
    words = "import sys; sys.exit('no such model')"
    server = servers.Server("lmwright", "x", (sys.executable, "-c", words))
    with (
        pytest.raises(RuntimeError, match="x did not start: no such model"),
        servers.running(server, tmp_path / "log"),
    ):
        pass


def test_what_is_not_installed_is_absent(servers):
    assert servers.Server("no-such-package", "x", ()).absent == "no-such-package is not installed"
    assert servers.Server("lmwright", "x", ()).absent is None
