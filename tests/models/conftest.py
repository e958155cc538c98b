"""What the tests of this room share."""

import os
from pathlib import Path

import pytest

from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from tests.models.cases import fill, random_shape


@pytest.fixture
def tiny():
    """A small model with random weights."""
    config = TransformerConfig(**random_shape(3, vocab_size=60, num_hidden_layers=2))
    return fill(Decoder(config), 0).eval()


@pytest.fixture
def data():
    """The folder of real data; without it the test is left out, and fails under CI."""
    folder = os.environ.get("LMWRIGHT_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    if os.environ.get("CI") == "true":
        pytest.fail("LMWRIGHT_DATA names no folder of real data")
    pytest.skip("LMWRIGHT_DATA names no folder of real data")
