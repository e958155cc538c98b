"""Token shards: packed rows as plain .npy files that are mapped, not read.

metadata.json                     row_length, vocab_size, and counts per split
train/input_ids.npy               (N, T) uint16 or uint32
train/targets.npy                 (N, T) int32, next token or -100
train/document_ids.npy            (N, T) uint16 or uint32, 0 on padding
validation/...
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, read_json, write_json
from lmwright.tokens.packing import PackedRows

SPLITS = ("train", "validation")
_ARRAYS = tuple(field.name for field in fields(PackedRows))


def write(
    splits: Mapping[str, PackedRows],
    folder: Path,
    *,
    vocab_size: int,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write rows as a folder of shards.

    Args:
        splits: rows of "train" and "validation".
        folder: where to; its parent's step publishes it when it is whole.
        vocab_size: V of the tokenizer that made the ids.
        extra: more metadata for a split, such as `text_bytes`.

    Returns:
        the metadata that was written.
    """
    metadata: dict[str, Any] = {
        "row_length": next(iter(splits.values())).row_length,
        "vocab_size": vocab_size,
    }
    for name, rows in splits.items():
        with disk_errors(folder / name):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for array in _ARRAYS:
                np.save(folder / name / f"{array}.npy", getattr(rows, array))
        metadata[name] = {
            "rows": len(rows),
            "tokens": rows.tokens(),
            "trained_tokens": rows.trained_tokens(),
            "fill": rows.fill(),
            **(extra or {}).get(name, {}),
        }
    write_json(folder / "metadata.json", metadata)
    return metadata


def read_metadata(folder: Path) -> dict[str, Any]:
    """What `write` noted: row_length, vocab_size; per split rows, tokens, trained_tokens, fill.

    Raises:
        LmwrightError: if the file is missing or lacks one of them.
    """
    metadata = read_json(Path(folder) / "metadata.json")
    if not isinstance(metadata, dict) or not {"row_length", "vocab_size"} <= metadata.keys():
        raise LmwrightError(f"{folder} is not a folder of token shards")
    return metadata


def open(folder: Path, split: str = "train") -> PackedRows:
    """Map the rows of one split; nothing is read until it is used.

    Raises:
        LmwrightError: if a file is missing, truncated, or does not fit the metadata.
    """
    metadata = read_metadata(folder)
    if split not in metadata:
        raise LmwrightError(f"{folder} has no split {split!r}")
    shape = (metadata[split]["rows"], metadata["row_length"])
    return PackedRows(*(_map(Path(folder) / split / f"{array}.npy", shape) for array in _ARRAYS))


def _map(file: Path, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    try:
        # An empty file cannot be mapped; an array without rows is read instead.
        array: np.ndarray[Any, Any] = np.load(file, mmap_mode="r" if shape[0] else None)
    except FileNotFoundError:
        raise LmwrightError(f"{file} does not exist") from None
    except (ValueError, EOFError, OSError) as error:
        raise LmwrightError(f"{file} is damaged or truncated: {error}") from error
    if array.shape != shape:
        raise LmwrightError(f"{file} holds {array.shape}, but its metadata.json says {shape}")
    return array
