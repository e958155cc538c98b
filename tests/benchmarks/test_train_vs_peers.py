"""The training benchmark: its bookkeeping, and that all contenders do the same work."""

import importlib
import statistics
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("common")


@pytest.fixture
def peers(common):
    return importlib.import_module("train_vs_peers")


def test_rounds_alternate_and_each_begins_with_another(common):
    calls: list[str] = []
    contenders = {name: (lambda name=name: calls.append(name) or len(calls)) for name in "abc"}
    results = common.alternate(contenders, 3, say=lambda line: None)
    assert calls == list("abcbcacab")
    assert results == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_the_verdict_names_the_worst_case_and_sets_the_exit_code(common, capsys):
    good = common.Row("good", "s", 1.0, "peer", 2.0, values=[2.0, 1.9, 2.1], target=1.8)
    close = common.Row("close", "nats", 1.0, "p", 1.0, "difference", values=[-0.015], target=0.02)
    bad = common.Row("bad", "s", 1.0, "peer", 1.0, values=[0.9], target=1.0)
    silent = common.Row("silent", "s", 1.0, "absent")

    assert common.Report("x", rows=[good, close, silent]).verdict() == 0
    assert capsys.readouterr().out == "PASS good: ratio 2.000, target >= 1.80x\n"
    assert common.Report("x", rows=[good, bad]).verdict() == 1
    assert capsys.readouterr().out == "FAIL bad: ratio 0.900, target >= 1.00x\n"
    assert common.Report("x", rows=[silent]).verdict() == 1


def test_results_carry_the_processor_and_every_round(common, monkeypatch, tmp_path):
    from lmwright.core.files import read_json

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    row = common.Row("case", "s", 1.0, "peer", 2.0, values=[2.0, 3.0, 2.5])
    path = common.Report("x", {"rounds": 3}, [row]).write(quick=True)
    whole = common.Report("x", {}, [row]).write(quick=False)
    part = common.Report("x", {}, [row]).write(quick=False, part="middle")
    assert len({path, whole, part}) == 3
    record = read_json(path)
    assert path.name.startswith("x-")
    assert record["processor"]
    assert record["rows"][0]["value"] == statistics.median(record["rows"][0]["values"])


@pytest.mark.slow
def test_all_contenders_reach_the_same_loss(peers, tmp_path):
    contenders = sys.modules["train_contenders"]
    job = peers.make_job(peers.TOY, tmp_path, 6, compiling=False)
    variant = contenders.Variant()
    outcomes = [
        contenders.Ours(job)(job),
        contenders.PlainLoop(variant)(job),
        contenders.HuggingFaceTrainer(variant, "default settings")(job),
    ]
    losses = [outcome.validation_loss for outcome in outcomes]
    assert losses == pytest.approx([losses[1]] * 3, abs=0.005)  # ours may have chosen bf16
    assert all(outcome.tokens_per_second > 0 for outcome in outcomes)


def test_speed_is_that_of_the_steps_that_nothing_disturbed(peers):
    outcome = sys.modules["train_contenders"].Outcome
    lucky = [outcome((1.0,) * 8, 100, 0.0, 0.0), outcome((9.0,) * 8, 100, 0.0, 0.0)]
    unlucky = [outcome((9.0,) * 8, 100, 0.0, 0.0), outcome((3.0,) * 7 + (1.0,), 100, 0.0, 0.0)]
    assert peers.undisturbed(lucky) == pytest.approx(100)  # half of its steps took a second
    assert peers.undisturbed(unlucky) == pytest.approx(400 / (1 + 3 * 3))
    assert unlucky[1].tokens_per_second == pytest.approx(800 / 22)


def test_every_round_is_told_beside_it(peers):
    assert peers.by_round([2.0, 3.0, 8.0], [1.0, 2.0, 2.0]) == (
        "whole rounds 2.00, 1.50, 4.00, median 2.00"
    )
