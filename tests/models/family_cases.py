"""Tiny random models of transformers, a different one for each seed, and ours beside them."""

import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from lmwright import models
from tests.models.cases import relative

WINDOW = 32  # longest sequence that the tiny models were "trained" for

AUTO = {
    "causal_lm": transformers.AutoModelForCausalLM,
    "sequence_classification": transformers.AutoModelForSequenceClassification,
    "reward": transformers.AutoModelForSequenceClassification,
    "token_classification": transformers.AutoModelForTokenClassification,
    "embedding": transformers.AutoModel,
    "backbone": transformers.AutoModel,
}


def scaled(draw, kinds=("linear", "dynamic", "yarn", "llama3")):
    """Settings of a scaled rotary embedding, those that may be left out now and then left out."""
    kind = draw.choice(kinds)
    settings: dict[str, Any] = {"rope_type": kind, "factor": draw.choice([1.5, 2.0, 4.0])}
    if kind == "yarn":
        settings["original_max_position_embeddings"] = WINDOW // 2
        if draw.random() < 0.5:
            settings |= {"beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3}
        if draw.random() < 0.5:
            settings["truncate"] = False
    if kind == "llama3":
        settings |= {"low_freq_factor": 1.0, "high_freq_factor": draw.choice([2.0, 4.0])}
        settings["original_max_position_embeddings"] = WINDOW // 2
    return settings


def rope(draw):
    """Rotary settings, scaled or not."""
    settings = scaled(draw) if draw.random() < 0.5 else {"rope_type": "default"}
    return settings | {"rope_theta": draw.choice([1e3, 1e4, 1e6])}


def common(draw, width=(4, 6, 8)):
    """What every family has; the hidden size is that of all heads together."""
    heads = draw.choice([1, 2, 3, 4])
    return {
        "vocab_size": draw.randint(50, 120),
        "hidden_size": heads * draw.choice(width) * 2,
        "num_attention_heads": heads,
        "num_hidden_layers": draw.choice([2, 3]),
        "tie_word_embeddings": draw.random() < 0.5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def llama_like(draw):
    """Shapes of LLaMA's descendants: grouped heads, a rotary embedding."""
    heads, groups = draw.choice([1, 2]), draw.choice([1, 2, 3])
    return common(draw) | {
        "hidden_size": draw.choice([16, 24, 36]) * heads * groups // draw.choice([1, 2]),
        "intermediate_size": draw.choice([24, 36, 52]),
        "num_attention_heads": heads * groups,
        "num_key_value_heads": heads,
        "max_position_embeddings": WINDOW,
        "rms_norm_eps": draw.choice([1e-6, 1e-5]),
        "rope_parameters": rope(draw),
    }


def llama(draw):
    return llama_like(draw) | {
        "head_dim": draw.choice([4, 8, 16]),
        "attention_bias": draw.random() < 0.5,
        "mlp_bias": draw.random() < 0.5,
        "hidden_act": draw.choice(["silu", "gelu", "gelu_pytorch_tanh", "relu"]),
    }


def mistral(draw):
    return llama_like(draw) | {
        "head_dim": draw.choice([4, 8, 16]),
        "sliding_window": draw.choice([None, 3, 5]),
    }


def qwen(draw):
    layers = draw.choice([2, 3])
    kinds = [draw.choice(["sliding_attention", "full_attention"]) for _ in range(layers)]
    windows = draw.choice(
        [
            {"use_sliding_window": False},
            {"use_sliding_window": True, "sliding_window": 4, "layer_types": kinds},
            {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        ]
    )
    return llama_like(draw) | {"num_hidden_layers": layers, **windows}


def qwen2(draw):
    shape = qwen(draw)
    return shape | {"hidden_size": shape["num_attention_heads"] * draw.choice([4, 8, 16])}


def qwen3(draw):
    return qwen(draw) | {
        "head_dim": draw.choice([4, 8, 16]),
        "attention_bias": draw.random() < 0.5,
    }


def gemma(draw):
    heads = draw.choice([1, 2, 4])
    return llama_like(draw) | {
        "head_dim": draw.choice([4, 8]),
        "num_attention_heads": heads,
        "num_key_value_heads": draw.choice([1, heads]),
        "hidden_size": 24,
        "attention_bias": draw.random() < 0.5,
    }


def gemma2(draw):
    soft = {
        "attn_logit_softcapping": draw.choice([2.0, 5.0]),
        "final_logit_softcapping": draw.choice([None, 3.0]),
        "sliding_window": draw.choice([3, 5]),
        "query_pre_attn_scalar": draw.choice([8, 11, 144]),
    }
    return gemma(draw) | soft


def gemma3_text(draw):
    full = rope(draw)
    return gemma(draw) | {
        "num_hidden_layers": 3,
        "layer_types": draw.choice(
            [None, ["sliding_attention", "full_attention", "sliding_attention"]]
        ),
        "sliding_window": draw.choice([3, 5]),
        "query_pre_attn_scalar": draw.choice([8, 11]),
        "final_logit_softcapping": draw.choice([None, 3.0]),
        "rope_parameters": {
            "full_attention": scaled(draw, ["linear"]) | {"rope_theta": full["rope_theta"]},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
        },
    }


# The reference's grouped product takes no others.
WIDTHS_OF_EXPERTS = {"hidden_size": 24, "intermediate_size": 32}


def mixtral(draw):
    experts = draw.choice([2, 4, 5])
    return llama_like(draw) | {
        "head_dim": 8,
        **WIDTHS_OF_EXPERTS,
        "num_local_experts": experts,
        "num_experts_per_tok": draw.choice([1, 2]),
        "sliding_window": draw.choice([None, 4]),
        "router_aux_loss_coef": draw.choice([0.001, 0.02]),
    }


def qwen3_moe(draw):
    return llama_like(draw) | {
        "head_dim": draw.choice([4, 8]),
        "num_hidden_layers": 3,
        "num_experts": draw.choice([3, 4, 6]),
        "num_experts_per_tok": draw.choice([1, 2]),
        **WIDTHS_OF_EXPERTS,
        "moe_intermediate_size": 16,
        "norm_topk_prob": draw.random() < 0.5,
        "decoder_sparse_step": draw.choice([1, 2]),
        "mlp_only_layers": draw.choice([[], [0], [2]]),
        "attention_bias": draw.random() < 0.5,
        **draw.choice([{}, {"use_sliding_window": True, "sliding_window": 4}]),
    }


def gpt_neox(draw):
    head_dim = draw.choice([8, 12])
    heads = draw.choice([1, 2, 3])
    return common(draw) | {
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "intermediate_size": draw.choice([24, 36]),
        "max_position_embeddings": WINDOW,
        "hidden_act": draw.choice(["gelu", "gelu_new", "relu"]),
        "use_parallel_residual": draw.random() < 0.7,
        "attention_bias": draw.random() < 0.7,
        "layer_norm_eps": draw.choice([1e-5, 1e-3]),
        "rope_parameters": rope(draw) | {"partial_rotary_factor": draw.choice([0.5, 1.0])},
    }


def bloom(draw):
    return common(draw) | {"layer_norm_epsilon": draw.choice([1e-5, 1e-3]), "seq_length": WINDOW}


def gpt2(draw):
    return common(draw) | {
        "n_positions": WINDOW,
        "n_inner": draw.choice([None, 36]),
        "layer_norm_epsilon": draw.choice([1e-5, 1e-3]),
        "activation_function": draw.choice(["gelu_new", "gelu", "relu"]),
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


DECODERS = {
    "gpt2": gpt2,
    "gpt_neox": gpt_neox,
    "bloom": bloom,
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3_text": gemma3_text,
    "mixtral": mixtral,
    "qwen3_moe": qwen3_moe,
}
ROTARY = [name for name in DECODERS if name not in ("gpt2", "bloom")]


def hf_config(family, seed, **fixed):
    """A random configuration of transformers; the same for the same seed."""
    shape = DECODERS[family](random.Random(f"{family} {seed}")) | fixed
    return transformers.AutoConfig.for_model(family, **shape)


def fill(model, seed, strength=1.2):
    """Weights by which every layer matters, but rounding does not grow from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = parameter.ndim == 1 and name.endswith("weight")
            centre = parameter.mean().round() if norm else 0.0
            std = 0.25 if parameter.ndim == 1 else strength * parameter.shape[-1] ** -0.5
            parameter.normal_(0.0, std, generator=generator).add_(centre)
    return model


def publish(config, seed, folder, *, dtype=torch.float32, task="causal_lm", **how):
    """A random model of transformers, saved to `folder` and opened from there."""
    auto = AUTO[task]
    fill(auto.from_config(config), seed).to(dtype).save_pretrained(folder, **how)
    # Opened again: converting a model in memory rounds its rotary frequencies too.
    return auto.from_pretrained(folder, dtype=dtype).eval()


@dataclass
class Case:
    """One published model, opened by both."""

    folder: Path
    reference: Any
    ours: Any
    tokens: torch.Tensor
    """(3, 13), no special tokens."""

    def expected(self, **inputs):
        with torch.no_grad():
            return self.reference(self.tokens, **inputs).logits

    def found(self, **inputs):
        with torch.no_grad():
            return self.ours(self.tokens, **inputs).logits


@functools.cache
def case(family, seed, root, dtype=torch.float32):
    """Made once for all tests that only look at it."""
    folder = root / f"{family}-{seed}-{str(dtype).removeprefix('torch.')}"
    reference = publish(hf_config(family, seed), seed, folder, dtype=dtype)
    return Case(folder, reference, models.load(folder), tokens(reference.config, seed))


def tokens(config, seed, rows=3, length=13):
    """(rows, length) random tokens, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, config.vocab_size, (rows, length), generator=generator)


def padded_mask(like, side, amounts=(0, 4, 12)):
    """(B, T) with so many zeros on one side of each row."""
    mask = torch.ones_like(like)
    for row, padding in enumerate(amounts):
        if padding:
            mask[row, slice(None, padding) if side == "left" else slice(-padding, None)] = 0
    return mask


def generation_positions(mask):
    """(B, T) position ids as transformers' `generate` gives them."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def assert_close(found, expected, bound):
    """Two results agree to `bound`, relative, and are not nothing."""
    assert expected.double().square().mean().sqrt() >= 0.1
    assert found.isfinite().all()
    difference = relative(found, expected)
    assert difference <= bound, f"{difference:.2e}"
