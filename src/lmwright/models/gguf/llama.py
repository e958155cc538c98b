"""LLaMA and its descendants in GGUF files (llama.cpp, `conversion/`: llama.py, qwen.py, gemma.py).

llama.cpp's converter renames every tensor and rearranges some; each entry here undoes that.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.models.gguf.architecture import Architecture, Array, Keys
from lmwright.models.gguf.container import GGUFFile

_LLAMA_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QUERY_KEY_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_LLAMA_WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def _llama_settings(keys: Keys) -> dict[str, Any]:
    """What all descendants of LLaMA have."""
    hidden, heads = keys.count("embedding_length"), keys.count("attention.head_count")
    head_dim = keys.count("attention.key_length", max(1, hidden // heads))
    rope = _rope(keys, head_dim)
    length = keys.count("context_length")
    windowed = keys.count("attention.sliding_window", length) < length
    if windowed and keys.name not in ("gemma2", "gemma3"):
        raise LmwrightError(
            f"{keys.file.path}: {keys.name}.attention.sliding_window is not supported"
        )
    return {
        "vocab_size": keys.rows("token_embd.weight"),
        "hidden_size": hidden,
        "intermediate_size": keys.count("feed_forward_length"),
        "num_hidden_layers": keys.count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.count("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": length,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": rope,
        "rope_theta": rope["rope_theta"],
        "tie_word_embeddings": not keys.has("output.weight"),
        "attention_bias": keys.has("blk.0.attn_q.bias"),
        "mlp_bias": keys.has("blk.0.ffn_up.bias"),
        **keys.special_tokens(),
    }


def _rope(keys: Keys, head_dim: int) -> dict[str, Any]:
    if keys.count("rope.dimension_count", head_dim) != head_dim:
        raise LmwrightError(
            f"{keys.file.path}: {keys.name}.rope.dimension_count differs from the heads' {head_dim}"
        )
    theta = keys.number("rope.freq_base", 10_000.0)
    kind = keys.get("rope.scaling.type", "none")
    if keys.has("rope_freqs.weight"):
        return {"rope_theta": theta, **_llama3_scaling(keys, theta, head_dim)}
    if kind == "none":
        return {"rope_theta": theta, "rope_type": "default"}
    if kind not in ("linear", "yarn") or keys.get("rope.scaling.attn_factor", 1.0) != 1.0:
        raise LmwrightError(f"{keys.file.path}: rope.scaling of type {kind} is not supported")
    scaling = {"rope_theta": theta, "rope_type": kind, "factor": keys.number("rope.scaling.factor")}
    if kind == "yarn":
        original = keys.count("rope.scaling.original_context_length")
        scaling["original_max_position_embeddings"] = original
    return scaling


def _llama3_scaling(keys: Keys, theta: float, head_dim: int) -> dict[str, Any]:
    """LLaMA-3's settings from the factors by which llama.cpp divides the frequencies.

    All published models have the low factor 1, the high factor 4 and 8,192 original positions
    (Dubey et al. 2024, The Llama 3 Herd of Models); the largest divisor is the fourth number.
    """
    found = keys.file.read("rope_freqs.weight").reshape(-1)
    low, high, original = 1.0, 4.0, 8192
    factor = float(found.max(initial=1.0))
    frequencies = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    turns = original * frequencies / (2 * math.pi)  # full turns within the original positions
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    expected = 1.0 / ((1 - smooth) / factor + smooth)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4):
        raise LmwrightError(
            f"{keys.file.path}: the frequencies of rope_freqs.weight are not LLaMA-3's scaling"
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _together(part: str, array: Array, keys: Keys) -> Array:
    """Halves of a head instead of neighbours form the pairs that rotary positions turn.

    The converter stores LLaMA's queries and keys (2, K/2) -> (K/2, 2) within every head.
    """
    if part not in ("attn_q", "attn_k"):
        return array
    heads = keys.count("attention.head_count")
    if part == "attn_k":
        heads = keys.count("attention.head_count_kv", heads)
    if array.shape[0] % (2 * heads):
        raise LmwrightError(f"{keys.file.path}: rows of {part} do not divide into {heads} heads")
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)


def _less_one(part: str, array: Array, keys: Keys) -> Array:
    """Gemma's norms multiply by one plus their weight; the file holds the sum."""
    return array - np.float32(1) if part.endswith("norm") else array


def _llama(file: GGUFFile) -> Architecture:
    dense = Architecture(
        model_type="llama",
        published_class="LlamaForCausalLM",
        whole=_LLAMA_WHOLE,
        blocks="model.layers",
        block=_LLAMA_BLOCK,
        settings=_llama_settings,
        change=_together,
        used_up=("rope_freqs.weight",),
    )
    if not file.metadata.get("llama.expert_count"):
        return dense
    return replace(
        dense,
        model_type="mixtral",
        published_class="MixtralForCausalLM",
        block=_LLAMA_BLOCK
        | {
            "ffn_gate_inp": "block_sparse_moe.gate",
            "ffn_gate_exps": "block_sparse_moe.experts.{expert}.w1",
            "ffn_down_exps": "block_sparse_moe.experts.{expert}.w2",
            "ffn_up_exps": "block_sparse_moe.experts.{expert}.w3",
        },
        settings=lambda keys: _llama_settings(keys) | _experts(keys, "num_local_experts"),
    )


def _experts(keys: Keys, count_name: str) -> dict[str, Any]:
    return {
        count_name: keys.count("expert_count"),
        "num_experts_per_tok": keys.count("expert_used_count"),
    }


def _qwen(model_type: str, published_class: str) -> Architecture:
    return Architecture(
        model_type=model_type,
        published_class=published_class,
        whole=_LLAMA_WHOLE,
        blocks="model.layers",
        block=_LLAMA_BLOCK | _QUERY_KEY_NORM,
        settings=lambda keys: _llama_settings(keys) | {"use_sliding_window": False},
    )


def _qwen3_moe_settings(keys: Keys) -> dict[str, Any]:
    # The dense width is written too, though no block uses it.
    width = keys.count("expert_feed_forward_length")
    return (
        _llama_settings(keys)
        | _experts(keys, "num_experts")
        | {
            "moe_intermediate_size": width,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "use_sliding_window": False,
        }
    )


def _query_scale(values: dict[str, Any], blocks_of_27b: int) -> int:
    """Dot products are divided by its root; the file does not say it.

    llama.cpp knows the one model of a family where it is not the width of a head by its blocks.
    """
    if values["num_hidden_layers"] == blocks_of_27b:
        return int(values["hidden_size"] // values["num_attention_heads"])
    return int(values["head_dim"])


def _gemma2_settings(keys: Keys) -> dict[str, Any]:
    values = _llama_settings(keys)
    return values | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scale(values, blocks_of_27b=46),
        "attn_logit_softcapping": keys.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": keys.number("final_logit_softcapping", 30.0),
        "sliding_window": keys.count("attention.sliding_window", 4096),
    }


def _gemma3_settings(keys: Keys) -> dict[str, Any]:
    values = _llama_settings(keys)
    local = keys.number("rope.freq_base_swa", 10_000.0)
    return values | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scale(values, blocks_of_27b=62),
        "attn_logit_softcapping": None,
        "final_logit_softcapping": keys.get("final_logit_softcapping"),
        "sliding_window": keys.count("attention.sliding_window"),
        "layer_types": [
            "sliding_attention" if (block + 1) % 6 else "full_attention"
            for block in range(values["num_hidden_layers"])
        ],
        "rope_parameters": {
            "full_attention": values["rope_parameters"],
            "sliding_attention": {"rope_theta": local, "rope_type": "default"},
        },
    }


_QWEN2 = _qwen("qwen2", "Qwen2ForCausalLM")
_QWEN3 = _qwen("qwen3", "Qwen3ForCausalLM")
_QWEN3_MOE = replace(
    _QWEN3,
    model_type="qwen3_moe",
    published_class="Qwen3MoeForCausalLM",
    block=_LLAMA_BLOCK
    | _QUERY_KEY_NORM
    | {
        "ffn_gate_inp": "mlp.gate",
        "ffn_gate_exps": "mlp.experts.{expert}.gate_proj",
        "ffn_up_exps": "mlp.experts.{expert}.up_proj",
        "ffn_down_exps": "mlp.experts.{expert}.down_proj",
    },
    settings=_qwen3_moe_settings,
)
_GEMMA = Architecture(
    model_type="gemma",
    published_class="GemmaForCausalLM",
    whole=_LLAMA_WHOLE,
    blocks="model.layers",
    block=_LLAMA_BLOCK,
    settings=lambda keys: _llama_settings(keys) | {"hidden_act": "gelu_pytorch_tanh"},
    change=_less_one,
)
_GEMMA2 = replace(
    _GEMMA,
    model_type="gemma2",
    published_class="Gemma2ForCausalLM",
    block=_LLAMA_BLOCK
    | {
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    settings=_gemma2_settings,
)
_GEMMA3 = replace(
    _GEMMA2,
    model_type="gemma3_text",
    published_class="Gemma3ForCausalLM",
    block={**_GEMMA2.block, **_QUERY_KEY_NORM},
    settings=_gemma3_settings,
)

ARCHITECTURES: Mapping[str, Callable[[GGUFFile], Architecture]] = {
    "llama": _llama,
    "qwen2": lambda file: _QWEN2,
    "qwen3": lambda file: _QWEN3,
    "qwen3moe": lambda file: _QWEN3_MOE,
    "gemma": lambda file: _GEMMA,
    "gemma2": lambda file: _GEMMA2,
    "gemma3": lambda file: _GEMMA3,
}
"""general.architecture -> its entry, which may depend on the file."""
