"""Random tiny shapes and weights, and the measure of how far two results differ."""

import random

import torch


def relative(found, expected):
    """max|difference| / RMS(expected), the project's meaning of "relative"."""
    found, expected = found.double(), expected.double()
    return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()


def random_shape(seed, **fixed):
    """Fields of a tiny config, a different one for each seed."""
    draw = random.Random(seed)
    groups = draw.choice([1, 2, 3])
    heads = draw.choice([1, 2])
    shape = {
        "vocab_size": draw.randint(50, 120),
        "hidden_size": draw.choice([16, 24, 40]),
        "intermediate_size": draw.choice([24, 36, 52]),
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "num_attention_heads": heads * groups,
        "num_key_value_heads": heads,
        "head_dim": draw.choice([4, 8, 16]),
        "norm_eps": draw.choice([1e-6, 1e-5]),
        "rope_theta": draw.choice([1e3, 1e4, 1e6]),
        "tie_word_embeddings": draw.random() < 0.5,
        "attention_bias": draw.random() < 0.3,
        "model_type": "qwen3",
        "query_key_norm": True,
    }
    shape["attention_output_bias"] = shape["attention_bias"]
    return shape | fixed


def fill(model, seed, std=0.2):
    """Weights large enough that logits matter, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, std, generator=generator)
            if name.endswith("norm.weight"):
                parameter.add_(1.0)
    return model
