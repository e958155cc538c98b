"""The GGUF container, versions 2 and 3 (ggml-org/ggml, docs/gguf.md): metadata and tensors.

Everything a header says is checked against the size of the file before it is believed, so that a
damaged file costs an error and no memory.
"""

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.models.gguf import blocks

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_NESTING = 4  # arrays of arrays; published files have none
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_SMALLEST = {_STRING: 8, _ARRAY: 12}
"""Bytes that an empty value of a type takes: bounds how many of them a file can hold."""


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies in the file."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as in NumPy; the file lists dimensions the other way round."""
    type_id: int
    """ggml's number of the storage type."""
    start: int
    """Offset of its first byte from the start of the file."""
    size: int
    """Bytes in the file."""


class GGUFFile:
    """A GGUF file mapped into memory.

    Args:
        path: the file.

    Raises:
        LmwrightError: if it is no GGUF file of version 2 or 3, is truncated, contradicts itself,
            is one part of several, or holds a tensor of a type that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise LmwrightError(f"{path} is not a GGUF file: it does not begin with GGUF")
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = len(MAGIC)
        self._check_version()
        tensors, pairs = self._count(24, "tensors"), self._count(13, "metadata entries")
        self.metadata: Mapping[str, Any] = dict(self._pairs(pairs))
        parts = self.metadata.get("split.count", 0)
        if isinstance(parts, int) and parts > 1:
            raise LmwrightError(
                f"{path} is one of {parts} parts of a model",
                hint="join them first: llama-gguf-split --merge FIRST_PART WHOLE",
            )
        self.tensors: Mapping[str, TensorInfo] = self._tensor_infos(tensors)

    def read(self, name: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """The tensor `name` in float32, its dimensions in `TensorInfo.shape`'s order; a copy."""
        info = self.tensors[name]
        return blocks.dequantize(self._raw(info), info.type_id).reshape(info.shape)

    def split(
        self, name: str
    ) -> "tuple[np.ndarray[Any, np.dtype[np.int8]], np.ndarray[Any, np.dtype[np.float32]]] | None":
        """The tensor `name` as the integers and scales that the file holds.

        Returns:
            Integers in `TensorInfo.shape`, and scales in the same but for the last dimension, which
            counts blocks; None if the storage type is not made of these.
        """
        info = self.tensors[name]
        layout = blocks.LAYOUTS[info.type_id]
        if layout.split is None:
            return None
        integers, scales = layout.split(self._raw(info).reshape(-1, layout.size))
        return integers.reshape(info.shape), scales.reshape(*info.shape[:-1], -1)

    def _raw(self, info: TensorInfo) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        return np.frombuffer(self._bytes, np.uint8, count=info.size, offset=info.start)

    def _check_version(self) -> None:
        version = self._number("I", "its version")
        if version in _VERSIONS:
            return
        if version and version & 0xFFFF == 0:
            raise LmwrightError(f"{self.path} was written for big-endian machines")
        raise LmwrightError(
            f"{self.path} is of GGUF version {version}; versions 2 and 3 are read",
            hint="convert the model again with a present llama.cpp",
        )

    def _take(self, size: int, what: str) -> bytes:
        if size > len(self._bytes) - self._at:
            raise LmwrightError(
                f"{self.path} is truncated or corrupt: it ends within {what}",
                hint="copy or download it again",
            )
        self._at += size
        return self._bytes[self._at - size : self._at]

    def _number(self, code: str, what: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}"), what))[0]

    def _count(self, smallest: int, what: str) -> int:
        """How many things follow, each at least `smallest` bytes long."""
        count: int = self._number("Q", f"the number of {what}")
        if count * smallest > len(self._bytes) - self._at:
            raise LmwrightError(
                f"{self.path} is truncated or corrupt: it announces {count} {what}, more than fit"
            )
        return count

    def _text(self, what: str) -> str:
        raw = self._take(self._count(1, f"bytes of {what}"), what)
        # Vocabularies of byte-level tokens are not always whole characters.
        return raw.decode("utf-8", errors="surrogateescape")

    def _pairs(self, count: int) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for _ in range(count):
            key = self._text("a metadata key")
            if key in seen:
                raise LmwrightError(f"{self.path} is corrupt: it gives {key} twice")
            seen.add(key)
            yield key, self._value(self._number("I", key), key, 0)

    def _value(self, kind: int, key: str, depth: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind], key)
        if kind == _STRING:
            return self._text(key)
        if kind != _ARRAY or depth == _MAX_NESTING:
            raise LmwrightError(f"{self.path} is corrupt: {key} is of an unknown type {kind}")
        inner: int = self._number("I", key)
        if inner in _SCALARS:
            code = _SCALARS[inner]
            count = self._count(struct.calcsize(f"<{code}"), f"elements of {key}")
            raw = self._take(count * struct.calcsize(f"<{code}"), key)
            return list(struct.unpack(f"<{count}{code}", raw))
        count = self._count(_SMALLEST.get(inner, 1), f"elements of {key}")
        return [self._value(inner, key, depth + 1) for _ in range(count)]

    def _tensor_infos(self, count: int) -> dict[str, TensorInfo]:
        entries = [self._tensor_entry() for _ in range(count)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise LmwrightError(f"{self.path} is corrupt: general.alignment is {alignment!r}")
        data = -(-self._at // alignment) * alignment
        infos: dict[str, TensorInfo] = {}
        for name, shape, type_id, offset in entries:
            if name in infos:
                raise LmwrightError(f"{self.path} is corrupt: it holds the tensor {name} twice")
            size = self._size(name, shape, type_id)
            if offset % alignment or data + offset + size > len(self._bytes):
                raise LmwrightError(
                    f"{self.path} is truncated or corrupt: the tensor {name} does not lie in it",
                    hint="copy or download it again",
                )
            infos[name] = TensorInfo(name, shape, type_id, data + offset, size)
        return infos

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text("a tensor's name")
        what = f"the description of {name}"
        dimensions: int = self._number("I", what)
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise LmwrightError(f"{self.path} is corrupt: {name} has {dimensions} dimensions")
        shape = tuple(self._number("Q", what) for _ in range(dimensions))
        return name, shape[::-1], self._number("I", what), self._number("Q", what)

    def _size(self, name: str, shape: tuple[int, ...], type_id: int) -> int:
        layout = blocks.LAYOUTS.get(type_id)
        if layout is None:
            raise LmwrightError(
                f"{self.path}: tensor {name} has type {blocks.type_name(type_id)}; "
                f"{blocks.readable()} are read",
                hint="take the model's f16 or q8_0 file",
            )
        row = shape[-1]
        if row % layout.values:
            raise LmwrightError(
                f"{self.path} is corrupt: rows of {row} in {name} are not whole blocks of "
                f"{layout.values}"
            )
        return math.prod(shape) // layout.values * layout.size
