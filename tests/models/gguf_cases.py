"""Tiny random models of the families that llama.cpp writes, and their GGUF files.

The files are written by the package `gguf` under its own names for tensors; the rearrangements are
those of llama.cpp's converter.
"""

from dataclasses import dataclass, field

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}
_LLAMA = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_SCALED = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}


@dataclass(frozen=True)
class Case:
    """One family: transformers' class and config, llama.cpp's name, what its converter does."""

    architecture: str
    model: str
    config: dict = field(default_factory=dict)
    keys: dict = field(default_factory=dict)


CASES = {
    "llama": Case("llama", "Llama", _LLAMA),
    "llama tied": Case("llama", "Llama", _LLAMA | {"tie_word_embeddings": True}),
    "llama 3": Case("llama", "Llama", _LLAMA | {"rope_parameters": _SCALED}),
    "llama linear": Case(
        "llama",
        "Llama",
        _LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "llama yarn": Case(
        "llama",
        "Llama",
        _LLAMA | {"rope_parameters": _YARN},
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
        },
    ),
    "mistral": Case("llama", "Mistral", _LLAMA | {"sliding_window": None, "head_dim": 32}),
    "mixtral": Case(
        "llama", "Mixtral", _LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "qwen2": Case("qwen2", "Qwen2", _LLAMA),
    "qwen3": Case("qwen3", "Qwen3", _LLAMA | {"head_dim": 128}),
    "qwen3_moe": Case("qwen3moe", "Qwen3Moe", _LLAMA | _EXPERTS | {"num_experts": 4}),
    "gemma": Case("gemma", "Gemma", _LLAMA | {"head_dim": 32}),
    "gemma2": Case(
        "gemma2",
        "Gemma2",
        _LLAMA | {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 5},
        {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": Case(
        "gemma3",
        "Gemma3Text",
        _LLAMA
        | {
            "num_hidden_layers": 7,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "sliding_window": 5,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        {
            "rope.freq_base": 1e6,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
    ),
    "gpt2": Case(
        "gpt2",
        "GPT2",
        {"vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    ),
    "gpt_neox": Case(
        "gptneox",
        "GPTNeoX",
        {
            "vocab_size": 96,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.25,
            },
        },
        {"use_parallel_residual": True, "rope.dimension_count": 4},
    ),
    "bloom": Case("bloom", "Bloom", {"vocab_size": 96, "hidden_size": 64, "n_head": 4}),
    "bert": Case(
        "bert",
        "Bert",
        {
            "vocab_size": 96,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
        },
    ),
}


def reference(name, seed, folder):
    """A random transformers model of a case, saved in `folder`; weights large enough to matter."""
    case = CASES[name]
    config = getattr(transformers, f"{case.model}Config")(**case.config)
    suffix = {"GPT2": "LMHeadModel", "Bert": "Model"}.get(case.model, "ForCausalLM")
    kind = case.model.removesuffix("Text") + suffix
    torch.manual_seed(seed)
    more = {"add_pooling_layer": False} if case.model == "Bert" else {}
    model = getattr(transformers, kind)(config, **more).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.normal_(0.0, 0.15)
            if "norm" in key.lower() and key.endswith("weight") and "Gemma" not in case.model:
                parameter.add_(1.0)
    model.save_pretrained(folder)
    return model


def write(name, folder, path, kind):
    """Write the model in `folder` as GGUF, and back into `folder` what the file holds of it."""
    case = CASES[name]
    config = transformers.AutoConfig.from_pretrained(folder)
    published = load_file(folder / "model.safetensors")
    writer = gguf.GGUFWriter(path, case.architecture)
    _write_settings(writer, case, config)
    architecture = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == case.architecture)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    kept = {}
    for key, group in _stacked(published).items():
        arrays = [published[one].numpy() for one in group]
        array = arrays[0] if len(arrays) == 1 else np.stack(arrays)
        index = np.arange(array.size).reshape(array.shape)
        moved = _rearranged(case, config, key, array)
        place = _rearranged(case, config, key, index)
        bare = key.removeprefix("transformer.") if case.model == "Bloom" else key
        target = names.get_name(bare, try_suffixes=(".weight", ".bias"))
        assert target is not None, key
        stored = TYPES[kind] if array.ndim > 1 and array.shape[-1] % 32 == 0 else TYPES["f32"]
        shift = np.float32(1 if "Gemma" in case.model and key.endswith("norm.weight") else 0)
        data = gguf.quants.quantize(moved + shift, stored)
        writer.add_tensor(target, data, raw_dtype=stored)
        back = np.empty_like(array).reshape(-1)
        back[place.reshape(-1)] = (gguf.quants.dequantize(data, stored) - shift).reshape(-1)
        back = back.reshape(len(group), *published[group[0]].shape)
        kept |= {one: torch.from_numpy(back[i].copy()) for i, one in enumerate(group)}
    if case.config.get("rope_parameters") == _SCALED:
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _write_settings(writer, case, config):
    heads = config.num_attention_heads
    writer.add_context_length(getattr(config, "max_position_embeddings", 64))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", 4 * config.hidden_size))
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"):
        if hasattr(config, name):
            add = writer.add_layer_norm_rms_eps if "rms" in name else writer.add_layer_norm_eps
            add(getattr(config, name))
    if hasattr(config, "rms_norm_eps"):
        writer.add_head_count_kv(config.num_key_value_heads)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        if "gemma" not in case.architecture:
            writer.add_rope_dimension_count(head_dim)
            writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if experts := getattr(config, "num_local_experts", None) or getattr(
        config, "num_experts", None
    ):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        if width := getattr(config, "moe_intermediate_size", None):
            writer.add_expert_feed_forward_length(width)
    if case.model in ("Gemma2", "Gemma3Text"):
        writer.add_sliding_window(config.sliding_window)
    for key, value in case.keys.items():
        kinds = {bool: "bool", int: "uint32", float: "float32", str: "string"}
        getattr(writer, f"add_{kinds[type(value)]}")(f"{case.architecture}.{key}", value)
    writer.add_token_list([f"<{i}>" for i in range(config.vocab_size)])
    if "bos_token_id" in case.config:
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(0)
    if case.config.get("rope_parameters") == _SCALED:
        writer.add_eot_token_id(5)


def _stacked(published):
    """Tensor of the file -> the published weights it holds: experts lie in one."""
    groups = {}
    for key in published:
        parts = key.split(".")
        if "experts" in parts:
            number = parts.index("experts") + 1
            joined = ".".join(parts[:number] + parts[number + 1 :])
            groups.setdefault(joined, []).append((int(parts[number]), key))
        else:
            groups[key] = [(0, key)]
    return {key: [one for _, one in sorted(group)] for key, group in groups.items()}


def _rearranged(case, config, key, array):
    heads = config.num_attention_heads
    if case.model in ("Llama", "Mistral", "Mixtral") and ("q_proj" in key or "k_proj" in key):
        count = heads if "q_proj" in key else config.num_key_value_heads
        halves = array.reshape(count, 2, array.shape[0] // count // 2, *array.shape[1:])
        return halves.swapaxes(1, 2).reshape(array.shape)
    if case.model in ("GPTNeoX", "Bloom") and "query_key_value" in key:
        parts = array.reshape(heads, 3, array.shape[0] // heads // 3, *array.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *array.shape[1:]) for i in range(3)])
    if case.model == "GPT2" and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return np.ascontiguousarray(array.T)
    return array


def _llama3_divisors(config):
    """llama.cpp's own loop, which decides by wavelength."""
    rope, divisors = config.rope_parameters, []
    head_dim = config.hidden_size // config.num_attention_heads
    for i in range(0, head_dim, 2):
        wavelength = 2 * np.pi * rope["rope_theta"] ** (i / head_dim)
        original = rope["original_max_position_embeddings"]
        if wavelength < original / rope["high_freq_factor"]:
            divisors.append(1.0)
        elif wavelength > original / rope["low_freq_factor"]:
            divisors.append(rope["factor"])
        else:
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, np.float32)
