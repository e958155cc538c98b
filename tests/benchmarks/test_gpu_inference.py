"""The GPU benchmark says in one line that it has nothing to run on."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu_inference.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: it would begin")
def test_it_refuses_without_a_gpu():
    done = subprocess.run([sys.executable, BENCHMARK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: gpu_inference.py needs a CUDA GPU, and PyTorch finds none\n"
