"""Counts from a config against the modules themselves and torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmwright.models import accounting
from lmwright.models.build import build
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from tests.models.cases import random_shape

SEEDS = range(10)


def config_of(seed, **fixed):
    return TransformerConfig(**random_shape(seed, **fixed))


@pytest.mark.parametrize("seed", SEEDS)
def test_parameters_are_those_of_the_module(seed):
    config = config_of(seed)
    model = Decoder(config)
    parts = accounting.parameters(config)

    def count(*words):
        named = model.named_parameters()
        return sum(p.numel() for name, p in named if any(word in name for word in words))

    assert parts["total"] == sum(p.numel() for p in model.parameters())
    assert parts["total"] == sum(v for k, v in parts.items() if k != "total")
    assert parts["embedding"] == count("embed_tokens")
    assert parts["attention"] == count("_proj") - count("mlp")
    assert parts["feed_forward"] == count("mlp")
    assert parts["norms"] == count("norm")
    assert parts["output"] == count("lm_head")
    assert accounting.parameters(config.to_hf()) == parts


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("training", [False, True])
def test_flops_are_those_of_torchs_counter(seed, training):
    config = config_of(seed, attention_bias=False)
    model = Decoder(config)
    tokens = torch.zeros(3, 11, dtype=torch.long)
    # Written out, attention is matrix products that the counter knows; so it is on bf16 rows.
    model = model.bfloat16()

    with FlopCounterMode(display=False) as counter:
        logits = model(tokens).logits
        if training:
            logits.float().sum().backward()

    assert accounting.flops_per_token(config, 11, training) * 33 == counter.get_total_flops()


def test_a_window_bounds_the_context():
    config = config_of(0, num_hidden_layers=2)
    kinds = ("sliding_attention", "full_attention")
    sliding = config.model_copy(update={"layer_types": kinds, "sliding_window": 8})
    per_key = 4 * config.num_attention_heads * config.head_dim

    full = accounting.flops_per_token(config, 100, training=False)
    assert full - accounting.flops_per_token(sliding, 100, training=False) == 92 * per_key
    assert accounting.flops_per_token(sliding, 8, training=False) == (
        accounting.flops_per_token(config, 8, training=False)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_kv_bytes_are_those_of_the_keys_and_values(seed):
    config = config_of(seed)
    model, sizes = Decoder(config).bfloat16(), []

    class Counting:
        def attend(self, layer, q, k, v, rule):
            sizes.append(k.nbytes + v.nbytes)
            return q

    positions = torch.arange(5)[None]
    model(torch.zeros(1, 5, dtype=torch.long), position_ids=positions, cache=Counting())
    assert accounting.kv_bytes_per_token(config) == sum(sizes) / 5
    assert accounting.kv_bytes_per_token(config, 4) == 2 * sum(sizes) / 5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_memory_is_near_what_autograd_keeps(precision):
    config = config_of(
        0,
        vocab_size=64,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
    )
    model, kept = Decoder(config), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    tokens = torch.zeros(8, 64, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        model.hidden_states(tokens)
    measured = sum(storage.nbytes() for storage in kept.values())

    estimate = accounting.training_memory_bytes(config, 8, 64, precision, "adamw", logit_rows=0)
    fixed = accounting.training_memory_bytes(config, 0, 64, precision, "adamw")
    assert 0.5 <= (estimate - fixed) / measured <= 1.5
    assert fixed >= accounting.parameters(config)["total"] * 16


ANY = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 32,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 12, "layers": (0, 2)}
POST = {"norm_placement": "post", "final_norm": False, "embedding_norm": True}
BIASED = {"attention_bias": True, "attention_output_bias": True, "feed_forward_bias": True}
SHAPES = {
    "gpt2": {"norm": "layer_norm", "positions": "learned", "gated": False, **BIASED},
    "bloom": {"positions": "alibi", "embedding_norm": True, "tie_word_embeddings": True},
    "gemma": {"norm_placement": "both", "query_key_norm": True, "norm_plus_one": True},
    "experts": {"experts": EXPERTS},
    "shared": {"experts": {**EXPERTS, "shared_intermediate_size": 6, "shared_gate": True}},
    "encoder": {"architecture": "encoder", "token_type_vocab_size": 2, **POST},
    "first norm": {"architecture": "encoder", "first_norm": False, "head": {"task": "masked_lm"}},
    "t5": {"architecture": "encoder_decoder", "positions": "relative", "num_decoder_layers": 2},
    "bart": {"architecture": "encoder_decoder", "output_bias": True, **POST, **BIASED},
    "classes": {"head": {"task": "sequence_classification", "num_labels": 3, "hidden": True}},
    "tags": {"architecture": "encoder", "head": {"task": "token_classification", "crf": True}},
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_architecture_is_counted(name):
    config = TransformerConfig(**(ANY | SHAPES[name]))
    model = build(config)
    counted = accounting.parameters(config)
    assert counted["total"] == sum(p.numel() for p in model.parameters())
    expert = 3 * 16 * 12
    idle = 2 * 2 * expert if config.experts else 0
    assert accounting.active_parameters(config) == counted["total"] - idle


@pytest.mark.parametrize("name", ["gpt2", "bloom", "encoder", "first norm"])
def test_flops_of_every_architecture(name):
    config = TransformerConfig(**(ANY | SHAPES[name]))
    model = build(config).bfloat16()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(3, 11, dtype=torch.long))
    assert accounting.flops_per_token(config, 11, training=False) * 33 == counter.get_total_flops()


def test_flops_of_a_read_and_a_written_token():
    config = TransformerConfig(**(ANY | SHAPES["t5"] | {"num_decoder_layers": 3}))
    model = build(config).bfloat16()
    ids = torch.zeros(2, 11, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(ids, decoder_input_ids=ids)
    # 22 tokens read, 22 written; the memory's keys and values are projected where it is read.
    assert accounting.flops_per_token(config, 11, training=False) * 44 == counter.get_total_flops()


def test_experts_that_sleep_cost_nothing():
    config = TransformerConfig(**(ANY | SHAPES["experts"]))
    dense = TransformerConfig(**ANY)
    difference = accounting.matrix_parameters(dense) - accounting.matrix_parameters(config)
    assert difference == 2 * (3 * 16 * 20 - 2 * 3 * 16 * 12 - 4 * 16)
