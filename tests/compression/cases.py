"""Models and layers of random weights, and what is expected of them."""

import pytest
import torch

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from tests.models.cases import fill, random_shape

GROUPED = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
"""A shape whose rows divide into groups of 32 and 64."""


def parent(seed, **fixed):
    return fill(Decoder(TransformerConfig(**random_shape(seed, **fixed))), seed).eval()


def random_weight(seed, columns=None):
    """(N, K) with rows of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    rows, width = torch.randint(1, 60, (2,), generator=generator).tolist()
    spread = torch.rand(rows, 1, generator=generator).mul(8).sub(6).exp()
    return torch.randn(rows, columns or width, generator=generator) * spread


def refused(function, *arguments, **options):
    """What the error says; one line."""
    with pytest.raises(LmwrightError) as caught:
        function(*arguments, **options)
    assert "\n" not in caught.value.what
    return str(caught.value)
