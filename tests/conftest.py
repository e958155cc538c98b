"""What all tests share: runs go to a temporary folder, one thread, no network."""

import os

# Before torch is imported anywhere: tests run beside each other, and tiny models gain nothing.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from tests.chromium import browser

__all__ = ["browser"]


@pytest.fixture(autouse=True)
def runs_in_temporary_folder(tmp_path_factory, monkeypatch):
    """No test writes into the working folder's `runs/`, nor tracks to a server."""
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path_factory.mktemp("runs")))
    monkeypatch.delenv("LMWRIGHT_MLFLOW", raising=False)
