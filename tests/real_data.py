"""Where the real data of tests is: one rule for all of them."""

import os
from pathlib import Path

import pytest


def real_data_folder() -> Path:
    """The folder that LMWRIGHT_DATA names; without it a test is left out, and fails under CI."""
    folder = os.environ.get("LMWRIGHT_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    if os.environ.get("CI") == "true":
        pytest.fail("LMWRIGHT_DATA names no folder of real data")
    pytest.skip("LMWRIGHT_DATA names no folder of real data")
