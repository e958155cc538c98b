"""Probes of the machine: measured, bounded, and honest about a missing compiler."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lmwright.core import device


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_measured_product_is_plausible_and_leaves_torch_as_it_was(dtype):
    random_state, threads = torch.get_rng_state(), torch.get_num_threads()

    peak = device.matmul_peak(dtype, shape=(128, 256, 64), seconds=0.02)

    assert 1e6 < peak < 1e15
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads


def test_a_measurement_takes_about_the_time_it_was_given():
    started = time.perf_counter()
    device.matmul_peak("float32", shape=(64, 64, 64), seconds=0.05)
    assert time.perf_counter() - started >= 0.05


def test_the_best_repeat_counts_not_the_first():
    pauses = iter([0.02, 0.005, 0.001, 0.005] + [0.005] * 100)
    best = device._best_time(lambda: time.sleep(next(pauses)), seconds=0.05)
    assert 0.001 <= best < 0.005


def test_memory_bandwidth_is_plausible():
    assert 1e8 < device.memory_bandwidth(seconds=0.05) < 1e13


def test_cores_stay_within_the_affinity():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert device.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= device.physical_cores() <= len(allowed)


def write_group(folder: Path, **files: object) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")
    return folder


def test_memory_stops_at_the_containers_limit(tmp_path, monkeypatch):
    version_2 = write_group(
        tmp_path / "v2",
        memory__max=3 << 20,
        memory__current=2 << 20,
        memory__stat=f"anon 5\ninactive_file {1 << 19}",
    )
    version_1 = write_group(
        tmp_path / "v1",
        memory__limit_in_bytes=3 << 20,
        memory__usage_in_bytes=2 << 20,
        memory__stat=f"inactive_file 7\ntotal_inactive_file {1 << 19}",
    )
    for group in (version_1, version_2):
        monkeypatch.setattr(device, "_cgroup_folders", lambda controller, group=group: [group])
        assert device.available_memory_bytes() == (1 << 20) + (1 << 19)


def test_a_group_without_a_limit_does_not_limit(tmp_path, monkeypatch):
    groups = [
        write_group(tmp_path / "v2", memory__max="max", memory__current=5),
        write_group(tmp_path / "v1", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=5),
        write_group(tmp_path / "bare"),
    ]
    monkeypatch.setattr(device, "_cgroup_folders", lambda controller: groups)
    assert device.available_memory_bytes() > 1 << 24


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu__max": "150000 100000"}, 2),
        ({"cpu__max": "max 100000"}, sys.maxsize),
        ({"cpu__cfs_quota_us": 400000, "cpu__cfs_period_us": 100000}, 4),
        ({"cpu__cfs_quota_us": -1, "cpu__cfs_period_us": 100000}, sys.maxsize),
    ],
)
def test_a_containers_processor_quota_counts_in_whole_cores(tmp_path, monkeypatch, files, cores):
    group = write_group(tmp_path / "group", **files)
    monkeypatch.setattr(device, "_cgroup_folders", lambda controller: [group])
    assert device._quota_cores() == cores


def test_peak_memory_counts_living_children():
    before = device.peak_rss_bytes()
    command = "import time; held = bytearray(200 << 20); print('held', flush=True); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            together = device.peak_rss_bytes()
        finally:
            child.kill()
    assert together >= max(before, 200 << 20)
    assert device.peak_rss_bytes() >= together  # a peak stays when the child has gone


def reason_with_compiler(compiler: str) -> str:
    """What `compiler_works` says in a fresh process, where torch reads `CXX` anew."""
    code = "from lmwright.core import device; print(device.compiler_works())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CXX": compiler},
    )
    return done.stdout.strip()


def test_a_compiler_that_is_not_there_is_named():
    reason = reason_with_compiler("/nowhere")
    assert "/nowhere does not run" in reason
    assert "\n" not in reason


def test_a_compiler_that_builds_nothing_does_not_work():
    assert "library cannot be written or loaded" in reason_with_compiler("true")


def test_a_compiler_without_openmp_is_told_by_its_own_message(tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "g++ 12" && exit 0\n'
        'echo "probe.cpp:1:10: fatal error: omp.h: No such file" >&2; exit 1\n'
    )
    compiler.chmod(0o755)
    reason = reason_with_compiler(str(compiler))
    assert "fatal error: omp.h" in reason


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [os.environ.get("CXX", "g++"), "/nowhere"])
def test_the_probe_and_torch_compile_agree(compiler, tmp_path):
    code = (
        "import torch\n"
        "f = torch.compile(lambda x: (x * 3 + 1).exp(), fullgraph=True)\n"
        "x = torch.linspace(-1, 1, 1000)\n"
        "assert torch.allclose(f(x), (x * 3 + 1).exp())\n"
    )
    environment = {**os.environ, "CXX": compiler, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode == 0) == (reason_with_compiler(compiler) == "None")
