"""GPT-2, GPT-NeoX, BLOOM and BERT in GGUF files (llama.cpp, `conversion/`, the files so named)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.models.gguf.architecture import Architecture, Array, Keys
from lmwright.models.gguf.container import GGUFFile

_MATRICES = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")


def _turned(part: str, array: Array, keys: Keys) -> Array:
    """GPT-2 publishes its matrices the other way round, (in, out)."""
    return array.T if part in _MATRICES and array.ndim == 2 else array


def _by_heads(part: str, array: Array, keys: Keys) -> Array:
    """NeoX and BLOOM publish queries, keys, values head by head; the file has all queries first."""
    if part != "attn_qkv":
        return array
    heads = keys.count("attention.head_count")
    if array.shape[0] % (3 * heads):
        raise LmwrightError(f"{keys.file.path}: rows of attn_qkv do not divide into {heads} heads")
    parts = array.reshape(3, heads, array.shape[0] // heads // 3, *array.shape[1:])
    return parts.swapaxes(0, 1).reshape(array.shape)


def _gpt2_settings(keys: Keys) -> dict[str, Any]:
    return {
        "vocab_size": keys.rows("token_embd.weight"),
        "n_positions": keys.rows("position_embd.weight"),
        "n_embd": keys.count("embedding_length"),
        "n_inner": keys.count("feed_forward_length"),
        "n_layer": keys.count("block_count"),
        "n_head": keys.count("attention.head_count"),
        "activation_function": "gelu_new",
        "layer_norm_epsilon": keys.number("attention.layer_norm_epsilon"),
        "tie_word_embeddings": not keys.has("output.weight"),
        **keys.special_tokens(),
    }


def _neox_settings(keys: Keys) -> dict[str, Any]:
    hidden, heads = keys.count("embedding_length"), keys.count("attention.head_count")
    head_dim = max(1, hidden // heads)
    rotary = keys.count("rope.dimension_count", head_dim)
    share = rotary / head_dim
    if int(head_dim * share) < rotary:  # the reference multiplies and cuts
        share = math.nextafter(share, 1.0)
    theta = keys.number("rope.freq_base", 10_000.0)
    return {
        "vocab_size": keys.rows("token_embd.weight"),
        "hidden_size": hidden,
        "intermediate_size": keys.count("feed_forward_length"),
        "num_hidden_layers": keys.count("block_count"),
        "num_attention_heads": heads,
        "hidden_act": "gelu",
        "max_position_embeddings": keys.count("context_length"),
        "layer_norm_eps": keys.number("attention.layer_norm_epsilon"),
        "use_parallel_residual": bool(keys.get("use_parallel_residual", True)),
        "rope_parameters": {
            "rope_theta": theta,
            "rope_type": "default",
            "partial_rotary_factor": share,
        },
        "rotary_emb_base": theta,
        "rotary_pct": share,
        "attention_bias": keys.has("blk.0.attn_qkv.bias"),
        "tie_word_embeddings": not keys.has("output.weight"),
        **keys.special_tokens(),
    }


def _bloom_settings(keys: Keys) -> dict[str, Any]:
    return {
        "vocab_size": keys.rows("token_embd.weight"),
        "hidden_size": keys.count("embedding_length"),
        "n_layer": keys.count("block_count"),
        "n_head": keys.count("attention.head_count"),
        "seq_length": keys.count("context_length"),
        "layer_norm_epsilon": keys.number("attention.layer_norm_epsilon"),
        "tie_word_embeddings": True,
        **keys.special_tokens(),
    }


def _bert_settings(keys: Keys) -> dict[str, Any]:
    return {
        "vocab_size": keys.rows("token_embd.weight"),
        "hidden_size": keys.count("embedding_length"),
        "intermediate_size": keys.count("feed_forward_length"),
        "num_hidden_layers": keys.count("block_count"),
        "num_attention_heads": keys.count("attention.head_count"),
        "hidden_act": "gelu",
        "max_position_embeddings": keys.rows("position_embd.weight"),
        "type_vocab_size": keys.rows("token_types.weight"),
        "layer_norm_eps": keys.number("attention.layer_norm_epsilon"),
        **keys.special_tokens(),
    }


_GPT2 = Architecture(
    model_type="gpt2",
    published_class="GPT2LMHeadModel",
    whole={
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
    },
    blocks="transformer.h",
    block={
        "attn_norm": "ln_1",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
    settings=_gpt2_settings,
    change=_turned,
)
_NEOX = Architecture(
    model_type="gpt_neox",
    published_class="GPTNeoXForCausalLM",
    whole={
        "token_embd": "gpt_neox.embed_in",
        "output_norm": "gpt_neox.final_layer_norm",
        "output": "embed_out",
    },
    blocks="gpt_neox.layers",
    block={
        "attn_norm": "input_layernorm",
        "attn_qkv": "attention.query_key_value",
        "attn_output": "attention.dense",
        "ffn_norm": "post_attention_layernorm",
        "ffn_up": "mlp.dense_h_to_4h",
        "ffn_down": "mlp.dense_4h_to_h",
    },
    settings=_neox_settings,
    change=_by_heads,
)
_BLOOM = Architecture(
    model_type="bloom",
    published_class="BloomForCausalLM",
    whole={
        "token_embd": "transformer.word_embeddings",
        "token_embd_norm": "transformer.word_embeddings_layernorm",
        "output_norm": "transformer.ln_f",
    },
    blocks="transformer.h",
    block={
        "attn_norm": "input_layernorm",
        "attn_qkv": "self_attention.query_key_value",
        "attn_output": "self_attention.dense",
        "ffn_norm": "post_attention_layernorm",
        "ffn_up": "mlp.dense_h_to_4h",
        "ffn_down": "mlp.dense_4h_to_h",
    },
    settings=_bloom_settings,
    change=_by_heads,
    used_up=("output.weight",),  # older converters wrote the tied embedding twice
)
_BERT = Architecture(
    model_type="bert",
    published_class="BertModel",
    whole={
        "token_embd": "embeddings.word_embeddings",
        "position_embd": "embeddings.position_embeddings",
        "token_types": "embeddings.token_type_embeddings",
        "token_embd_norm": "embeddings.LayerNorm",
    },
    blocks="encoder.layer",
    block={
        "attn_q": "attention.self.query",
        "attn_k": "attention.self.key",
        "attn_v": "attention.self.value",
        "attn_output": "attention.output.dense",
        "attn_output_norm": "attention.output.LayerNorm",
        "ffn_up": "intermediate.dense",
        "ffn_down": "output.dense",
        "layer_output_norm": "output.LayerNorm",
    },
    settings=_bert_settings,
)


def _bert(file: GGUFFile) -> Architecture:
    # RoBERTa's files call themselves bert too, but count positions from another number.
    vocabulary = file.metadata.get("tokenizer.ggml.model", "bert")
    if vocabulary != "bert":
        raise LmwrightError(
            f"{file.path} holds a RoBERTa-like encoder (its vocabulary is {vocabulary}); "
            "only BERT is read from GGUF",
            hint="give the folder or hub id that it was made from",
        )
    return _BERT


ARCHITECTURES: Mapping[str, Callable[[GGUFFile], Architecture]] = {
    "gpt2": lambda file: _GPT2,
    "gptneox": lambda file: _NEOX,
    "bloom": lambda file: _BLOOM,
    "bert": _bert,
}
"""general.architecture -> its entry, which may depend on the file."""
