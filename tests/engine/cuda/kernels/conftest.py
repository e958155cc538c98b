"""Tests of Triton kernels: on a GPU as they are, else where triton interprets them.

The interpreter must be chosen before triton is imported for the first time, and holds for the whole
process: `test_interpreted.py` runs this folder in a process of its own. By hand:

    TRITON_INTERPRET=1 python -m pytest tests/engine/cuda/kernels
"""

import os

import pytest
import torch

on_gpu = torch.cuda.is_available()
interpreted = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if on_gpu or interpreted else ["test_*.py"]


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if on_gpu and not interpreted else "cpu")
