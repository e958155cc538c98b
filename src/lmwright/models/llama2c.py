"""Checkpoints of karpathy/llama2.c (`export.py`, versions 0 and 1): header and float32 weights."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.models.weights_files import Published

_MAGIC = b"24ka"  # 0x616b3432 in little-endian order
_HEADER = struct.Struct("<7i")
_LONG_HEADER = 256  # bytes before the weights from version 1 on
_ATTENTION = tuple(f"self_attn.{letter}_proj" for letter in "qkvo")
_FEED_FORWARD = ("mlp.gate_proj", "mlp.down_proj", "mlp.up_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm")
_TABLES = ("cosines", "sines")
"""Of the rotary angles; they follow from the positions."""
_WHOLE = ("model.embed_tokens", "model.norm", "lm_head", *_TABLES)
_ORDERS = (
    (
        "model.embed_tokens",
        _NORMS[0],
        *_ATTENTION,
        _NORMS[1],
        *_FEED_FORWARD,
        "model.norm",
        *_TABLES,
    ),
    (*_NORMS, "model.norm", "model.embed_tokens", *_ATTENTION, *_FEED_FORWARD),
)
"""What follows the header, by the file's version; an output matrix comes last."""


class _Header(NamedTuple):
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    positions: int
    tied: bool
    version: int

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(part, shape) in the order of the file; a part of the blocks is there for all of them."""
        wide, narrow = self.hidden, self.key_value_heads * self.head_dim
        table = (self.positions, self.head_dim // 2)
        shapes = {
            "model.embed_tokens": (self.vocabulary, wide),
            "input_layernorm": (wide,),
            "self_attn.q_proj": (wide, wide),
            "self_attn.k_proj": (narrow, wide),
            "self_attn.v_proj": (narrow, wide),
            "self_attn.o_proj": (wide, wide),
            "post_attention_layernorm": (wide,),
            "mlp.gate_proj": (self.intermediate, wide),
            "mlp.down_proj": (wide, self.intermediate),
            "mlp.up_proj": (self.intermediate, wide),
            "model.norm": (wide,),
            "cosines": table,
            "sines": table,
            "lm_head": (self.vocabulary, wide),
        }
        for part in _ORDERS[self.version] + (() if self.tied else ("lm_head",)):
            yield part, shapes[part] if part in _WHOLE else (self.layers, *shapes[part])


def read(path: Path, *, dtype: torch.dtype | None = None) -> Published:
    """A llama2.c checkpoint as a folder of the LLaMA family.

    Args:
        path: the file, as `run.c` reads it.
        dtype: of the weights; None: float32, as stored.

    Returns:
        config.json's content, and the weights under their published names.

    Raises:
        LmwrightError: if the file is not such a checkpoint, is quantised, or is not as long as
            its header says.
    """
    raw = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    header, at = _read_header(path, raw)
    weights: dict[str, Tensor] = {}
    tensors = list(header.tensors())
    expected = at + 4 * sum(math.prod(shape) for _, shape in tensors)
    if len(raw) != expected:
        raise LmwrightError(
            f"{path} has {len(raw):,} bytes; a llama2.c checkpoint with its header has "
            f"{expected:,}",
            hint="copy or download it again; a model folder is given by its folder",
        )
    for part, shape in tensors:
        values = raw[at : at + 4 * math.prod(shape)].view("<f4").reshape(shape)
        at += 4 * math.prod(shape)
        for name, array in _placed(part, values, header):
            weights[name] = torch.from_numpy(np.array(array)).to(dtype or torch.float32)
    return Published(_values(header), weights)


def _read_header(path: Path, raw: "np.ndarray[Any, np.dtype[np.uint8]]") -> tuple[_Header, int]:
    start = bytes(raw[:_LONG_HEADER])
    strange = LmwrightError(
        f"{path} is not a llama2.c checkpoint: its header makes no sense",
        hint="a model is a folder with config.json, a .gguf file or a llama2.c checkpoint",
    )
    if start[: len(_MAGIC)] == _MAGIC:
        if len(start) < _LONG_HEADER:
            raise LmwrightError(f"{path} is truncated: it ends within the header")
        version = struct.unpack_from("<i", start, 4)[0]
        if version != 1:
            raise LmwrightError(
                f"{path} is a llama2.c checkpoint of version {version}; 0 and 1 (float32) are read",
                hint="export it again with --version 1",
            )
        numbers, tied, at = _HEADER.unpack_from(start, 8), start[36] != 0, _LONG_HEADER
    elif len(start) >= _HEADER.size:
        version, numbers, at = 0, _HEADER.unpack_from(start), _HEADER.size
        tied = numbers[5] > 0  # a negative vocabulary says: with an output matrix of its own
    else:
        raise strange
    hidden, intermediate, layers, heads, key_value_heads, vocabulary, positions = numbers
    header = _Header(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        key_value_heads=key_value_heads,
        vocabulary=abs(vocabulary),
        positions=positions,
        tied=tied,
        version=version,
    )
    if min(header[:7]) < 1 or header.hidden % header.heads or header.heads % header.key_value_heads:
        raise strange
    if header.head_dim % 2:
        raise strange
    return header, at


def _placed(
    part: str, values: "np.ndarray[Any, np.dtype[np.float32]]", header: _Header
) -> Iterator[tuple[str, "np.ndarray[Any, np.dtype[np.float32]]"]]:
    """(published name, values) of what one stretch of the file holds."""
    if part in _WHOLE:
        if part not in _TABLES:
            yield f"{part}.weight", values
        return
    for layer, array in enumerate(values):
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            # llama2.c turns neighbours (2i, 2i+1); published LLaMA weights turn (i, i + K/2).
            pairs = array.reshape(-1, header.head_dim // 2, 2, array.shape[-1])
            array = pairs.swapaxes(1, 2).reshape(array.shape)
        yield f"model.layers.{layer}.{part}.weight", array


def _values(header: _Header) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": header.vocabulary,
        "hidden_size": header.hidden,
        "intermediate_size": header.intermediate,
        "num_hidden_layers": header.layers,
        "num_attention_heads": header.heads,
        "num_key_value_heads": header.key_value_heads,
        "head_dim": header.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": header.positions,
        # What run.c has written into its functions rmsnorm and forward, and its tokenizer.
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10_000.0, "rope_type": "default"},
        "rope_theta": 10_000.0,
        "bos_token_id": 1,
        # run.c stops at the start of a next document; its training texts have no other end.
        "eos_token_id": [1, 2],
        "pad_token_id": None,
        "tie_word_embeddings": header.tied,
        "attention_bias": False,
        "mlp_bias": False,
    }
