"""The kernels are compiled for GPUs that are not here: types, tiles and memory fit them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.cuda.test_interpreted import need_triton

SMALLEST_LIMIT = 99 << 10
"""Bytes of shared memory of a program: the least of all GPUs since compute capability 8.0."""
CASES = [
    ("80", "bf16", "bf16", "64", "few"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("89", "bf16", "fp8e4nv", "64", "few"),
            ("80", "fp16", "i8", "128", "many"),
            ("89", "fp32", "fp32", "256", "many"),
            ("90", "bf16", "fp8e4nv", "256", "many"),
        )
    ),
]


@pytest.mark.parametrize(("capability", "query", "stored", "width", "rows"), CASES)
def test_kernels_compile_for_a_gpu(capability, query, stored, width, rows, tmp_path):
    need_triton()
    ours = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    ours["TRITON_CACHE_DIR"] = str(tmp_path)
    script = str(Path(__file__).with_name("compiled.py"))
    done = subprocess.run(
        [sys.executable, script, capability, query, stored, width, rows],
        env=ours,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    used = [int(number) for number in re.findall(r": (\d+) bytes", done.stdout)]
    assert len(used) == 3
    assert max(used) <= SMALLEST_LIMIT, done.stdout
    assert ("mma True" in done.stdout) == (query != "fp32")
