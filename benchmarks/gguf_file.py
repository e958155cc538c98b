"""A LLaMA-shaped folder as a GGUF file, for the peers that read nothing else.

What llama.cpp's own converter does to LLaMA (llama.cpp, `conversion/llama.py`): rename the tensors,
put the halves of each rotated pair beside each other, write settings and tokenizer as metadata.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import load_file

KINDS = {"f32": Kind.F32, "q8_0": Kind.Q8_0, "q4_0": Kind.Q4_0}


def write_llama(folder: Path, path: Path, kind: str) -> None:
    """Write the model and the tokenizer in `folder` as one file.

    All matrices, embedding and output projection included, are stored as `kind`, where published
    files keep a few of them wider: the fastest file of that kind that there can be.

    Args:
        folder: float32 weights in one `model.safetensors`, and a byte-level BPE tokenizer.
        path: the file to write.
        kind: one of `KINDS`.
    """
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "llama", config["model_type"]
    writer = gguf.GGUFWriter(path, "llama")
    _write_settings(writer, config)
    _write_tokenizer(writer, folder, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, array in load_file(folder / "model.safetensors").items():
        target = names.get_name(name, try_suffixes=(".weight",))
        assert target is not None, name
        stored = KINDS[kind] if array.ndim > 1 else Kind.F32
        data = gguf.quants.quantize(_paired(name, array, config), stored)
        writer.add_tensor(target, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _paired(name: str, array: Any, config: dict[str, Any]) -> Any:
    """Queries and keys: (2, K/2) -> (K/2, 2) within every head."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return array
    heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, array.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)


def _write_settings(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_name("benchmark")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10_000.0)))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _write_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"] for token in content["added_tokens"] if token["special"]}
    ids = {**content["model"]["vocab"], **{t["content"]: t["id"] for t in content["added_tokens"]}}
    texts = [text for text, _ in sorted(ids.items(), key=lambda pair: pair[1])]
    assert len(texts) == config["vocab_size"], "ids with gaps"
    merges = content["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(texts)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if text in special else gguf.TokenType.NORMAL for text in texts]
    )
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    ends = config["eos_token_id"]
    writer.add_eos_token_id(ends[0] if isinstance(ends, list) else ends)
    # A text begins with nothing before it, as our tokenizers have it; some readers want an id.
    writer.add_bos_token_id(ends[0] if isinstance(ends, list) else ends)
    writer.add_add_bos_token(False)
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text())
