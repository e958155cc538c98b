"""The tests of `kernels/` through Triton's interpreter, in a process of their own: see there."""

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parent / "kernels"
ROOT = Path(__file__).parents[3]


def need_triton():
    """Skip without it; where it must be there, fail."""
    if importlib.util.find_spec("triton") is None:
        has_wheels = sys.platform == "linux" and platform.machine() == "x86_64"
        if os.environ.get("CI") == "true" and has_wheels:
            pytest.fail("triton is missing: install the extra `test`")
        pytest.skip("triton is not installed")


def test_kernels_are_right_where_triton_interprets_them():
    need_triton()
    # Not this process's place among others, and no GPU: it is the interpreter that is asked.
    ours = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST_")}
    ours |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*command, str(KERNELS)],
        cwd=ROOT,
        env=ours,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
