"""What the tests of this room share."""

import pytest

from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from tests.models.cases import fill, random_shape
from tests.real_data import real_data_folder


@pytest.fixture
def tiny():
    """A small model with random weights."""
    config = TransformerConfig(**random_shape(3, vocab_size=60, num_hidden_layers=2))
    return fill(Decoder(config), 0).eval()


@pytest.fixture
def data():
    """The folder of real data; without it the test is left out, and fails under CI."""
    return real_data_folder()
