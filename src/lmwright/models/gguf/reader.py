"""Models in GGUF files: what llama.cpp wrote, turned back into a published family's words."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.models.gguf import blocks, classic, llama
from lmwright.models.gguf.architecture import Architecture, Array, Keys
from lmwright.models.gguf.container import GGUFFile
from lmwright.models.weights_files import Published

GROUP = 32
"""Weights that share a scale in the quantised matrices that are kept."""

_ROUTER = "ffn_gate_inp"  # which experts a token goes to is not decided by rounded numbers

_ARCHITECTURES = {**llama.ARCHITECTURES, **classic.ARCHITECTURES}
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)\.(weight|bias)")
_WHOLE = re.compile(r"(.+)\.(weight|bias)")


def read(path: Path, *, dtype: torch.dtype | None = None) -> Published:
    """A GGUF file as the folder that it was made from.

    Args:
        path: a file whose tensors are f32, f16, bf16, q8_0, q4_0 or q6_K.
        dtype: of the weights; None: float32, which holds every value of the file exactly.

    Returns:
        config.json's content, and the weights under their published names.

    Raises:
        LmwrightError: if the file is damaged, or of an architecture, a tensor type or a setting
            that is not read.
    """
    return _read(GGUFFile(path), dtype, keep=False)[0]


def read_quantized(
    path: Path, *, dtype: torch.dtype | None = None
) -> tuple[Published, dict[str, int]]:
    """`read`, but the matrices of linear layers in q8_0 and q4_0 stay the integers that they are.

    Args:
        path, dtype: as for `read`.

    Returns:
        As from `read`, with int8 under the names of these matrices and their float32 scales, one
        for each `GROUP` of a row, as `weight_scale` beside; and the published names of their layers
        with the bits of a weight.

    Raises:
        LmwrightError: as `read`.
    """
    return _read(GGUFFile(path), dtype, keep=True)


def tokenizer_metadata(path: Path) -> dict[str, Any]:
    """What a GGUF file says about its tokenizer.

    Returns:
        Its `tokenizer.*` entries by their names in the file: `tokenizer.ggml.model` ("llama":
        SentencePiece with `scores`, "gpt2": byte-level BPE with `merges`, "bert": WordPiece),
        `tokenizer.ggml.tokens`, `token_type`, `bos_token_id`, ..., `tokenizer.chat_template`.

    Raises:
        LmwrightError: if the file is damaged.
    """
    metadata = GGUFFile(path).metadata
    return {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}


def _read(
    file: GGUFFile, dtype: torch.dtype | None, *, keep: bool
) -> tuple[Published, dict[str, int]]:
    architecture = _architecture(file)
    keys = Keys(file)
    values = {
        "architectures": [architecture.published_class],
        "model_type": architecture.model_type,
        **architecture.settings(keys),
    }
    weights: dict[str, Tensor] = {}
    kept: dict[str, int] = {}
    for name, info in file.tensors.items():
        if name in architecture.used_up:
            continue
        place = _place(name, architecture)
        if place is None:
            raise LmwrightError(f"{file.path}: tensor {name} has no place in a {keys.name} model")
        pair = file.split(name) if keep and _is_linear(name, info.shape) else None
        if pair is not None:
            integers, scales = (_changed(name, array, architecture, keys) for array in pair)
            weights[place] = torch.from_numpy(integers)
            weights[f"{place}_scale"] = torch.from_numpy(scales)
            kept[place.removesuffix(".weight")] = blocks.BITS[info.type_id]
            continue
        for published, array in _tensors(file, name, place, architecture, keys):
            weights[published] = torch.from_numpy(array).to(dtype or torch.float32)
    return Published(values, weights), kept


def _architecture(file: GGUFFile) -> Architecture:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in _ARCHITECTURES:
        raise LmwrightError(
            f"{file.path}: general.architecture {name!r} is not one we read",
            hint=f"read are {', '.join(sorted(_ARCHITECTURES))}",
        )
    return _ARCHITECTURES[name](file)


def _place(name: str, architecture: Architecture) -> str | None:
    """The published name of a tensor, with `{expert}` in it where it stacks experts."""
    if found := _BLOCK.fullmatch(name):
        block, part, kind = found.groups()
        inner = architecture.block.get(part)
        return None if inner is None else f"{architecture.blocks}.{block}.{inner}.{kind}"
    if found := _WHOLE.fullmatch(name):
        part, kind = found.groups()
        outer = architecture.whole.get(part)
        return None if outer is None else f"{outer}.{kind}"
    return None


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is the matrix of a linear layer: not an embedding, a norm or a router."""
    if len(shape) != 2:
        return False
    return name == "output.weight" or (name.startswith("blk.") and _part(name) != _ROUTER)


def _part(name: str) -> str:
    """A tensor's name within its block, or within the model."""
    return name.split(".")[2 if name.startswith("blk.") else 0]


def _changed(name: str, array: Array, architecture: Architecture, keys: Keys) -> Array:
    """An array, or a matrix's integers or scales: what changes a matrix moves whole rows."""
    return np.ascontiguousarray(architecture.change(_part(name), array, keys))


def _tensors(
    file: GGUFFile, name: str, place: str, architecture: Architecture, keys: Keys
) -> list[tuple[str, Array]]:
    array = file.read(name)
    if "{expert}" in place:
        if array.ndim != 3:
            raise LmwrightError(f"{file.path}: {name} does not stack experts")
        return [(place.format(expert=index), one) for index, one in enumerate(array)]
    return [(place, _changed(name, array, architecture, keys))]
