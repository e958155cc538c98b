"""The machine report: complete, readable, and true where it can be checked."""

import platform
import shutil
import subprocess
import sys

import pytest
import torch

from lmwright.core import device, doctor


@pytest.fixture
def quick_measurements(monkeypatch):
    speeds = {"float32": 100e9, "bfloat16": 250e9}
    monkeypatch.setattr(device, "matmul_peak", lambda dtype: speeds[dtype])
    monkeypatch.setattr(device, "compiler_works", lambda: "no C++ compiler")
    return speeds


def test_the_report_names_everything_a_person_would_ask(quick_measurements):
    rows = dict(doctor.machine_report())
    assert list(rows) == [
        *("Python", "lmwright", "torch", "processor", "cores", "memory", "disk", "compiler"),
        *("fp32 product", "bf16 product", "precision", "memory copy", "accelerator"),
    ]
    assert rows["Python"].startswith(platform.python_version())
    assert rows["torch"] == torch.__version__
    assert rows["compiler"] == "no C++ compiler: training runs eager"
    assert all(value and "\n" not in value for value in rows.values())


def test_the_faster_precision_is_named(quick_measurements):
    assert dict(doctor.machine_report())["precision"].startswith("bf16, 2.5 times")
    quick_measurements["bfloat16"] = 50e9
    assert dict(doctor.machine_report())["precision"].startswith("fp32, 2.0 times")


def test_disk_space_is_that_of_the_runs_folder_even_before_it_exists(
    quick_measurements, tmp_path, monkeypatch
):
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path / "not" / "yet"))
    said = dict(doctor.machine_report())["disk"]
    free = shutil.disk_usage(tmp_path).free / 1e9
    assert float(said.split()[0].replace(",", "")) == pytest.approx(free, rel=0.05)
    assert str(tmp_path / "not" / "yet") in said


def test_the_real_measurements_fill_the_report():
    code = "from lmwright.core.doctor import machine_report; print(len(machine_report()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "13"), done.stderr
