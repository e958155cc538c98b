"""Layers of experts with random weights, what goes through them, and how it is routed."""

import torch

from lmwright.models.config import ExpertsConfig, TransformerConfig
from lmwright.models.layers.experts import Experts
from lmwright.models.layers.routing import (
    dispatch,
    route,
)
from tests.models.cases import fill, random_shape


def experts_config(**values):
    defaults = {
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "intermediate_size": 7,
        "layers": (0,),
    }
    return ExpertsConfig(**defaults | values)


def layer(seed=0, dtype=torch.float32, activation="silu", gated=True, hidden=6, **values):
    """A layer with random weights, in training."""
    shape = random_shape(
        seed,
        hidden_size=hidden,
        num_hidden_layers=1,
        activation=activation,
        gated=gated,
        experts=experts_config(**values),
    )
    return fill(Experts(TransformerConfig(**shape)), seed, std=0.5).to(dtype)


def stream(rows, length, hidden=6, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, hidden, generator=generator, dtype=torch.float64).to(dtype)


def planned(experts, x, mask=None):
    """Tokens, routing and dispatch, as the layer makes them."""
    tokens = x.reshape(-1, x.shape[-1])
    values = experts.settings
    real = None if mask is None else mask.reshape(-1)
    routing = route(
        experts.router_logits(tokens),
        values.num_experts_per_tok,
        values.normalize_weights,
        values.capacity_factor,
        real,
    )
    plan = dispatch(routing.experts, values.num_experts, routing.taken)
    return tokens, routing, plan
