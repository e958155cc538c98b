"""What the tests of this room share."""

import pytest

from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from tests.models.cases import fill, random_shape


@pytest.fixture
def tiny():
    """A small model with random weights."""
    config = TransformerConfig(**random_shape(3, vocab_size=60, num_hidden_layers=2))
    return fill(Decoder(config), 0).eval()
